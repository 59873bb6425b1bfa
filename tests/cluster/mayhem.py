"""What can happen to a node of a test cluster: death of all or some of its processes, and a cut of its address."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import psutil
import psycopg

from tests.cluster.harness import PATIENCE, SYS_PASSWORD, Cluster, until

NAME: Final = "Exasol"
_KEEPER: Final = "confd.services.database.keeper.keeper"


class Nodes(Protocol):
    """Nodes that databases run on: a cluster of ours, or a peer's."""

    addresses: dict[int, str]

    def root(self, node: int) -> Path:
        """Return the directory that everything of a node is below."""


def processes_of(cluster: Nodes, node: int) -> list[psutil.Process]:
    """Return daemon, keepers and servers of a node."""
    return processes_below(cluster.root(node))


def processes_below(directory: Path) -> list[psutil.Process]:
    """Return the processes that work in a directory or name something below it."""
    root = str(directory)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words, place = process.cmdline(), process.cwd()
            if any(word == root or f"{root}/" in word for word in words) or place.startswith(f"{root}/"):
                found.append(process)
    return found


def kill(processes: list[psutil.Process]) -> None:
    """Kill -9, all as one."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    until(lambda: not any(_lives(process) for process in processes), "they are dead")


def kill_node(cluster: Nodes, node: int) -> None:
    """Kill -9 of everything on a node; what was being started meanwhile, too."""
    while found := [process for process in processes_of(cluster, node) if _lives(process)]:
        kill(found)


def comes_back_removed(cluster: Cluster, node: int, *words: str) -> None:
    """Start the daemon of a node that was removed: it says so, and what to do, and ends with all that runs there."""
    command = [sys.executable, "-m", "confd.cli.confd", "--root", str(cluster.root(node)), *words]
    ended = subprocess.run(command, env=cluster.env, timeout=PATIENCE, capture_output=True, text=True)
    assert ended.returncode == 1, ended
    assert f"n{node} was removed" in ended.stderr
    assert "c4 rm -t PLAY.NODE" in ended.stderr
    assert "the cluster has removed this node" in (cluster.root(node) / "logs/logd/ConfD.log").read_text()
    assert processes_of(cluster, node) == []


@contextlib.contextmanager
def other_version(cluster: Cluster, node: int, version: str) -> Iterator[None]:
    """Have the daemon of a node be one of another version for a block, and none at its end."""
    cluster.kill(node)
    program = f"import confd; confd.__version__ = {version!r}; from confd.cli.confd import main; main()"
    command = [sys.executable, "-c", program, "--root", str(cluster.root(node))]
    daemon = subprocess.Popen(command, env=cluster.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        daemon.kill()
        daemon.wait()


def kill_daemon(cluster: Cluster, node: int) -> None:
    """Kill -9 of the daemon alone."""
    cluster.kill(node)


def kill_server(cluster: Nodes, node: int) -> None:
    """Kill -9 of the postmaster alone."""
    kill([one for one in processes_of(cluster, node) if _is_postmaster(one)])


def kill_keeper(cluster: Nodes, node: int) -> None:
    """Kill -9 of the keepers alone; their servers stop."""
    kill([one for one in processes_of(cluster, node) if _words(one) & {_KEEPER}])


def cut(cluster: Cluster, node: int) -> None:
    """Have nobody reach a node's address; all its processes live on. Without rights for that its daemon is frozen."""
    if _can_route():
        _route("add", cluster.addresses[node])
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(cluster.pid(node)).suspend()


def heal(cluster: Cluster) -> None:
    """Take all cuts back."""
    for node, address in cluster.addresses.items():
        if _can_route():
            _route("del", address)
            continue
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            psutil.Process(cluster.pid(node)).resume()


def primary(cluster: Nodes) -> int | None:
    """Return the node that takes writes."""
    return next((node for node in cluster.addresses if _writable(cluster, node)), None)


class Writer(threading.Thread):
    """Writes rows all the time, connecting again after every error; remembers which were acknowledged."""

    def __init__(self, cluster: Nodes, nodes: Sequence[int] = ()) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.addresses = [cluster.addresses[node] for node in nodes or cluster.addresses]
        self.acknowledged: set[int] = set()
        self.resumed: list[float] = []
        self.table = f"written_{time.monotonic_ns()}"
        self._numbers = itertools.count(1)
        self._ended = threading.Event()

    def connect(self) -> psycopg.Connection[Any]:
        """Connect to whichever node takes writes."""
        return psycopg.connect(
            host=",".join(self.addresses), port=8563, user="sys", password=SYS_PASSWORD, dbname=NAME,
            target_session_attrs="read-write", connect_timeout=2, tcp_user_timeout=3000, keepalives_idle=1,
            keepalives_interval=1, keepalives_count=3, autocommit=True,
        )  # fmt: skip

    def run(self) -> None:
        """Write until told to end."""
        while not self._ended.is_set():
            with contextlib.suppress(psycopg.Error), self.connect() as connection:
                connection.execute(f"CREATE TABLE IF NOT EXISTS {self.table} (n bigint primary key)")
                fresh = True
                while not self._ended.wait(0.002):
                    number = next(self._numbers)
                    connection.execute(f"INSERT INTO {self.table} VALUES (%s)", (number,))
                    self.acknowledged.add(number)
                    if fresh:
                        self.resumed.append(time.perf_counter())
                    fresh = False
            self._ended.wait(0.05)

    def back_after(self, moment: float) -> float | None:
        """Return when a write was accepted over a connection that was made after a moment (``perf_counter``)."""
        return next((at for at in list(self.resumed) if at > moment), None)

    def goes_on(self, seconds: float = 60.0) -> None:
        """Wait for the next acknowledged rows."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) > before + 3, "rows are written", seconds)

    def end(self) -> set[int]:
        """Stop; return the acknowledged rows that are not there any more."""
        self._ended.set()
        self.join(30)
        with self.connect() as connection:
            there = {number for (number,) in connection.execute(f"SELECT n FROM {self.table}")}
        return self.acknowledged - there


class Watcher(threading.Thread):
    """Looks all the time for two nodes that take writes at once."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.seen: list[list[int]] = []
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until told to end: who was writable before and after another one was, was so at the same time."""
        while not self._ended.wait(0.05):
            first = [node for node in self.cluster.addresses if _writable(self.cluster, node)]
            if len(first) > 1 and _writable(self.cluster, first[0]):
                self.seen.append(first)

    def end(self) -> list[list[int]]:
        """Stop; return what must never be."""
        self._ended.set()
        self.join(30)
        return self.seen


def _writable(cluster: Nodes, node: int) -> bool:
    try:
        with psycopg.connect(
            host=cluster.addresses[node], port=8563, user="sys", password=SYS_PASSWORD, dbname=NAME,
            connect_timeout=2, tcp_user_timeout=2000, keepalives_idle=1, keepalives_interval=1, keepalives_count=2,
        ) as connection:  # fmt: skip
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
    except psycopg.Error:
        return False


def _is_postmaster(process: psutil.Process) -> bool:
    return any(word.endswith("/bin/postgres") for word in _words(process)) and "-D" in _words(process)


def _words(process: psutil.Process) -> set[str]:
    try:
        return set(process.cmdline())
    except psutil.Error:
        return set()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _can_route() -> bool:
    return os.getuid() == 0 and shutil.which("ip") is not None


def _route(change: str, address: str) -> None:
    """Add or take away a route to nowhere for one loopback address; fine when it is so already."""
    command = ["ip", "route", change, "blackhole", f"{address}/32", "table", "local"]
    subprocess.run(command, check=False, capture_output=True)
