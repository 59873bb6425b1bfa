"""What a master owes nodes is paid, whatever else fails."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest

from confd.cluster.following.agent import Reply, reply_of
from confd.daemon import mastership
from confd.daemon.mastership import Mastership
from confd.exaconf import Conf, Node
from confd.model.errors import NodeOffline
from confd.scheduler.debts import debt_key
from confd.store.records import Step


class Parts:
    """The parts that a mastership pays debts with."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}
        self.sent: list[str] = []
        self.offline = {13}
        self.busy: set[str] = set()
        self.head = self.view = self.scheduler = self.leader = self
        self.conf = Conf(1, {node.key: node for node in (Node(id=12), Node(id=13))})

    def knows(self, node: int) -> bool:
        """Tell whether a removed node may still be reached."""
        return node == 14

    def ticket(self, job_id: str) -> Any:
        """Return whether a job is on its way."""
        return object() if job_id in self.busy else None

    def put_record(self, key: str, value: Any) -> None:
        """Write a record."""
        assert value is None
        self.records = {known: one for known, one in self.records.items() if known != key}

    def send(self, key: str, number: int, command: Any) -> Future[Reply]:
        """Run a command."""
        self.sent.append(key if number == 0 else f"{key} {number}")
        done: Future[Reply] = Future()
        if command.name == "broken":
            done.set_exception(RuntimeError("oops"))
        else:
            done.set_result(reply_of(NodeOffline("no")) if command.node in self.offline else Reply())
        return done


@pytest.fixture
def parts() -> Parts:
    """Give debts of several kinds."""
    made = Parts()
    made.records = {
        "settle/11.1/0": {"no": "step"},
        "settle/11.2/0": msgspec.to_builtins(Step("broken", 12, {})),
        "settle/11.3/0": msgspec.to_builtins(Step("wipe", 13, {})),
        "settle/11.4/0": msgspec.to_builtins(Step("wipe", 12, {})),
        "settle/11.5/0": msgspec.to_builtins(Step("wipe", 12, {})),
        "db/X": {"wanted": "running"},
    }
    made.busy = {"11.5"}
    return made


def test_debts_are_paid_until_none_is_left(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be read, one that fails and one whose node is offline hold up no other; they are tried again."""
    master: Any = Mastership.__new__(Mastership)
    master.head = master.view = master.scheduler = master.leader = parts
    rounds: list[list[str]] = []

    async def sleep(seconds: float) -> None:
        rounds.append(sorted(parts.records))
        parts.offline.clear()
        parts.busy.clear()
        if len(rounds) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(mastership.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(master._pay_debts())
    assert rounds[0] == ["db/X", "settle/11.1/0", "settle/11.2/0", "settle/11.3/0", "settle/11.5/0"]
    assert rounds[-1] == ["db/X", "settle/11.1/0", "settle/11.2/0"]
    assert parts.sent.count("settle/11.4/0") == 1
    assert parts.sent.count("settle/11.2/0") == 3


def test_debts_of_nodes_that_are_gone_for_good_are_void(parts: Parts) -> None:
    """Of a removed node nothing is left that could be done; one that was only just removed still cleans up."""
    master: Any = Mastership.__new__(Mastership)
    master.head = master.view = master.scheduler = master.leader = parts
    parts.records = {
        "settle/11.1/0": msgspec.to_builtins(Step("wipe", 15, {})),
        "settle/11.2/0": msgspec.to_builtins(Step("wipe", 14, {})),
        "settle/11.3/0": msgspec.to_builtins(Step("forget", 0, {})),
    }
    for key, step in list(parts.records.items()):
        asyncio.run(master._pay(key, msgspec.convert(step, Step)))
    assert parts.records == {}
    assert parts.sent == ["settle/11.2/0", "settle/11.3/0"]


def test_an_undo_that_is_owed_is_sent_as_the_undo_of_its_command(parts: Parts) -> None:
    """The agent of the node has to know which command it is not to run any more."""
    master: Any = Mastership.__new__(Mastership)
    master.head = master.view = master.scheduler = master.leader = parts
    parts.records = {debt_key("11.1", -3): msgspec.to_builtins(Step("wipe", 12, {}))}
    for key, step in list(parts.records.items()):
        asyncio.run(master._pay(key, msgspec.convert(step, Step)))
    assert (parts.records, parts.sent) == ({}, ["11.1 -3"])
