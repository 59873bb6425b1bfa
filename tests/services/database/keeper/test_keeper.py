"""The keeper with a server that is only a script."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from confd.cluster.leases.lease import boottime
from confd.model.errors import NodeError, TimedOut
from confd.services.background.process import HELD
from confd.services.database.keeper import keeper
from confd.services.database.keeper.client import KeeperClient
from confd.services.database.keeper.processes import processes_in, start_time, wait_gone
from tests.services.database.waiting import until

READY = """
import os, signal, sys, time
data = os.getcwd()
lines = [str(os.getpid()), data, "0", "1", "", "", "", "ready   "]
open("starts", "a").write("x")
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
open("postmaster.pid", "w").write("\\n".join(lines))
while True:
    signal.pause()
"""
FAILING = "import sys; sys.exit('FATAL:  no')"
STUBBORN = READY.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")


class Place:
    def __init__(self, base: Path) -> None:
        self.state, self.data, self.log, self.path = base / "state", base / "data", base / "log", base / "s"
        for directory in (self.state, self.data):
            directory.mkdir()
        self.client = KeeperClient(self.state, self.path)

    def start(self, script: str, **how):
        self.client.ensure(self.data, self.log)
        argv = [sys.executable, "-c", script]
        return self.client.start(argv, {"PATH": os.defpath}, os.getuid(), os.getgid(), 20, **how)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """State and data directories of one keeper; nothing of it is left running."""
    place = Place(tmp_path)
    yield place
    place.client.leave("immediate", 1)
    for pid in processes_in(place.data):
        os.kill(pid, signal.SIGKILL)


def test_starts_and_stops(place: Place) -> None:
    """A start is answered when the server is ready, a stop when it is gone; then the keeper is gone too."""
    status = place.start(READY)
    assert status.ready
    assert start_time(status.server)
    place.client.leave("fast", 10)
    assert start_time(status.server) is None
    assert start_time(status.keeper) is None
    assert place.client.status() is None
    place.client.leave("fast", 10)


def test_is_small_and_has_a_plain_command_line(place: Place) -> None:
    """At most 15 MB, no mention of the daemon's command line, no heavy modules."""
    status = place.start(READY)
    process = Path(f"/proc/{status.keeper}")
    resident = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident <= 15 << 20
    assert b"confd --root" not in (process / "cmdline").read_bytes().replace(b"\0", b" ")
    assert b"msgspec" not in (process / "maps").read_bytes()


def test_failed_start_is_not_repeated(place: Place) -> None:
    """A server that never was ready is not started again; what it printed is in the log."""
    status = place.start(FAILING)
    assert (status.server, status.ready, status.wanted, status.exit) == (0, False, False, 1)
    assert "FATAL:  no" in place.log.read_text()


def test_crashed_server_is_started_again(place: Place) -> None:
    """A server that was ready and dies comes back under the same keeper."""
    status = place.start(READY)
    for restarts in (1, 2):
        os.kill(place.client.status().server, signal.SIGKILL)
        until(lambda restarts=restarts: (now := place.client.status()).ready and now.restarts == restarts)
    assert place.client.status().keeper == status.keeper


def test_second_keeper_does_not_start(place: Place) -> None:
    """One instance has one keeper."""
    status = place.start(READY)
    words = [place.state, place.path, place.data, place.log]
    second = subprocess.run([sys.executable, "-m", keeper.__name__, *words], check=False)
    assert second.returncode == HELD
    place.client.ensure(place.data, place.log)
    assert place.client.status() == status


def test_killed_keeper_takes_its_server_along(place: Place) -> None:
    """Nobody looks after a server without keeper, so it does not stay."""
    status = place.start(READY)
    os.kill(status.keeper, signal.SIGKILL)
    assert wait_gone(status.server, 10)
    assert place.start(READY).ready


def test_orphan_is_ended_before_a_new_start(place: Place) -> None:
    """A server that ignores the end of its keeper is ended by the next keeper before it answers."""
    status = place.start(STUBBORN)
    os.kill(status.keeper, signal.SIGKILL)
    wait_gone(status.keeper, 10)
    (place.data / "postmaster.pid").unlink()
    assert start_time(status.server)
    assert place.start(READY).ready
    assert start_time(status.server) is None


def test_terminated_keeper_stops_its_server(place: Place) -> None:
    """SIGTERM ends both in order."""
    status = place.start(READY)
    os.kill(status.keeper, signal.SIGTERM)
    assert wait_gone(status.keeper, 10)
    assert start_time(status.server) is None


def test_stubborn_server_is_stopped_by_force(place: Place) -> None:
    """A server that does not stop in time is killed."""
    status = place.start(STUBBORN)
    place.client.leave("fast", 0.1)
    assert start_time(status.server) is None


def test_keeper_without_socket_is_replaced(place: Place) -> None:
    """A keeper that cannot be asked any more is ended, with its server, and a new one starts."""
    status = place.start(READY)
    place.path.unlink()
    assert place.client.status() is None
    now = place.start(READY)
    assert now.ready
    assert now.keeper != status.keeper
    assert start_time(status.server) is None


def hold(place: Place, seconds: float, name: str = "e/1", shorten: bool = False) -> float:
    """Give the keeper a deadline that is some seconds away."""
    deadline = boottime() + seconds
    assert place.client.hold(name, deadline, shorten)
    return deadline


def test_deadline_stops_what_takes_writes(place: Place) -> None:
    """It goes on while it is renewed; when the deadline passes it is stopped at once, and the keeper says why."""
    place.client.ensure(place.data, place.log)
    hold(place, 2.0)
    status = place.start(READY, writable=True, lease="e/1")
    assert status.ready
    assert status.writable
    deadline = hold(place, 1.0, shorten=True)
    assert wait_gone(status.server, 10)
    assert boottime() >= deadline
    until(lambda: not place.client.status().server)
    now = place.client.status()
    assert (now.keeper, now.lapsed, now.wanted, now.writable) == (status.keeper, True, False, False)
    # It is not started again by a later deadline, only by an order.
    hold(place, 20.0, "e/2")
    assert place.client.status().server == 0
    assert place.start(READY, writable=True, lease="e/2").ready
    assert not place.client.status().lapsed


def test_stubborn_server_is_killed_at_its_deadline(place: Place) -> None:
    """What ignores the order to stop does not take writes for long."""
    place.client.ensure(place.data, place.log)
    hold(place, 1.0)
    status = place.start(STUBBORN.replace("signal.SIGINT", "signal.SIGQUIT"), writable=True, lease="e/1")
    assert wait_gone(status.server, 10)


def test_deadline_does_not_concern_standbys(place: Place) -> None:
    """A server that takes no writes stays, until it is about to take some."""
    place.client.ensure(place.data, place.log)
    hold(place, 0.1)
    status = place.start(READY)
    until(lambda: boottime() > place.client.status().until)
    assert place.client.status().server == status.server
    with pytest.raises(NodeError, match="nothing was made writable"):
        place.client.elevate("e/1")
    hold(place, 0.5, "e/2")
    with pytest.raises(NodeError):
        place.client.elevate("e/1")
    place.client.elevate("e/2")
    assert wait_gone(status.server, 10)


def test_orders_of_another_hold_are_void(place: Place) -> None:
    """Nothing becomes writable by an order from before the lease was lost, nor after the deadline, nor without one."""
    place.client.ensure(place.data, place.log)
    with pytest.raises(NodeError):
        place.start(READY, writable=True, lease="e/1")
    hold(place, 20.0, "e/2")
    for lease in ("e/1", ""):
        with pytest.raises(NodeError):
            place.start(READY, writable=True, lease=lease)
    hold(place, -1.0, "e/2", shorten=True)
    with pytest.raises(NodeError):
        place.start(READY, writable=True, lease="e/2")
    assert not (place.data / "starts").exists()
    place.client.release()
    assert place.start(READY, writable=True).ready


def test_keeper_that_slept_stops_its_server_before_it_listens(place: Place) -> None:
    """A frozen keeper that wakes up after the deadline does not take the later one that waits for it."""
    place.client.ensure(place.data, place.log)
    deadline = hold(place, 1.0)
    status = place.start(READY, writable=True, lease="e/1")
    os.kill(status.keeper, signal.SIGSTOP)
    with pytest.raises(TimedOut):
        place.client.hold("e/1", boottime() + 60)
    assert boottime() > deadline
    assert start_time(status.server)
    os.kill(status.keeper, signal.SIGCONT)
    assert wait_gone(status.server, 10)
    assert place.client.status().lapsed
