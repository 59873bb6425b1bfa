"""A take-over that nothing came of: whoever had promised to follow it, the master leads on, or it is said what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from confd.model.errors import WrongState
from confd.store.terms import next_term
from tests.daemon.lives import Life, Pair, conf_of

TERM = next_term(0, 11)
"""Under which n11 leads at first."""

Test = Callable[[Pair, Life, Life, Life], Coroutine[Any, Any, None]]


def three(tmp_path: Path, test: Test) -> None:
    """Run a test with three nodes, of which n11 is master and the others follow."""

    async def body() -> None:
        pair = Pair(tmp_path, 11, 12, 13)
        lives = [pair.start(node) for node in (11, 12, 13)]
        try:
            await asyncio.to_thread(lives[0].store.lead, TERM, 11)
            for life in lives[1:]:
                life.store.copy(lives[0].store.read(life.store.head(), 10))
                life.follower.follow(11, TERM)
            await lives[0].succession.begin()
            assert lives[0].mastership is not None
            await test(pair, *lives)
        finally:
            await pair.end()

    asyncio.run(asyncio.wait_for(body(), 60))


async def until(promise: Callable[[], Any]) -> None:
    """Wait for what has no event."""
    async with asyncio.timeout(10):
        while not promise():  # noqa: ASYNC110 - promises have no event
            await asyncio.sleep(0.005)


async def fail(pair: Pair, life: Life) -> int:
    """Have a node take over that dies of it once n13 has promised to follow it, unheard by n11; the term."""
    pair.away = {11}
    life.refuses = WrongState("no")
    with pytest.raises(WrongState, match="no"):
        await life.succession.take_over()
    life.refuses = None
    pair.away = set()
    return pair.lives[13].follower.master.term


def oppose(life: Life) -> None:
    """Have a master see that a node refuses it."""
    assert life.mastership is not None
    life.mastership.opposed = True


def test_the_master_leads_on(tmp_path: Path) -> None:
    """The node that was to take over answers that it does not lead; all follow the master under a newer term."""

    async def test(pair: Pair, old: Life, new: Life, third: Life) -> None:
        claimed = await fail(pair, new)
        assert third.follower.master.node == 12
        oppose(old)
        await until(lambda: old.mastership and old.mastership.term == next_term(claimed, 11))
        assert {life.follower.master.node for life in pair.lives.values()} == {11}
        assert new.terms + third.terms == []

    three(tmp_path, test)


def test_the_master_leads_on_after_a_restart(tmp_path: Path) -> None:
    """At once, when the node that was to take over answers."""

    async def test(pair: Pair, old: Life, new: Life, third: Life) -> None:
        claimed = await fail(pair, new)
        await old.end()
        again = pair.start(11)
        await again.succession.begin()
        assert again.terms == [next_term(claimed, 11)]

    three(tmp_path, test)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_master_waits_for_who_was_to_take_over(tmp_path: Path, restarted: bool) -> None:
    """It may lead where nobody looks: that is said, with what to do, until it is there and says that it does not."""

    async def test(pair: Pair, old: Life, new: Life, third: Life) -> None:
        claimed = await fail(pair, new)
        await new.end()
        if restarted:
            await old.end()
            old = pair.start(11)
            await old.succession.begin()
            text = old.succession.trouble
            assert old.mastership is None
        else:
            oppose(old)
            await until(lambda: old.succession.waiting_for)
            assert old.mastership is not None
            text = old.mastership.trouble
        assert text.startswith("n12 was to be master and does not answer, so it may lead; start its daemon")
        assert text.endswith("confd --take-over on n11")
        pair.start(12)
        await until(lambda: old.terms[-1:] == [next_term(claimed, 11)])
        assert old.succession.trouble == ""

    three(tmp_path, test)


def test_an_administrator_has_the_master_lead_on(tmp_path: Path) -> None:
    """The node that was to take over is gone for good: whichever node is told, it says where, or leads."""

    async def test(pair: Pair, old: Life, new: Life, third: Life) -> None:
        with pytest.raises(WrongState, match="n11 is master already"):
            await old.succession.take_over()
        claimed = await fail(pair, new)
        await new.end()
        with pytest.raises(WrongState, match="but n13 promised to follow another node; take over on n11"):
            await third.succession.take_over()
        taken = await old.succession.take_over()
        assert taken.term > claimed
        assert old.terms == [TERM, taken.term]
        assert (third.follower.master.node, third.follower.master.term) == (11, taken.term)

    three(tmp_path, test)


def test_another_node_takes_over_from_a_master_that_waits(tmp_path: Path) -> None:
    """Started again, it does not lead, nor after an order that failed: it is not taken for a master that answers."""

    async def test(pair: Pair, old: Life, new: Life, third: Life) -> None:
        await fail(pair, new)
        await new.end()
        await old.end()
        again = pair.start(11)
        await again.succession.begin()
        again.refuses = WrongState("no")
        with pytest.raises(WrongState, match="no"):
            await again.succession.take_over()
        taken = await third.succession.take_over()
        assert third.terms == [taken.term]
        assert again.follower.master.node == 13

    three(tmp_path, test)


def test_a_master_steps_down_when_a_journal_knows_a_newer_one(tmp_path: Path) -> None:
    """Though that one is gone, too: what this one would still write could not be kept. Who has that journal goes on."""

    async def test(pair: Pair, old: Life, new: Life, third: Life) -> None:
        pair.away = {11}
        taken = await new.succession.take_over()
        assert new.mastership is not None
        new.mastership.progress()
        await new.end()
        pair.away = set()
        oppose(old)
        await until(lambda: old.mastership is None)
        await until(lambda: old.follower.master.node == 12)
        assert old.follower.master.term == taken.term
        await third.succession.take_over()
        assert third.store.head().term > taken.term
        assert old.terms == [TERM]

    three(tmp_path, test)


def test_what_the_master_wrote_goes_on(tmp_path: Path) -> None:
    """Also what nobody else knows."""

    async def test(pair: Pair, old: Life, new: Life, third: Life) -> None:
        await fail(pair, new)
        assert old.mastership is not None
        old.mastership.put_record("only here", 1)
        oppose(old)
        await until(lambda: len(old.terms) == 2)
        assert old.store.runtime()["only here"] == 1

    three(tmp_path, test)


def test_a_claim_that_comes_in_between_is_looked_into(tmp_path: Path) -> None:
    """Another node was told to take over, too, while the master asks: it may lead by now, and is waited for."""

    async def test(pair: Pair, old: Life, new: Life, third: Life) -> None:
        claimed = await fail(pair, new)
        pair.conf = conf_of((11, 12, 13, 14))
        asked: list[str] = []

        def claim(method: str) -> None:
            asked.append(method)
            if len(asked) == 2:
                third.follower.follow(14, next_term(claimed, 14))

        pair.after = claim
        oppose(old)
        await until(lambda: old.succession.waiting_for == (14,))
        assert old.terms == [TERM]
        assert third.follower.master.node == 14

    three(tmp_path, test)
