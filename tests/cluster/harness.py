"""A real cluster for tests: made by c4, real daemons, addresses and state of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

ADMIN_PASSWORD = "admin-password"
SYS_PASSWORD = "sys-password"
PATIENCE = 60.0


def until(promise: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Return what a promise gives once it is true; fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        kept = promise()
        if kept:
            return kept
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


def free_net(ports: tuple[int, ...] = (20003, 3250, 8563)) -> str:
    """Return the first three parts of loopback addresses on which nobody listens."""
    dice = random.Random(os.getpid() * 7919 + time.monotonic_ns())
    while True:
        net = f"127.{dice.randrange(64, 250)}.{dice.randrange(1, 250)}"
        if all(_free(f"{net}.{last}", port) for last in range(10, 16) for port in ports):
            return net


def free_port(address: str) -> int:
    """Return a port of an address on which nobody listens."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _free(address: str, port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind((address, port))
        return True
    return False


class TimeoutTransport(xmlrpc.client.SafeTransport):
    """A transport whose calls cannot hang for ever."""

    def make_connection(self, host: Any) -> Any:
        connection = super().make_connection(host)
        connection.timeout = PATIENCE
        return connection


class Cluster:
    """One play, from ``c4 host play`` to ``c4 rm``."""

    def __init__(self, *words: str, nodes: int = 3, ccc_home: Path | None = None) -> None:
        self.home = ccc_home or Path(tempfile.mkdtemp(prefix="confd-test-"))
        self.home.mkdir(exist_ok=True)
        self.home.chmod(0o755)
        self.net = free_net()
        self.addresses = {11 + i: f"{self.net}.{11 + i}" for i in range(nodes)}
        addresses = " ".join(self.addresses.values())
        try:
            self.printed = self.c4(
                "host", "play", f"CCC_HOST_ADDRS={addresses}", f"CCC_PLAY_ADMIN_PASSWORD={ADMIN_PASSWORD}",
                f"CCC_PLAY_DB_PASSWORD={SYS_PASSWORD}", *words,
            )  # fmt: skip
        except BaseException:
            self.remove()
            raise

    def c4(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run c4 for this cluster; what it printed."""
        command = [sys.executable, "-m", "confd.cli.c4", *words]
        done = subprocess.run(command, env=self.env, input=stdin, capture_output=True, text=True, timeout=180)
        assert not check or done.returncode == 0, f"c4 {' '.join(words)}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout + done.stderr

    @property
    def env(self) -> dict[str, str]:
        """The environment of commands."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("CCC_")}
        return clean | {"CCC_HOME": str(self.home)}

    def root(self, node: int) -> Path:
        """Return the node root."""
        return next(self.home.glob(f"*/n{node}"))

    def client(self, node: int, user: str = "admin", password: str = ADMIN_PASSWORD) -> xmlrpc.client.ServerProxy:
        """Return a client as the vendor's documentation makes it."""
        context = ssl._create_unverified_context()
        url = f"https://{user}:{password}@{self.addresses[node]}:20003"
        return xmlrpc.client.ServerProxy(url, TimeoutTransport(context=context), allow_none=True)

    def run(self, job: str, node: int = 11, **params: Any) -> Any:
        """Run a job that must succeed; its output."""
        envelope = self.try_run(job, node, **params)
        assert envelope["result_code"] == 0, envelope
        return envelope.get("result_output")

    def try_run(self, job: str, node: int = 11, **params: Any) -> dict[str, Any]:
        """Run a job; its envelope."""
        answer: Any = self.client(node).job_exec(job, {"params": params})
        assert isinstance(answer, dict)
        return answer

    def confd_client(self, *words: str, node: int = 11, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run confd_client on a node."""
        identity = json.loads((self.root(node) / "etc/node.json").read_text())
        env = self.env | {"CONFD_SOCKET": f"{identity['runtime']}/confd.sock", "EXA_ROOT": str(self.root(node))}
        command = [sys.executable, "-m", "confd.cli.confd_client", *words]
        return subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=120)

    def pid(self, node: int) -> int:
        """Return the process id of a daemon."""
        return int((self.root(node) / "spool/confd.pid").read_text())

    def kill(self, node: int) -> None:
        """Kill -9 the daemon of a node; its keepers live on."""
        process = psutil.Process(self.pid(node))
        assert any(word.endswith("confd") for word in process.cmdline()), process.cmdline()
        process.send_signal(signal.SIGKILL)
        with contextlib.suppress(psutil.NoSuchProcess):
            until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the daemon is dead")

    def start(self) -> None:
        """Start every daemon that does not run."""
        self.c4("start", "-t", "1")

    def files(self) -> dict[int, str]:
        """Return a digest of EXAConf on every node."""
        return {node: _digest(self.root(node) / "etc/EXAConf") for node in self.addresses}

    def wait_same(self) -> None:
        """Wait until all nodes hold the same EXAConf."""
        until(lambda: len(set(self.files().values())) == 1, "all nodes hold the same EXAConf")

    def logs(self) -> str:
        """Return the ends of all daemon logs."""
        texts = []
        for log in sorted(self.home.glob("*/n*/logs/logd/*")):
            lines = log.read_text(errors="replace").splitlines()[-15:]
            texts.append("\n".join([f"--- {log.parts[-4]}/{log.name}", *lines]))
        return "\n".join(texts)

    def processes(self) -> list[psutil.Process]:
        """Return everything that belongs to this cluster."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.home) in word for word in process.info["cmdline"] or ()):
                found.append(process)
        return found

    def remove(self) -> None:
        """Remove the cluster with all its processes and files."""
        self.c4("rm", "-t", "1", "--yes", check=False)
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def cluster(*words: str, nodes: int = 3, ccc_home: Path | None = None) -> Iterator[Cluster]:
    """Make a cluster for a block."""
    made = Cluster(*words, nodes=nodes, ccc_home=ccc_home)
    try:
        yield made
    finally:
        made.remove()


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return f"missing {path.parent.parent.name}"
