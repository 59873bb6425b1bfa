"""The agent's side of a backup's worker: start one, ask it, end it, and tell what came of it."""

from __future__ import annotations

import signal
from typing import Final

import msgspec

from confd.cluster.host import Host
from confd.cluster.identity import write_private
from confd.model.errors import Interrupted, NodeError, TimedOut
from confd.services.background.client import BackgroundClient
from confd.services.backup.order import BackupOrder, Ended, Progress
from confd.services.backup.taking import process as worker_process
from confd.services.backup.taking.worker import Task
from confd.services.database.engine.layout import layout
from confd.services.database.keeper.processes import send, wait_gone

_FAST: Final = 5.0
_ABORT: Final = 60.0


class WorkerClient:
    """Talks to the worker of one database on this node."""

    def __init__(self, host: Host, database: str) -> None:
        place = layout(host, database)
        self.state, self._socket = place.backups, place.keeper.with_suffix(".backup")
        self._process = BackgroundClient(self.state / "worker", self._socket)

    def order(self) -> BackupOrder | None:
        """Return what was ordered last."""
        try:
            return msgspec.json.decode((self.state / "order.json").read_bytes(), type=Task).order
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def begin(self, task: Task) -> None:
        """Start a worker; fine when this order has begun already.

        :raises NodeError: it does not start.
        """
        if self.order() == task.order:
            return
        self.state.mkdir(parents=True, exist_ok=True)
        if self._process.lives() and not ((pid := self._pid()) and wait_gone(pid, _FAST)):
            raise NodeError("the worker of an earlier backup is still ending; try again")
        (self.state / "result.json").unlink(missing_ok=True)
        write_private(self.state / "order.json", msgspec.json.encode(task))
        status, complaint = self._process.launch("-sE", worker_process.__name__, self.state, self._socket)
        if status:
            (self.state / "order.json").unlink(missing_ok=True)
            raise NodeError(f"the backup does not start: {complaint}")

    def look(self, order: BackupOrder, *, wait: bool = False) -> Progress:
        """Return how far a backup is; one whose worker is gone without a word was interrupted.

        :param wait: at its end, or after a moment.
        """
        name = order.location.path
        lost = Ended(kind="backup", name=name, at=0.0, code=Interrupted.code, message=_LOST)
        if self.order() != order:
            return Progress(name=name, ended=lost)
        try:
            seen = self._ask(_FAST, "wait" if wait else "look")
            return msgspec.structs.replace(seen, ended=self._result())
        except (FileNotFoundError, ConnectionError):
            # It may have ended between the two looks: what it left counts.
            running = self._process.lives()
            return Progress(name=name, ended=self._result() or (None if running else lost))
        except TimeoutError:
            return Progress(name=name)

    def abort(self) -> None:
        """End the worker and wait until it is gone; fine when there is none.

        :raises TimedOut: it is still there.
        """
        try:
            self._ask(_ABORT, "abort")
        except (FileNotFoundError, ConnectionError, TimeoutError):
            pass
        if self._process.lives():
            self._end()

    def _ask(self, wait: float, do: str) -> Progress:
        return msgspec.json.decode(self._process.ask(wait, do=do), type=Progress)

    def _result(self) -> Ended | None:
        try:
            return msgspec.json.decode((self.state / "result.json").read_bytes(), type=Ended)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _pid(self) -> int:
        return int(self._process.note() or 0)

    def _end(self) -> None:
        pid = self._pid()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if pid:
                send(pid, number)
                if wait_gone(pid, _FAST):
                    return
        raise TimedOut("the backup does not end; end its worker process by hand")


_LOST: Final = "the backup was interrupted: its process died, or its node was restarted"
