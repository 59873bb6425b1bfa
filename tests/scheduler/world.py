"""A master without a network: real journal, real agents, jobs of the test, and a crash wherever one is wanted."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from confd.cluster.following.agent import Agent, Reply, Results, reply_of
from confd.cluster.following.replica import load_conf
from confd.cluster.host import Host
from confd.cluster.operations import Command, operation
from confd.exaconf import Conf, Global, Group, Node, Section, User, to_stored
from confd.model.envelope import Outcome
from confd.model.errors import NodeOffline, StorageWrite
from confd.model.secret import Vault
from confd.model.states import NodeState
from confd.scheduler.caller import SYSTEM, Caller
from confd.scheduler.head import Head
from confd.scheduler.pipeline import Surroundings
from confd.scheduler.scheduler import Admission, Scheduler
from confd.scheduler.ticket import Ticket
from confd.store.protocol import Kind, Position, Record
from confd.store.records import Finished
from confd.store.sqlite import SqliteStore

PATIENCE = 30.0
KEY = bytes(range(32))


@operation("test.make")
def make(host: Host, name: str, items: tuple[int, ...] = (), by_node: dict[int, str] | None = None) -> dict[int, str]:
    """Make a file; each run adds a line, so that running twice shows."""
    with (host.root / name).open("a") as file:
        file.write(f"{items}\n")
    host.say(f"made {name}")
    return by_node or {}


@operation("test.remove")
def remove(host: Host, name: str) -> bool:
    """Remove a file; there may be none."""
    if name.startswith("stuck"):
        raise StorageWrite("the disk says no")
    existed = (host.root / name).exists()
    (host.root / name).unlink(missing_ok=True)
    return existed


@operation("test.refuse")
def refuse(host: Host) -> None:
    """Fail."""
    raise StorageWrite("refused")


class Crash(BaseException):
    """The process is gone."""


class Life:
    """Counts what the master does and ends it at one of these moments."""

    def __init__(self, steps: int | None = None) -> None:
        self.left, self.happened = steps, 0
        self.dead = threading.Event()
        self._lock = threading.Lock()

    def check(self) -> None:
        """Refuse to do anything when dead."""
        if self.dead.is_set():
            raise Crash

    def tick(self) -> None:
        """Count one step; die when it was the last."""
        with self._lock:
            self.check()
            self.happened += 1
            if self.happened == self.left:
                self.dead.set()
                raise Crash


class MortalStore:
    """A store that dies right after one of its records became durable."""

    def __init__(self, store: SqliteStore, life: Life) -> None:
        self._store, self._life = store, life

    def append(
        self, kind: Kind, key: str, body: Any, at: float | None = None, *, lazy: bool = False
    ) -> Future[Position]:
        """Append unless dead; at once, so that every record is a moment to die at."""
        self._life.check()
        done = self._store.append(kind, key, body, at)
        done.exception()
        self._life.tick()
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class World:
    """Nodes with their agents outlive every master."""

    def __init__(self, root: Path, *extra: Section) -> None:
        self.root, self.vault = root, Vault(KEY)
        self.offline: set[int] = set()
        self.late: list[int] = []
        self.writing: queue.SimpleQueue[Future[list[int]]] | None = None
        self.sent: list[tuple[tuple[str, int], str]] = []
        self.hosts = {node: self._host(node) for node in (11, 12)}
        self.agents = {node: Agent(Results(host.root / "results.db")) for node, host in self.hosts.items()}
        self.masters: list[Master] = []
        sections = [
            Global(cluster_name="test"),
            Group(name="exaadm", id=499),
            User(name="ann", id=1001, group="exaadm"),
            *(Node(id=node, name=f"n{node}", private_net=f"127.0.0.{node}/8", uuid=str(node)) for node in self.hosts),
            *extra,
        ]
        store = SqliteStore(root / "journal.db")
        store.lead(1, 11)
        changes = {section.key: to_stored(section, self.vault) for section in sections}
        store.append(Kind.FINISHED, "11.0", Finished(0, "", revision=1, changes=changes, user="root"))
        store.close()

    def master(self, steps: int | None = None, software: str = "1", recover: bool = True) -> Master:
        """Start a master that dies after some steps."""
        made = Master(self, Life(steps), software)
        self.masters.append(made)
        if recover:
            made.scheduler.recover()
        return made

    def files(self) -> dict[str, int]:
        """Return what the nodes hold: how often each file was made."""
        return {
            f"n{node}/{path.name}": len(path.read_text().splitlines())
            for node, host in self.hosts.items()
            for path in host.root.iterdir()
            if not path.name.startswith("results.db")
        }

    def close(self) -> None:
        """End everything."""
        for master in self.masters:
            master.close()
        for agent in self.agents.values():
            agent.close()

    def _host(self, node: int) -> Host:
        root = self.root / f"n{node}"
        root.mkdir()
        return Host(node, f"127.0.0.{node}", root, root, None, (), lambda: Conf(0, {}))


class Master:
    """One life of the master: scheduler, head and dispatch on the journal."""

    def __init__(self, world: World, life: Life, software: str) -> None:
        self.world, self.life = world, life
        self.real = SqliteStore(world.root / "journal.db")
        self.real.lead(1, 11)
        self.store: Any = MortalStore(self.real, life)
        self.head = Head(self.store, load_conf(self.real, world.vault), self.real.runtime())
        cluster: Any = self
        around = Surroundings(self.store, self.head, self, cluster, world.vault, {}.__getitem__, software)
        self.around = around
        self.may_change: Callable[[], None] = lambda: None
        self.scheduler = Scheduler(around, lambda: self.may_change())
        self.tickets: list[Ticket] = []
        self._numbers = iter(range(1, 10_000))
        self._closed = False

    def send(self, job_id: str, number: int, command: Command[Any]) -> Future[Reply]:
        """Run a command on its node, with a chance to die before and after."""
        self.life.tick()
        self.world.sent.append(((job_id, number), command.name))
        if command.node in self.world.offline:
            done: Future[Reply] = Future()
            done.set_result(reply_of(NodeOffline(f"n{command.node} is offline")))
        else:
            agent, host = self.world.agents[command.node], self.world.hosts[command.node]
            done = agent.run((job_id, number), command.name, command.arguments, host.with_output)
            done.exception()
        self.life.tick()
        return done

    def share(self) -> None:
        """Return at once: the next life of the master has the same journal."""
        self.life.check()

    def written(self, revision: int) -> Future[list[int]]:
        """Complete with the nodes that are late; at once, unless the test does it."""
        self.life.check()
        written: Future[list[int]] = Future()
        if self.world.writing is None:
            written.set_result(list(self.world.late))
        else:
            self.world.writing.put(written)
        return written

    def node_states(self) -> dict[int, NodeState]:
        """Return the state of every node."""
        return {n: NodeState.OFFLINE if n in self.world.offline else NodeState.ONLINE for n in self.world.hosts}

    def admit(self, job: str, /, caller: Caller = SYSTEM, job_id: str | None = None, **more: Any) -> Ticket:
        """Submit a job."""
        start, retried, given = more.pop("start", False), more.pop("retried", False), more
        job_id = job_id or f"11.{next(self._numbers)}"
        ticket = self.scheduler.admit(Admission(job_id, job, given, caller, {}, start=start, retried=retried))
        self.tickets.append(ticket)
        return ticket

    def run(self, job: str, /, **given: Any) -> Outcome:
        """Run a job to its end."""
        return self.admit(job, **given).done.result(PATIENCE)

    def finish(self, job_id: str) -> Outcome:
        """Return how a job ended, waiting when it is on its way."""
        ticket = self.scheduler.ticket(job_id)
        if ticket is not None:
            ticket.done.exception(PATIENCE)
        file = self.scheduler.file(job_id)
        assert file is not None
        assert file.outcome is not None
        return file.outcome

    def records(self, job_id: str) -> list[Record]:
        """Return what was recorded of a job."""
        return self.real.job(job_id)

    def die_or_end(self) -> None:
        """Return when the life is over, or all its jobs are."""
        while not self.life.dead.is_set() and not all(ticket.done.done() for ticket in self.tickets):
            self.life.dead.wait(0.002)
        self.close()

    def close(self) -> None:
        """Be gone; nothing of this life acts any more."""
        if self._closed:
            return
        self._closed = True
        self.life.dead.set()
        self.scheduler.close()
        self.scheduler._workers.shutdown(wait=True)
        self.scheduler._reading._readers.shutdown(wait=True)
        self.scheduler._reading._waiters.shutdown(wait=True)
        self.real.close()
