"""Mastership given away in order: whoever dies and whatever is lost on the way, one node leads, and none twice."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from confd.cluster.leading.handover import pending
from confd.model.errors import ConfDError, NodeOffline, TimedOut, WrongState
from confd.model.failpoints import Failpoint, install
from confd.store.protocol import Kind
from confd.store.terms import next_term
from tests.daemon.lives import Life, Pair

OFFERED = next_term(1, 12)
"""The term that n11 gives to n12."""
KEPT = next_term(OFFERED, 11)
"""The term that n11 leads on under when n12 does not."""


def lost(at: str, error: type[ConfDError] = TimedOut) -> Callable[[str], None]:
    """Return what loses one method's message."""

    def lose(method: str) -> None:
        if method == at:
            raise error("lost")

    return lose


async def given(life: Life, job: str = "11.1") -> str:
    """Give mastership to n12; what the job was told."""
    with pytest.raises(ConfDError) as raised:
        await asyncio.to_thread(life.succession.give, 12, job)
    return type(raised.value).__name__


async def leads(life: Life, term: int) -> None:
    """Wait until a node leads."""
    async with asyncio.timeout(10):
        while not (life.mastership and life.mastership.term == term):  # noqa: ASYNC110 - promises have no event
            await asyncio.sleep(0.005)


async def waits(life: Life) -> None:
    """Wait until a node waits for the one that may have taken its place."""
    async with asyncio.timeout(10):
        while not life.succession.waiting_for:  # noqa: ASYNC110 - promises have no event
            await asyncio.sleep(0.005)


async def settled(life: Life) -> None:
    """Wait until nothing is under way."""
    if life.succession._under_way is not None:
        await asyncio.wait({life.succession._under_way})


def two(tmp_path: Path, test: Callable[[Pair, Life, Life], Coroutine[Any, Any, None]]) -> None:
    """Run a test with two nodes, of which n11 is master with term 1 and n12 follows."""

    async def body() -> None:
        pair = Pair(tmp_path)
        old, new = pair.start(11), pair.start(12)
        try:
            await old.lead(1)
            assert old.mastership is not None
            old.mastership.progress()
            new.follower.follow(11, 1)
            await test(pair, old, new)
        finally:
            await pair.end()

    asyncio.run(asyncio.wait_for(body(), 60))


def test_the_other_node_leads_with_the_whole_journal(tmp_path: Path) -> None:
    """Under a newer term; the old master follows without a restart and writes nothing more."""

    async def test(pair: Pair, old: Life, new: Life) -> None:
        master = old.mastership
        assert master is not None
        assert await given(old) == "NoMaster"
        await leads(new, OFFERED)
        await settled(old)
        assert master.closed
        assert old.mastership is None
        assert (old.follower.master.node, old.follower.master.term) == (12, OFFERED)
        with pytest.raises(Exception, match="no longer"):
            master.put_record("late", 1)
        assert pending(new.store) is None

    two(tmp_path, test)


def test_nothing_changes_when_the_other_node_cannot_lead(tmp_path: Path) -> None:
    """It does not answer, or follows somebody else: the master goes on, and jobs begin again."""

    async def test(pair: Pair, old: Life, new: Life) -> None:
        master = old.mastership
        assert master is not None
        pair.cut = True
        assert await given(old) == "NodeOffline"
        pair.cut = False
        new.follower.follow(13, 5)
        assert await given(old) == "WrongState"
        assert old.mastership is master
        begun: list[str] = []
        master.gate.begin("11.2", lambda: begun.append("11.2"))
        assert begun == ["11.2"]
        master.put_record("still", 1)

    two(tmp_path, test)


def test_jobs_that_take_long_are_left(tmp_path: Path) -> None:
    """They are waited for a while; nothing new begins meanwhile."""

    async def test(pair: Pair, old: Life, new: Life) -> None:
        assert old.mastership is not None
        gate, begun = old.mastership.gate, []
        gate.begin("11.1", lambda: None)
        gate.begin("11.7", lambda: None)
        giving = asyncio.create_task(given(old))
        await leads(new, OFFERED)
        gate.begin("11.8", lambda: begun.append(1))
        gate.ended("11.7")
        gate.ended("11.1")
        assert await giving == "NoMaster"
        assert begun == []

    two(tmp_path, test)


def test_the_answer_is_lost(tmp_path: Path) -> None:
    """The other node leads, although the old master was not told: it asks, and follows."""

    async def test(pair: Pair, old: Life, new: Life) -> None:
        pair.after = lost("lead")
        await given(old)
        await settled(old)
        await leads(new, OFFERED)
        assert old.terms == [1]
        assert old.follower.master.node == 12

    two(tmp_path, test)


@pytest.mark.parametrize("error", [TimedOut, NodeOffline])
def test_the_order_is_lost(tmp_path: Path, error: type[ConfDError]) -> None:
    """The other node has not taken mastership: it promises to follow, and the old master leads under a newer term."""

    async def test(pair: Pair, old: Life, new: Life) -> None:
        pair.before = lost("lead", error)
        await given(old)
        await leads(old, KEPT)
        assert new.terms == []
        # The order comes late: it is refused.
        with pytest.raises(ConfDError):
            await new.succession.methods["lead"]({"term": OFFERED, "n": new.store.head().n, "last": 1})

    two(tmp_path, test)


def test_the_other_node_refuses(tmp_path: Path) -> None:
    """It cannot write its journal, for instance: the old master leads on."""

    async def test(pair: Pair, old: Life, new: Life) -> None:
        new.refuses = WrongState("no")
        await given(old)
        await leads(old, KEPT)
        assert new.follower.master.node == 11

    two(tmp_path, test)


def test_who_was_removed_does_not_lead_again(tmp_path: Path) -> None:
    """The other node took over and removed the master while that was dead: it answers only that."""

    async def test(pair: Pair, old: Life, new: Life) -> None:
        await old.end()
        again = pair.start(11)
        pair.before = lambda method: again.hear_removal()
        await again.succession.begin()
        assert (again.removed, again.mastership, again.terms) == (True, None, [])

    two(tmp_path, test)


def test_the_other_node_is_cut_off_with_the_order(tmp_path: Path) -> None:
    """Nobody leads until it can be asked, for it may; the old master says whom it waits for."""

    async def test(pair: Pair, old: Life, new: Life) -> None:
        pair.after = lambda method: setattr(pair, "cut", method == "lead") or lost("lead")(method)
        await given(old)
        await leads(new, OFFERED)
        await waits(old)
        assert (old.mastership, old.succession.waiting_for) == (None, (12,))
        pair.cut = False
        await settled(old)
        assert old.terms == [1]
        assert old.follower.master.node == 12

    two(tmp_path, test)


def test_the_old_master_dies_under_way(tmp_path: Path) -> None:
    """Started again, it does not lead under its old term: it finds out what became of the other node first."""

    async def test(pair: Pair, old: Life, new: Life) -> None:
        pair.before = lost("lead", NodeOffline)
        pair.after = lambda method: setattr(pair, "cut", method == "may_lead")
        await given(old)
        await old.end()
        again = pair.start(11)
        await again.succession.begin()
        assert again.mastership is None
        pair.cut, pair.before, pair.after = False, lambda method: None, lambda method: None
        await leads(again, KEPT)
        assert new.terms == []

    two(tmp_path, test)


def test_an_administrator_takes_over_meanwhile(tmp_path: Path) -> None:
    """The take-over leads under a term above the one that was offered, whoever may have led under that."""

    async def test(pair: Pair, old: Life, new: Life) -> None:
        pair.after = lambda method: setattr(pair, "cut", method == "lead") or lost("lead")(method)
        await given(old)
        await waits(old)
        taken = await old.succession.take_over()
        assert taken.term > OFFERED
        await settled(old)
        assert old.mastership is not None
        assert old.terms == [1, taken.term]

    two(tmp_path, test)


def survivors(tmp_path: Path, test: Callable[[Pair, Life, Life], Coroutine[Any, Any, None]]) -> None:
    """Run a test with two nodes whose master, n13, is gone."""

    async def body(pair: Pair, one: Life, other: Life) -> None:
        one.mastership = None
        for life in (one, other):
            life.follower.follow(13, 2)
        await test(pair, one, other)

    two(tmp_path, body)


@pytest.mark.parametrize("passes", list(itertools.product(range(3), range(3), (0, 2))))
def test_two_are_told_to_take_over_at_the_same_moment(tmp_path: Path, passes: tuple[int, int, int]) -> None:
    """However their questions cross, one leads; the other one names it, and follows."""

    async def test(pair: Pair, one: Life, other: Life) -> None:
        pair.passes = dict(zip([(11, "position"), (11, "promise"), (12, "promise")], passes, strict=True))
        told = await asyncio.gather(one.succession.take_over(), other.succession.take_over(), return_exceptions=True)
        (leader,) = [life for life in (one, other) if life.mastership]
        (refused,) = [error for error in told if isinstance(error, WrongState)]
        assert f"n{leader.node}" in refused.message
        assert {life.follower.master.node for life in (one, other)} == {leader.node}
        assert one.terms + other.terms == [1, leader.follower.master.term]

    survivors(tmp_path, test)


def test_who_hears_a_newer_master_while_it_asks_does_not_take_over(tmp_path: Path) -> None:
    """It may have answered nobody's question yet."""

    async def test(pair: Pair, one: Life, other: Life) -> None:
        pair.after = lambda method: other.follower.follow(14, 3)
        with pytest.raises(WrongState, match="n14 was heard as master"):
            await other.succession.take_over()
        assert (other.mastership, other.follower.master.node) == (None, 14)

    survivors(tmp_path, test)


def test_a_node_that_follows_a_newer_master_promises_nothing(tmp_path: Path) -> None:
    """It names that master, and the master that was known before counts again."""

    async def test(pair: Pair, one: Life, other: Life) -> None:
        pair.before = lambda method: one.follower.follow(14, next_term(0, 14, 1e12)) if method == "promise" else None
        with pytest.raises(WrongState, match="n11 follows n14 as master"):
            await other.succession.take_over()
        assert (other.mastership, other.follower.master.node) == (None, 13)

    survivors(tmp_path, test)


def test_what_a_node_was_told_before_its_promise_is_fetched(tmp_path: Path) -> None:
    """The old master may have reached it until then."""

    async def test(pair: Pair, one: Life, other: Life) -> None:
        def late(method: str) -> None:
            if method == "promise":
                one.store.append(Kind.RUNTIME, "late", 1).result()

        pair.before = late
        taken = await other.succession.take_over()
        assert other.store.runtime()["late"] == 1
        assert taken.position == one.store.head()

    survivors(tmp_path, test)


def test_a_journal_that_went_another_way_is_not_gone_on_with(tmp_path: Path) -> None:
    """One node led where nobody heard it: the rest of the other one's journal does not fit behind its own."""

    async def test(pair: Pair, one: Life, other: Life) -> None:
        await asyncio.to_thread(other.store.lead, next_term(1, 12), 12)
        other.store.resign()
        await asyncio.to_thread(one.store.lead, next_term(1, 13), 13)
        one.store.append(Kind.RUNTIME, "more", 1).result()
        before = other.store.head()
        with pytest.raises(WrongState, match="n11 has a newer journal") as refused:
            await other.succession.take_over()
        assert f"differ at record {before.n}); take over there" in refused.value.message
        assert (other.mastership, other.store.head()) == (None, before)
        await one.succession.take_over()
        assert one.mastership

    survivors(tmp_path, test)


@pytest.fixture
def held() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold what is written to a journal: the first event says that it is about to be, the second one lets it."""
    due, go = threading.Event(), threading.Event()
    go.set()

    def hold(point: Failpoint) -> None:
        if point is Failpoint.JOURNAL_DUE:
            due.set()
            assert go.wait(20)

    yield due, (install(hold), go)[1]
    install(None)


def test_a_promise_that_is_given_while_the_term_is_recorded_counts(
    tmp_path: Path, held: tuple[threading.Event, threading.Event]
) -> None:
    """The node does not lead then: the newer master is the only one."""
    due, go = held

    async def told(work: Awaitable[Any], life: Life) -> None:
        await asyncio.to_thread(due.wait, 20)
        await life.follower.promise({"term": next_term(0, 13, 1e12), "master": 13})
        go.set()
        with pytest.raises(WrongState, match="n13 was heard as master meanwhile; n12 follows it"):
            await work

    async def test(pair: Pair, one: Life, other: Life) -> None:
        pair.cut = True
        due.clear()
        go.clear()
        await told(asyncio.create_task(other.succession.take_over()), other)
        assert (other.mastership, other.follower.master.node) == (None, 13)

    survivors(tmp_path, test)
