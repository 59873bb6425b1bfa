"""The process that takes one backup; it outlives the daemon of its node.

``python -m confd.services.backup.taking.process <state directory> <socket>``

``order.json`` in the state directory says what to do. It goes into the background, holds a lock on that directory, and
answers one JSON line per connection on its socket: ``{"do": "look"}`` with its progress, ``{"do": "wait"}`` with the
same, at its end or after a moment, ``{"do": "abort"}`` once the backup is gone. How it ended is in ``result.json``.
When nobody looks for a minute it aborts itself: the cluster has no master then that could tell users of it.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.cluster.identity import write_private
from confd.model.errors import ConfDError, Internal
from confd.services.background.process import Background, reply
from confd.services.backup.order import BackupOrder, Ended, Progress
from confd.services.backup.taking.source import Source
from confd.services.backup.taking.taking import Ticker, take
from confd.services.backup.targets import Place, open_place

ALONE: Final = 60.0
"""Seconds without anybody who looks, after which the backup is given up."""

PATIENCE: Final = 2.0
"""Seconds that one who waits for the end is left without an answer."""

_WAIT: Final = 1.0


class Task(msgspec.Struct, frozen=True):
    """All that a worker has to know."""

    order: BackupOrder
    source: Source
    place: Place
    alone: float = ALONE


class Worker:
    """Takes the backup in a thread and answers in another."""

    def __init__(self, task: Task, listener: socket.socket, state: Path) -> None:
        self._task, self._listener, self._state = task, listener, state
        self._ticker = Ticker()
        self._name = task.order.location.path
        self._waiting: dict[socket.socket, float] = {}
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._work, name="backup", daemon=True)

    def run(self) -> None:
        """Serve until the backup has ended, well or not."""
        self._thread.start()
        asked = time.monotonic()
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(self._rest() * 1000)}
            if self._listener.fileno() in ready:
                asked = time.monotonic()
                self._serve()
            elif not self._waiting and time.monotonic() - asked > self._task.alone:
                self._ticker.stop(f"nobody asked for the backup for {self._task.alone:g} s; is there a master?")
            if self._woken in ready:
                break
            self._answer(time.monotonic())
        self._thread.join()
        self._answer(math.inf)

    def stop(self) -> None:
        """Give the backup up."""
        self._ticker.stop("the backup was ended by a signal")

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(1.0)
        try:
            request: dict[str, Any] = json.loads(connection.makefile("r").readline(1 << 16))
            if request["do"] == "abort":
                self._waiting[connection] = math.inf
                self._ticker.stop("the backup was aborted")
                return
            if request["do"] == "wait":
                self._waiting[connection] = time.monotonic() + PATIENCE
                return
        except (OSError, ValueError, LookupError, TypeError):
            connection.close()
            return
        _reply(connection, self._ticker.progress(self._name))

    def _rest(self) -> float:
        """Return the seconds until something is due even if nobody comes."""
        due = min([_WAIT, self._task.alone, *(until - time.monotonic() for until in self._waiting.values())])
        return max(0.0, due)

    def _answer(self, now: float) -> None:
        for connection in [one for one, until in self._waiting.items() if until <= now]:
            del self._waiting[connection]
            _reply(connection, self._ticker.progress(self._name))

    def _work(self) -> None:
        code, message = 0, ""
        try:
            task = self._task
            take(task.order, task.source, open_place(task.place), self._ticker)
        except ConfDError as error:
            code, message = error.code, error.message
        except Exception as error:
            code, message = Internal.code, f"the backup failed inside ConfD: {error!r}"
        ended = Ended(kind="backup", name=self._name, at=time.time(), code=code, message=message)
        write_private(self._state / "result.json", msgspec.json.encode(ended))
        os.write(self._wake, b"+")


def _reply(connection: socket.socket, progress: Progress) -> None:
    reply(connection, msgspec.json.encode(progress))


def main() -> None:
    """Run the worker that the command line describes."""
    state, path = Path(sys.argv[1]), Path(sys.argv[2])
    background = Background(state / "worker", path)
    task = msgspec.json.decode((state / "order.json").read_bytes(), type=Task)
    worker = Worker(task, background.listen(), state)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    background.run(json.dumps(os.getpid()), worker.run)
