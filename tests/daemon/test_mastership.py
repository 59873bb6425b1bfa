"""What a master owes nodes is paid, whatever else fails, and of one that is deposed nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from confd.cluster.counter import Counter
from confd.cluster.following.agent import Agent, Reply, Results, reply_of
from confd.cluster.following.replica import Replica
from confd.cluster.host import Host
from confd.cluster.identity import NodeFiles
from confd.cluster.leases.lease import NoLeases
from confd.daemon import mastership
from confd.daemon.mastership import Mastership
from confd.exaconf import Conf, Global, Node, to_stored
from confd.model.errors import NodeOffline
from confd.model.secret import Vault
from confd.scheduler import registry
from confd.scheduler.debts import debt_key
from confd.store.protocol import Kind
from confd.store.records import Finished, Step
from confd.store.sqlite import SqliteStore


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


class Alone:
    """A master whose other node does not answer, made of its real parts."""

    def __init__(self, root: Path) -> None:
        files = NodeFiles(root)
        for file in (files.counter, files.exaconf):
            file.parent.mkdir(parents=True)
        vault = Vault(bytes(32))
        self.calls = 0
        self.store = SqliteStore(root / "journal.db")
        self.store.lead(1, 11)
        nodes = [Node(id=n, name=f"n{n}", private_net=f"127.0.0.{n}/8", uuid=f"u{n}") for n in (11, 12)]
        changes = {section.key: to_stored(section, vault) for section in (Global(cluster_name="x"), *nodes)}
        self.store.append(Kind.FINISHED, "11.1", Finished(0, "", revision=1, changes=changes)).result()
        self.replica = Replica(self.store, files, vault)
        self.agent = Agent(Results(root / "results.db"))
        self.leases = Attended()
        host = Host(11, "127.0.0.11", root, root, None, (), lambda: self.replica.conf, self.leases)
        connector: Any = self
        self.master = Mastership(
            host, 1, self.store, self.replica, self.agent, connector, vault, files, Counter(files.counter),
            lambda term: None,
        )  # fmt: skip

    async def call(self, *_: object) -> Any:
        """Reach nobody."""
        self.calls += 1
        raise NodeOffline("no node answers")

    def close(self) -> None:
        """Be gone."""
        self.agent.close()
        self.replica.close()
        self.store.close()


class Attended(NoLeases):
    """Whether a master attends to the leases."""

    attended = False

    def attend(self) -> None:
        """Begin."""
        self.attended = True

    def neglect(self) -> None:
        """End."""
        self.attended = False


def alone(root: Path, test: Callable[[Alone], Coroutine[Any, Any, None]]) -> None:
    """Run a test with a master whose other node does not answer."""

    async def body() -> None:
        made = Alone(root)
        try:
            await test(made)
        finally:
            await asyncio.to_thread(made.close)

    registry.load()
    asyncio.run(asyncio.wait_for(body(), 60))


def is_gone(made: Alone) -> bool:
    """Tell whether nothing of a master is left: it calls nobody and attends to nothing."""
    feeds = made.master.leader._membership._feeds.values()
    return all(feed._task.done() for feed in feeds) and not made.leases.attended


def test_a_master_that_is_deposed_while_it_gathers_its_nodes_leaves_nothing(tmp_path: Path) -> None:
    """None of its services has begun; it calls no node any more."""

    async def test(made: Alone) -> None:
        starting = asyncio.create_task(made.master.start())
        while not made.calls:  # noqa: ASYNC110 - is polled
            await asyncio.sleep(0)
        assert made.leases.attended
        await made.master.close()
        assert is_gone(made)
        await starting
        assert not made.master.ready

    alone(tmp_path, test)


def test_a_service_that_does_not_close_keeps_no_other_part_from_it(tmp_path: Path) -> None:
    """The error is logged."""

    class Broken:
        def start(self) -> None:
            """Begin."""

        def close(self) -> None:
            """Fail."""
            raise RuntimeError("oops")

    async def test(made: Alone) -> None:
        closed: list[Any] = []
        for service in made.master._services:
            real = service.close
            service.close = lambda service=service, real=real: (closed.append(service), real())  # type: ignore[method-assign]
        made.master._services.insert(0, Broken())
        await made.master.start(gone={12})
        assert made.master.ready
        with capture_logs() as logs:
            await made.master.close()
        assert closed == made.master._services[1:]
        assert [line["service"] for line in logs if line["event"] == "service_not_closed"] == ["Broken"]
        assert is_gone(made)

    alone(tmp_path, test)
