"""A cluster under mayhem, clients that record what they see, and the collection of what is there in the end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.cli.connection import CallRefused, Connection, SocketHTTP
from confd.cli.exits import CommandError, ConnectionLost
from confd.cluster.identity import NodeFiles
from confd.exaconf import Global, Group, from_stored
from confd.model.errors import NoMaster, NotFound
from confd.store.records import Finished
from tests.cluster.harness import Cluster, until
from tests.failpoints.spawner import Spawner
from tests.history import network
from tests.history.events import History, Job, Node, Operation, Outcome, Revision

DOMAINS: Final = "domains"
#: Registers with one value each, beside that for which all clients contend.
GROUPS: Final = "group/"
_CALL_SECONDS: Final = 15.0
_CLIENTS: Final = 5


class Daemons:
    """Three nodes, each with its network where that is possible."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.c4("stop", "-t", "1")
        self._network = network.Network(cluster.addresses) if network.is_possible() else None
        self._spawners = {node: self._spawner(node) for node in cluster.addresses}
        self.pids: dict[int, int] = {}
        self.repair()

    def close(self) -> None:
        """Leave everything as it is, but with its network."""
        self.repair()
        for node in self.pids:
            self.kill(node)
        for spawner in self._spawners.values():
            spawner.close()
        if self._network is not None:
            self._network.close()

    @property
    def events(self) -> list[Callable[[int], None]]:
        """What can happen to a node."""
        return [self.kill, self.kill, self.pause, self.stop, *([self.cut] * 3 if self._network else [])]

    def kill(self, node: int) -> None:
        """Kill -9 the daemon."""
        self._signal(node, signal.SIGKILL)

    def stop(self, node: int) -> None:
        """Stop the daemon in order."""
        self._signal(node, signal.SIGTERM)

    def pause(self, node: int) -> None:
        """Have the daemon stand still."""
        self._signal(node, signal.SIGSTOP)

    def cut(self, node: int) -> None:
        """Cut a node off from all others; its own clients reach it."""
        assert self._network is not None
        self._network.cut(node)

    def repair(self) -> None:
        """Take everything back that happened, and wait until all nodes serve."""
        if self._network is not None:
            self._network.heal()
        for node in self.cluster.addresses:
            self._signal(node, signal.SIGCONT)
            if node not in self.pids or not _alive(self.pids[node]):
                self._start(node)
        for node in self.cluster.addresses:
            until(lambda node=node: self._serves(node), f"n{node} serves{self.cluster.logs()}", 120.0)

    def connection(self, node: int) -> Connection:
        """Return a connection to a node as its own user."""
        runtime = json.loads((self.cluster.root(node) / "etc/node.json").read_text())["runtime"]
        return Connection(lambda: SocketHTTP(f"{runtime}/confd.sock", _CALL_SECONDS), f"n{node}")

    def _spawner(self, node: int) -> Spawner:
        prefix = self._network.prefix(node) if self._network is not None else []
        return Spawner(self.cluster.root(node), self.cluster.env, prefix)

    def _start(self, node: int) -> None:
        self.pids[node] = self._spawners[node].start("")

    def _serves(self, node: int) -> bool:
        # One that was told to stop may still be about to.
        if not _alive(self.pids[node]):
            self._start(node)
        try:
            connection = self.connection(node)
            answer = connection.call("job_exec", "group_info", {"params": {"groupname": "exaadm"}})
        except CommandError:
            return False
        return bool(answer["result_code"] == 0)

    def _signal(self, node: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(self.pids[node], number)


class Client(threading.Thread):
    """Writes and reads over any node until told to end; notes what it asked for and what it was told."""

    def __init__(self, daemons: Daemons, number: int, dice: random.Random, ended: threading.Event) -> None:
        super().__init__(daemon=True, name=f"client{number}")
        self._daemons, self._number, self._dice, self._ended = daemons, number, dice, ended
        self._names = [GROUPS + "none"]
        self.operations: list[Operation] = []
        self.odd: list[str] = []

    def run(self) -> None:
        """Work."""
        turn = 0
        while not self._ended.is_set():
            turn += 1
            node = self._dice.choice(list(self._daemons.cluster.addresses))
            name = f"h{self._number}x{turn}x{time.time_ns() % 10**9}"
            draw = self._dice.random()
            if draw < 0.3:
                self._write(node, DOMAINS, f"{name}.example", "general_settings", _domains(f"{name}.example"))
            elif draw < 0.6:
                number = 100_000 + time.time_ns() % 1_000_000_000
                self._names.append(GROUPS + name)
                self._write(node, GROUPS + name, str(number), "group_create", {"groupname": name, "groupid": number})
            elif draw < 0.8:
                self._read(node, DOMAINS, "settings_list", {"sections": {"Global": ["SearchDomains"]}})
            else:
                register = self._dice.choice(self._names[-3:])
                self._read(node, register, "group_info", {"groupname": register.removeprefix(GROUPS)})

    def _write(self, node: int, register: str, value: str, job: str, params: dict[str, Any]) -> None:
        began, job_id, outcome = time.monotonic(), "", Outcome.UNKNOWN
        connection = self._daemons.connection(node)
        try:
            answer = connection.call("job_start", job, {"params": params})
            if isinstance(answer, str):
                job_id = answer
                outcome = self._outcome(job_id)
        except ConnectionLost:
            pass
        except CallRefused as refused:
            outcome = Outcome.UNKNOWN if refused.code == NoMaster.code else Outcome.FAIL
        except CommandError:
            outcome = Outcome.FAIL
        finally:
            connection.close()
        self._note(Operation(self._number, node, register, True, value, began, time.monotonic(), outcome, job_id))

    def _outcome(self, job_id: str) -> Outcome:
        """Ask over any node how a job ended."""
        connection = self._daemons.connection(self._dice.choice(list(self._daemons.cluster.addresses)))
        try:
            if not connection.call("job_wait", job_id, {"timeout": _CALL_SECONDS / 2}):
                return Outcome.UNKNOWN
            result = connection.call("job_result", job_id)
            if not result:
                self.odd.append(f"{job_id} has ended and has no result, says {connection.place}")
                return Outcome.UNKNOWN
            code = result["result_code"]
        except CommandError:
            return Outcome.UNKNOWN
        finally:
            connection.close()
        if code == NoMaster.code:
            return Outcome.UNKNOWN
        return Outcome.FAIL if code else Outcome.OK

    def _read(self, node: int, register: str, job: str, params: dict[str, Any]) -> None:
        began = time.monotonic()
        connection = self._daemons.connection(node)
        try:
            answer = connection.call("job_exec", job, {"params": params})
        except CommandError:
            return
        finally:
            connection.close()
        code, output = answer["result_code"], answer.get("result_output")
        if code not in (0, NotFound.code):
            return
        value = "" if code else output["Global"]["SearchDomains"] if register == DOMAINS else str(output["id"])
        stale = "result_stale" in answer
        self._note(
            Operation(
                self._number, node, register, False, value or None, began, time.monotonic(), Outcome.OK, stale=stale
            )
        )

    def _note(self, operation: Operation) -> None:
        self.operations.append(operation)


def record(daemons: Daemons, seed: int, seconds: float) -> History:
    """Let clients work while nodes fail, repair everything, and return what was seen and what is there."""
    dice, ended = random.Random(seed), threading.Event()
    clients = [Client(daemons, number, random.Random(seed * 100 + number), ended) for number in range(_CLIENTS)]
    before = _collect(daemons.cluster, 11)
    start = {name: value for revision in before.revisions for name, value in revision.values.items()}
    for client in clients:
        client.start()
    try:
        _mayhem(daemons, dice, time.monotonic() + seconds, clients)
    finally:
        ended.set()
        daemons.repair()
        for client in clients:
            client.join(90)
    assert not any(client.is_alive() for client in clients), "a call hangs"
    assert not (odd := [text for client in clients for text in client.odd]), odd
    operations = tuple(one for client in clients for one in client.operations)
    print(f"seed {seed}: {dict(Counter((one.writes, str(one.outcome)) for one in operations))}")
    return History(operations, _settled(daemons.cluster, len(before.revisions), start), start)


def _mayhem(daemons: Daemons, dice: random.Random, over: float, clients: list[Client]) -> None:
    while time.monotonic() < over:
        done = sum(len(client.operations) for client in clients)
        until(lambda done=done: sum(len(client.operations) for client in clients) >= done + 10, "clients get on")
        for _ in range(dice.choice((1, 1, 2))):
            event, node = dice.choice(daemons.events), dice.choice([11, *daemons.cluster.addresses])
            print(f"  {event.__name__} n{node}")
            event(node)
            # How long it lasts is the random input of this test, not a wait for something.
            time.sleep(dice.choice((0.02, 0.3, 1.0, 4.0)) * dice.random())
        daemons.repair()


def _settled(cluster: Cluster, skip: int, start: dict[str, str]) -> dict[int, Node]:
    """Return what all nodes hold once they hold the same, without the revisions of earlier runs."""

    def same() -> dict[int, Node] | None:
        nodes = {node: _collect(cluster, node) for node in cluster.addresses}
        first, *others = nodes.values()
        alike = all((one.head, one.exaconf, one.jobs) == (first.head, first.exaconf, first.jobs) for one in others)
        return nodes if alike and all(job.code is not None for job in first.jobs.values()) else None

    last: dict[int, Node] = {}
    with contextlib.suppress(AssertionError):
        last = until(same, "all nodes hold the same")
    last = last or {node: _collect(cluster, node) for node in cluster.addresses}
    return {
        name: msgspec.structs.replace(node, revisions=tuple(_changes(node.revisions[skip:], start)))
        for name, node in last.items()
    }


def _changes(revisions: tuple[Revision, ...], start: dict[str, str]) -> Iterator[Revision]:
    """Leave out what a revision only repeats."""
    present = dict(start)
    for revision in revisions:
        changed = {name: value for name, value in revision.values.items() if present.get(name) != value}
        present |= changed
        yield msgspec.structs.replace(revision, values=changed)


def _collect(cluster: Cluster, node: int) -> Node:
    files = NodeFiles(cluster.root(node))
    vault = files.vault()
    with contextlib.closing(_open(files.journal)) as journal:
        jobs = {
            job: Job(code, ends, revision)
            for job, code, revision, ends in journal.execute(
                "SELECT id, code, revision, (SELECT count(*) FROM records WHERE key = id AND kind IN ('finished', 'read'))"
                " FROM jobs WHERE intent = 'modify' OR code != 0"
            )
        }
        bodies = journal.execute("SELECT key, body FROM records WHERE kind = 'finished' ORDER BY n").fetchall()
        revisions = []
        for job, body in bodies:
            finished = msgspec.json.decode(body, type=Finished)
            if finished.revision is not None:
                values = {}
                for section in filter(None, finished.changes.values()):
                    values |= _values(from_stored(section, vault))
                revisions.append(Revision(finished.revision, job, values))
        head = journal.execute("SELECT term, n FROM records ORDER BY n DESC LIMIT 1").fetchone()
    terms = {pair for path in files.journal.parent.glob("journal*.db") for pair in _terms(path)}
    exaconf = hashlib.sha256(files.exaconf.read_bytes()).hexdigest()
    return Node(jobs, tuple(revisions), frozenset(terms), head, exaconf)


def _values(section: Any) -> dict[str, str]:
    if isinstance(section, Global):
        return {DOMAINS: str(_first(section.search_domains))}
    return {GROUPS + section.name: str(section.id)} if isinstance(section, Group) else {}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) and value else value


def _terms(path: Path) -> list[tuple[int, int]]:
    with contextlib.closing(_open(path)) as journal:
        found = journal.execute("SELECT term, key FROM records WHERE kind = 'term'")
        return [(term, int(key)) for term, key in found]


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)


def _domains(value: str) -> dict[str, Any]:
    return {"changes": {"Global": {"SearchDomains": value}}}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
