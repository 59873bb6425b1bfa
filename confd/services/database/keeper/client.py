"""The agent's side of a keeper: start one, find the one that runs, ask it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.model.errors import NodeError, TimedOut
from confd.services.background.client import BackgroundClient
from confd.services.background.process import HELD
from confd.services.database.keeper import keeper
from confd.services.database.keeper.processes import send, start_time, wait_gone

_FAST: Final = 2.0
_STARTUP: Final = 60.0


class KeeperStatus(msgspec.Struct, frozen=True):
    """What a keeper says: process ids of itself and its server (0: none), and how the server fares.

    ``lease``: the hold of the node's lease that bounds its server, ``until`` the deadline (CLOCK_BOOTTIME). ``lapsed``:
    its server was stopped because the deadline passed. ``refused`` says why an order was not carried out.
    """

    keeper: int
    server: int
    wanted: bool
    ready: bool
    restarts: int
    exit: int | None
    lease: str = ""
    until: float | None = None
    writable: bool = False
    lapsed: bool = False
    refused: str = ""


class KeeperClient:
    """Talks to the keeper of one instance."""

    def __init__(self, state: Path, path: Path) -> None:
        self._state, self._path = state, path
        self._process = BackgroundClient(state / "keeper", path)

    def status(self) -> KeeperStatus | None:
        """Return what the keeper says, None when there is none.

        :raises TimedOut: it does not answer.
        """
        return self._told(do="status")

    def ensure(self, data: Path, log: Path) -> None:
        """Find the keeper or start one.

        :raises NodeError: it does not start.
        """
        if self.status() is not None:
            return
        self._end_deaf()
        status, complaint = self._process.launch("-sSE", keeper.__name__, self._state, self._path, data, log)
        if status not in (0, HELD):
            raise NodeError(f"the keeper of {data} does not start: {complaint}")

    def start(
        self, argv: list[str], env: dict[str, str], uid: int, gid: int, wait: float, *,
        writable: bool = False, lease: str = "",
    ) -> KeeperStatus | None:  # fmt: skip
        """Start the server and wait until it is ready or has failed; None when it is still starting.

        :param lease: hold under which a writable one was ordered.
        :raises NodeError: that is not the present hold any more.
        """
        try:
            order = {"argv": argv, "env": env, "uid": uid, "gid": gid, "writable": writable, "lease": lease}
            return _accepted(self._ask(wait, do="start", **order))
        except TimeoutError:
            return None

    def hold(self, lease: str, until: float, shorten: bool = False) -> KeeperStatus | None:
        """Bind the server to a deadline; None when there is no keeper.

        :raises TimedOut: the keeper does not answer.
        """
        return self._told(do="hold", lease=lease, until=until, shorten=shorten)

    def release(self) -> None:
        """Bind the server to no deadline; fine when there is no keeper."""
        self._told(do="release")

    def elevate(self, lease: str) -> None:
        """Announce that the server is about to take writes, by an order given under a hold.

        :raises NodeError: that is not the present hold any more, or there is no keeper.
        """
        status = self._told(do="elevate", lease=lease)
        if status is None:
            raise NodeError(f"the keeper of {self._state.name} is gone, and its server with it")
        _accepted(status)

    def end_by_force(self) -> None:
        """Kill a keeper that does not answer; the kernel tells its server to stop. Fine when there is none."""
        if (pid := self._recorded()) is not None:
            send(pid, signal.SIGKILL)
            wait_gone(pid, _FAST)

    def leave(self, mode: str, patience: float) -> None:
        """Stop the server, by force after some seconds, and end the keeper; fine when there is none.

        :raises TimedOut: the server is still there.
        """
        try:
            left = self._ask(patience + 10.0, do="leave", mode=mode, patience=patience)
            wait_gone(left.keeper, _FAST)
        except (FileNotFoundError, ConnectionError):
            self._end_deaf()
        except TimeoutError:
            raise TimedOut(f"the database server of {self._state.name} does not stop") from None

    def _ask(self, wait: float, **request: Any) -> KeeperStatus:
        return msgspec.json.decode(self._process.ask(wait, **request), type=KeeperStatus)

    def _told(self, **request: Any) -> KeeperStatus | None:
        try:
            return self._ask(_FAST, **request)
        except (FileNotFoundError, ConnectionError):
            return None
        except TimeoutError:
            raise TimedOut(f"the keeper of {self._state.name} does not answer") from None

    def _end_deaf(self) -> None:
        """End a keeper whose socket is gone: it stops its server when told to."""
        if (pid := self._recorded()) is not None:
            send(pid, signal.SIGTERM)
            if not wait_gone(pid, _STARTUP):
                send(pid, signal.SIGKILL)

    def _recorded(self) -> int | None:
        """Return the live keeper that the state directory names."""
        pid, started = self._process.note() or (0, None)
        return pid if started is not None and start_time(pid) == started else None


def _accepted(status: KeeperStatus) -> KeeperStatus:
    if status.refused:
        raise NodeError(f"nothing was made writable: {status.refused}")
    return status
