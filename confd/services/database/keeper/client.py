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
    """What a keeper says: process ids of itself and its server (0: none), and how the server fares."""

    keeper: int
    server: int
    wanted: bool
    ready: bool
    restarts: int
    exit: int | None


class KeeperClient:
    """Talks to the keeper of one instance."""

    def __init__(self, state: Path, path: Path) -> None:
        self._state, self._path = state, path
        self._process = BackgroundClient(state / "keeper", path)

    def status(self) -> KeeperStatus | None:
        """Return what the keeper says, None when there is none."""
        try:
            return self._ask(_FAST, do="status")
        except (FileNotFoundError, ConnectionError):
            return None

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

    def start(self, argv: list[str], env: dict[str, str], uid: int, gid: int, wait: float) -> KeeperStatus | None:
        """Start the server and wait until it is ready or has failed; None when it is still starting."""
        try:
            return self._ask(wait, do="start", argv=argv, env=env, uid=uid, gid=gid)
        except TimeoutError:
            return None

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

    def _end_deaf(self) -> None:
        """End a keeper whose socket is gone: it stops its server when told to."""
        pid, started = self._process.note() or (0, None)
        if started is not None and start_time(pid) == started:
            send(pid, signal.SIGTERM)
            if not wait_gone(pid, _STARTUP):
                send(pid, signal.SIGKILL)
