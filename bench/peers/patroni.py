"""Patroni with etcd: three nodes on loopback addresses, with the PostgreSQL that our databases run, too."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import yaml

from bench.processes import undisturbed
from confd.play.accounts import database_user, postgresql
from confd.services.database.engine.installation import traversable
from tests.cluster.harness import SYS_PASSWORD, free_net, until
from tests.cluster.mayhem import NAME, kill, processes_below

_ETCD: Final = "etcd"
_REQUIREMENT: Final = "patroni[etcd3,psycopg3]>=4.1,<5"
_PYTHONS: Final = (Path(getattr(sys, "_base_executable", sys.executable)), Path("/usr/bin/python3"))
_DATABASE, _REST, _CLIENT, _PEER = 8563, 8008, 2379, 2380
_HEALTHY: Final = {"running", "streaming"}
_PATIENCE: Final = 180.0


class Unavailable(Exception):
    """Patroni or etcd cannot be had here; the text says why."""


@dataclass(frozen=True)
class Pace:
    """How soon Patroni acts, seconds."""

    ttl: int
    loop_wait: int
    retry_timeout: int

    def __str__(self) -> str:
        return f"ttl {self.ttl}, loop_wait {self.loop_wait}, retry_timeout {self.retry_timeout}"


FASTEST: Final = Pace(20, 1, 3)
"""The least that its documentation allows for each."""

DEFAULT: Final = Pace(30, 10, 10)


@dataclass(frozen=True)
class Tools:
    """What the peer is made of; all of it can be run by the databases' user."""

    home: Path
    user: str | None
    python: Path
    etcd: str
    postgresql: str
    version: str


@contextlib.contextmanager
def tools() -> Iterator[Tools]:
    """Install Patroni in an environment of its own, below a temporary directory, for a block.

    :raises Unavailable: something is missing here.
    """
    home = Path(tempfile.mkdtemp(prefix="patroni-"))
    home.chmod(0o755)
    try:
        yield _install(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _install(home: Path) -> Tools:
    etcd = shutil.which(_ETCD)
    if etcd is None:
        raise Unavailable("there is no etcd here; as root on a Debian: scripts/servers")
    user = database_user()
    made_by = next((path for path in _PYTHONS if path.exists() and traversable(path.resolve(), user)), None)
    if made_by is None:
        raise Unavailable(f"user {user} can run none of {', '.join(map(str, _PYTHONS))}")
    python = home / "venv/bin/python"
    _run(made_by, "-m", "venv", "--without-pip", home / "venv")
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", _REQUIREMENT)
    version = _run(python, "-c", "from importlib.metadata import version; print(version('patroni'), end='')")
    return Tools(home, user, python, etcd, postgresql(home).prefix, version)


def _run(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{words[0]} failed: {said[-1] if said else f'status {done.returncode}'}")
    return done.stdout


class Patroni:
    """Three nodes, each with etcd, Patroni and PostgreSQL; commits wait for one of the two standbys."""

    def __init__(self, used: Tools, pace: Pace) -> None:
        self._tools, self._pace = used, pace
        self._home = Path(tempfile.mkdtemp(prefix="p", dir=used.home))
        self._home.chmod(0o755)
        net = free_net((_DATABASE, _REST, _CLIENT, _PEER))
        self.addresses = {number: f"{net}.{number}" for number in (11, 12, 13)}

    def root(self, node: int) -> Path:
        """Return the directory that everything of a node is below."""
        return self._home / f"n{node}"

    def make(self) -> None:
        """Start everything, and make the database that is written to."""
        for node in self.addresses:
            self._prepare(node)
        self.start()
        until(self.whole, "Patroni's nodes are healthy", _PATIENCE)
        with psycopg.connect(
            host=",".join(self.addresses.values()), port=_DATABASE, user="sys", password=SYS_PASSWORD,
            dbname="postgres", target_session_attrs="read-write", autocommit=True,
        ) as connection:  # fmt: skip
            connection.execute(f'CREATE DATABASE "{NAME}"')

    def start(self) -> None:
        """Start what does not run: first the members of etcd, as one of them needs another one."""
        alive = {node: processes_below(self.root(node)) for node in self.addresses}
        for node in self.addresses:
            if not alive[node]:
                self._begin(node, [self._tools.etcd, *self._etcd_words(node)], "etcd")
        for node in self.addresses:
            if not alive[node]:
                program = self._tools.python.parent / "patroni"
                self._begin(node, [self._tools.python, program, self.root(node) / "patroni.yml"], "patroni")

    def whole(self) -> bool:
        """Tell whether there is a leader with two standbys that count."""
        for address in self.addresses.values():
            with contextlib.suppress(OSError, ValueError):
                with urllib.request.urlopen(f"http://{address}:{_REST}/cluster", timeout=2) as answer:
                    members = json.load(answer)["members"]
                roles = sorted(one["role"] for one in members if one["state"] in _HEALTHY)
                return roles == ["leader", "quorum_standby", "quorum_standby"]
        return False

    def remove(self) -> None:
        """Kill and delete everything."""
        while found := processes_below(self._home):
            kill(found)
        shutil.rmtree(self._home, ignore_errors=True)

    def _prepare(self, node: int) -> None:
        root = self.root(node)
        root.mkdir(mode=0o700)
        (root / "patroni.yml").write_text(yaml.safe_dump(self._configuration(node)))
        if self._tools.user is not None:
            for path in (root, root / "patroni.yml"):
                shutil.chown(path, self._tools.user, self._tools.user)

    def _begin(self, node: int, words: list[str | Path], name: str) -> None:
        root, user = self.root(node), self._tools.user
        clean = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(root)}
        with (root / f"{name}.log").open("a") as log:
            subprocess.Popen(
                words, cwd=root, env=clean, user=user, group=user, extra_groups=[] if user else None, umask=0o077,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _etcd_words(self, node: int) -> list[str]:
        client, peer = (f"http://{self.addresses[node]}:{port}" for port in (_CLIENT, _PEER))
        members = ",".join(f"n{one}=http://{address}:{_PEER}" for one, address in self.addresses.items())
        return [
            "--name", f"n{node}", "--data-dir", str(self.root(node) / "etcd"), "--initial-cluster", members,
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        ]  # fmt: skip

    def _configuration(self, node: int) -> dict[str, Any]:
        address, root, pace = self.addresses[node], self.root(node), self._pace
        login = {"username": "sys", "password": SYS_PASSWORD}
        return {
            "scope": "bench",
            "name": f"n{node}",
            "restapi": {"listen": f"{address}:{_REST}", "connect_address": f"{address}:{_REST}"},
            "etcd3": {"hosts": [f"{one}:{_CLIENT}" for one in self.addresses.values()]},
            "bootstrap": {
                "dcs": {
                    "ttl": pace.ttl, "loop_wait": pace.loop_wait, "retry_timeout": pace.retry_timeout,
                    # Strict: without it a primary that is alone acknowledges what only it has; ours never does.
                    "synchronous_mode": "quorum", "synchronous_mode_strict": True,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True},
                },
                "initdb": [
                    {"encoding": "UTF8"}, {"locale-provider": "builtin"}, {"locale": "C.UTF-8"}, "data-checksums",
                ],
            },
            "postgresql": {
                "listen": f"{address}:{_DATABASE}",
                "connect_address": f"{address}:{_DATABASE}",
                "data_dir": str(root / "data"),
                "bin_dir": f"{self._tools.postgresql}/bin",
                "pgpass": str(root / "pgpass"),
                "authentication": {"superuser": login, "replication": login | {"username": "replicator"}},
                "pg_hba": ["host all all 127.0.0.0/8 scram-sha-256", "host replication all 127.0.0.0/8 scram-sha-256"],
                "parameters": {"unix_socket_directories": str(root)},
            },
        }  # fmt: skip


@contextlib.contextmanager
def running(used: Tools, pace: Pace) -> Iterator[Patroni]:
    """Run the peer for a block."""
    made = Patroni(used, pace)
    try:
        made.make()
        yield made
    finally:
        with undisturbed():
            made.remove()
