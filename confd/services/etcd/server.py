"""The etcd server of a node: started, found again, stopped. It outlives the daemon, as database servers do.

A running one is recognised by its working directory, its data directory. So a daemon that was killed, at whatever
moment, finds it again, and never starts a second one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from typing import Final

import msgspec
import structlog

from confd.cluster.identity import NodeFiles
from confd.model.errors import ConfDError, NodeError
from confd.services.database.keeper.processes import works_in
from confd.services.etcd.binary import any_peer, find_binary, if_there
from confd.services.etcd.plan import DATA, LOG, PLAN_FILE, MemberPlan, load_plan, save_plan
from confd.services.etcd.process import last_words, server_of, stop_server

log = structlog.get_logger("etcd")

_STOP_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 10.0
_PROVEN_SECONDS: Final = 10.0
_LARGEST_LOG: Final = 16 << 20

_TIMES: Final = ("--heartbeat-interval=100", "--election-timeout=500")
"""Milliseconds. Short, because a cluster whose master and etcd leader die together waits for both."""

_AHEAD: Final = ("nice", "-n", "-10")
"""Everything waits for etcd, and a machine that is busy with databases must not cost the cluster its master."""

_HASHING: Final = "--bcrypt-cost=4"
"""The password is generated: a slow hash protects nothing, and every login of every client would pay for it."""

_UPKEEP: Final = ("--auto-compaction-mode=revision", "--auto-compaction-retention=10000", "--snapshot-count=10000")


class EtcdServer:
    """The etcd server of one node; what runs follows the plan in the node's files. May be called from any thread."""

    def __init__(self, files: NodeFiles) -> None:
        self._files = files
        self.directory = files.root / DATA
        self._lock = threading.RLock()
        self._child: subprocess.Popen[bytes] | None = None
        self._failures, self._try_at, self._started = 0, 0.0, 0.0
        self._known: int | None = None
        self._hindrance = ""

    @property
    def trouble(self) -> str:
        """Why the member that is wanted here does not run; empty when it does, or none is wanted."""
        if self._hindrance:
            return f"its member of etcd cannot be started: {self._hindrance}"
        return "its member of etcd ends again and again, see logs/logd/etcd.log" if self._failures > 1 else ""

    @property
    def lost(self) -> bool:
        """True when no member that was begun here can run any more: its plan or its data is gone."""
        try:
            plan = load_plan(self._files.root)
        except ValueError:
            # Somebody has to look at it; the data is there.
            return False
        return plan is None or (plan.begun and not self._has_data())

    def pid(self) -> int | None:
        """Return the process id of the running server."""
        # Asked twice a second: all processes are gone through only when the known one is not it any more.
        if self._known is None or not works_in(self._known, self.directory):
            self._known = server_of(self._files.root)
        return self._known

    def join(self, plan: MemberPlan) -> None:
        """Run a new member; what an earlier one left is deleted. One that has this plan and its data stays."""
        with self._lock:
            if self.lost or self._present() != plan:
                self.leave()
                save_plan(self._files.root, plan)
            self._start_unless_running()

    def _present(self) -> MemberPlan | None:
        """Return the plan as it was given."""
        try:
            plan = load_plan(self._files.root)
        except ValueError:
            return None
        return None if plan is None else msgspec.structs.replace(plan, begun=False)

    def leave(self) -> None:
        """Run no member any more, and delete what it kept."""
        with self._lock:
            (self._files.root / PLAN_FILE).unlink(missing_ok=True)
            self.stop()
            shutil.rmtree(self.directory, ignore_errors=True)

    def stop(self) -> None:
        """Stop the server; it is started again by whoever minds it, as long as there is a plan."""
        with self._lock:
            stop_server(self._files.root)
            if self._child is not None:
                self._child.wait(_STOP_SECONDS)
                self._child = None

    def force_new_cluster(self) -> None:
        """Make this node's member the only one of its cluster, with all it has: the others are lost for good.

        :raises NodeError: the server does not come up so, with its last words.
        """
        self.restart("--force-new-cluster")

    def restart(self, *extra: str) -> None:
        """Start the server anew, with further words for this time.

        :raises NodeError: there is none.
        """
        with self._lock:
            plan = load_plan(self._files.root)
            if plan is None:
                raise NodeError(f"this node runs no member of etcd: {self._files.root} has no plan of one")
            self.stop()
            self._start(plan, extra)

    def look(self) -> bool:
        """Bring what runs in line with the plan; True when a member runs here. ``trouble`` says what is in the way."""
        try:
            runs, hindrance = self._look(), ""
        except (ConfDError, OSError, ValueError) as error:
            runs, hindrance = False, str(error)
        if hindrance and hindrance != self._hindrance:
            log.error("etcd_not_started", error=hindrance)
        self._hindrance = hindrance
        return runs

    def _look(self) -> bool:
        with self._lock:
            plan = load_plan(self._files.root)
            wanted = plan is not None
            if wanted and self.pid() is None and time.monotonic() >= self._try_at:
                self._note_failure()
                self._start_unless_running()
            self._reap_ended(wanted)
            runs = wanted and self.pid() is not None
            if not wanted or (runs and self._has_proven()):
                self._failures = 0
            if runs and plan is not None and not plan.begun and self._has_data():
                save_plan(self._files.root, msgspec.structs.replace(plan, begun=True))
            return runs

    def _has_data(self) -> bool:
        return any((self.directory / "member" / "wal").glob("*.wal"))

    def _has_proven(self) -> bool:
        return time.monotonic() - self._started > _PROVEN_SECONDS

    def _note_failure(self) -> None:
        """Let time pass between starts of a server that does not stay."""
        if self._child is None or (status := self._child.poll()) is None:
            return
        self._child = None
        self._failures = 0 if self._has_proven() else self._failures + 1
        self._try_at = time.monotonic() + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures)
        log.error("etcd_ended", status=status, last_words=last_words(self._files.root))

    def _reap_ended(self, wanted: bool) -> None:
        """Take a child that was stopped off the kernel's list."""
        if not wanted and self._child is not None and self._child.poll() is not None:
            self._child = None

    def _start_unless_running(self) -> None:
        plan = load_plan(self._files.root)
        if plan is None or self.pid() is not None:
            return
        if self.lost:
            raise NodeError(f"its data is gone from {self.directory}; it is made anew while most other members run")
        self._start(plan)

    def _start(self, plan: MemberPlan, extra: Iterable[str] = ()) -> None:
        if not if_there(plan.binary):
            # An upgrade of the machine may have moved it.
            plan = msgspec.structs.replace(plan, binary=find_binary())
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        path = self._files.root / LOG
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LARGEST_LOG:
            path.rename(path.with_name(path.name + ".1"))
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
            self._child = subprocess.Popen(
                [*_ahead(), plan.binary, *arguments(plan, self._files), *extra],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.directory, env=_environment(),
                start_new_session=True,
            )  # fmt: skip
        self._started = time.monotonic()
        log.info("etcd_started", pid=self._child.pid, name=plan.name)


def _ahead() -> tuple[str, ...]:
    """Return the words that let a command go before others; only root may do that."""
    return _AHEAD if os.geteuid() == 0 and shutil.which(_AHEAD[0]) else ()


def arguments(plan: MemberPlan, files: NodeFiles) -> list[str]:
    """Return the words that a member is started with."""
    initial = ",".join(f"{name}={url}" for name, url in sorted(plan.initial.items()))
    options = {
        "name": plan.name,
        "data-dir": files.root / DATA,
        "listen-client-urls": plan.client_url,
        "advertise-client-urls": plan.client_url,
        "listen-peer-urls": plan.peer_url,
        "initial-advertise-peer-urls": plan.peer_url,
        "initial-cluster": initial,
        "initial-cluster-state": "existing" if plan.joining else "new",
        "initial-cluster-token": plan.token,
        "quota-backend-bytes": plan.quota,
        "logger": "zap",
        "log-level": "warn",
    }
    for prefix in ("", "peer-"):
        options |= {
            f"{prefix}cert-file": files.certificate,
            f"{prefix}key-file": files.key,
            f"{prefix}trusted-ca-file": files.ca,
        }
    # With trusted-ca-file both ports demand a certificate. On that for clients this option would mean more: whose
    # certificate names the user needs no password, and a node that was removed may be able to make such a one.
    options["peer-client-cert-auth"] = "true"
    return [
        *(f"--{name}={value}" for name, value in options.items()),
        *_TIMES,
        *_UPKEEP,
        _HASHING,
        *any_peer(plan.binary),
    ]


def _environment() -> dict[str, str]:
    # Variables of etcd's own would count as options.
    return {name: text for name, text in os.environ.items() if not name.startswith(("ETCD_", "CCC_", "EXA_"))}
