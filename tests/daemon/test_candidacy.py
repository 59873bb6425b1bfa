"""When a node is a candidate with etcd as the store, what it says when it is not, and when it gives the place up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from confd import __version__
from confd.daemon.candidacy import Candidacy, what_to_do
from confd.exaconf import Conf, Node
from confd.store.choice import StoreChoice
from confd.store.etcd.errors import EtcdDenied, EtcdError, EtcdUncertain, EtcdUnreachable, error_from


@pytest.mark.parametrize("error", [EtcdUnreachable("etcd does not answer"), EtcdUncertain("gave no answer")])
def test_a_lost_majority_is_brought_back_or_gone_on_from(error: EtcdError) -> None:
    """Only then it may be lost for good."""
    assert what_to_do(error).startswith(f"{error}; without etcd nobody is master: bring its members back")
    assert "c4 store recover --yes-others-are-down" in what_to_do(error)


@pytest.mark.parametrize("error", [error_from(8, "etcdserver: mvcc: database space exceeded"), EtcdDenied("no")])
def test_an_etcd_that_answers_needs_no_survivor(error: EtcdError) -> None:
    """Full or closed to us: the error itself says what helps, and going on alone would only lose members."""
    assert what_to_do(error) == str(error)
    assert "recover" not in what_to_do(error)


class Master:
    """A master of which is known who follows it, and the daemon where it sits."""

    def __init__(self) -> None:
        self.ready, self.term, self.alive = True, 7, frozenset[int]()
        self.followers = frozenset({11})
        self.mastership: Master | None = self
        self.leader = self
        self.did = asyncio.Queue[str]()

    def following(self) -> frozenset[int]:
        """Return who follows."""
        return self.followers

    async def leave(self) -> None:
        """Be master no longer."""
        self.mastership = None
        self.did.put_nowait("left")


class Votes:
    """A candidate and the stores that it looks at: three nodes live."""

    def __init__(self, master: Master) -> None:
        self.master, self.loop = master, asyncio.get_running_loop()
        self.software = dict.fromkeys((11, 12, 13), __version__)

    def resign(self, to: int | None, pause: float) -> None:
        """Note it."""
        self.loop.call_soon_threadsafe(self.master.did.put_nowait, f"resigned to {to}")

    def runtime(self) -> dict[str, Any]:
        """Have no records."""
        return {}


def conf() -> Conf:
    """Return a configuration of three nodes."""
    nodes = [Node(number, name=f"n{number}", private_net=f"127.0.0.{number}/8") for number in (11, 12, 13)]
    return Conf(1, {node.key: node for node in nodes})


def candidacy(master: Master, votes: Votes) -> Candidacy:
    """Return the part of n11 in elections."""
    some: Any = votes
    seat: Any = master
    made = Candidacy(
        11, some, some, some, conf, seat, lambda: None, lambda made: some, some, lambda: False, StoreChoice()
    )
    made._ready = True
    return made


def test_a_version_that_few_run_does_not_lead() -> None:
    """It says why, and no longer once another node leads."""

    async def test() -> None:
        votes = Votes(Master())
        made = candidacy(votes.master, votes)
        assert made.rank(votes.software, "") == 0
        votes.software |= {12: "other", 13: "other"}
        assert made.rank(votes.software, __version__) is None
        assert f"n11 runs OpenConfD {__version__}" in made.trouble
        del votes.software[13]
        assert made.rank(votes.software, "other") is None
        assert made.rank(votes.software, __version__) == 0
        assert made.trouble == ""
        assert made.rank(votes.software, "other") is None
        some: Any = made
        some._follower = Follows()
        made.seen(12, 8)
        assert made.trouble == ""

    asyncio.run(test())


class Follows:
    """What takes note of another master."""

    def follow(self, node: int, term: int) -> None:
        """Take note."""


def test_a_master_that_most_do_not_follow_lets_others_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """It resigns, and is the last to try for a while."""
    monkeypatch.setattr("confd.daemon.candidacy._RETRY_SECONDS", 0.005)
    monkeypatch.setattr("confd.daemon.candidacy._FORSAKEN_SECONDS", 0.05)

    async def test() -> None:
        master = Master()
        votes = Votes(master)
        made = candidacy(master, votes)
        tasks = [asyncio.create_task(work) for work in (made._watch_followers(), made._follow_events())]
        assert [await master.did.get(), await master.did.get()] == ["left", "resigned to None"]
        assert master.alive == {11, 12, 13}
        assert made.rank(votes.software, "") == 3
        assert made._is_forsaken(master)
        for followers, software in (({11, 12}, votes.software), ({11}, {11: "1", 12: "1"}), ({11}, {11: "1", 12: "2"})):
            master.followers, votes.software = frozenset(followers), dict(software)
            assert made._is_forsaken(master) is (len(followers) == 1 and len(set(software.values())) == 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(test())
