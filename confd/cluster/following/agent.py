"""The agent: carries out commands on its node, each once.

A command is known by its key (job id, number). A repeat, for instance from a master that was restarted,
joins the running command or gets the stored result.

The undo of a command has the key (job id, -number). It begins when the command has ended, and a command that comes
after its undo is refused: a master that took this node for dead may undo what is still under way, here or to here.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from confd.cluster.host import Host, Master
from confd.cluster.operations import find_operation
from confd.model.errors import ConfDError, Internal, NodeOffline, WrongState
from confd.model.failpoints import Failpoint, reach

log = structlog.get_logger("agent")

_THREADS: Final = 32
_KEPT_RESULTS: Final = 20_000

Key = tuple[str, int]


class Reply(msgspec.Struct, frozen=True):
    """What a command gave: a result, or an error (``code`` is not 0); and its output."""

    result: Any = None
    code: int = 0
    message: str = ""
    output: str = ""


def reply_of(error: BaseException) -> Reply:
    """Return an exception as a reply."""
    if isinstance(error, ConfDError):
        return Reply(code=error.code, message=error.message)
    return Reply(code=Internal.code, message=f"{type(error).__name__}: {error}")


_VOID: Final = Reply(code=WrongState.code, message="this command is undone, its job has gone back; it was not run")


class Results:
    """Results of finished commands by key; they survive a restart of the daemon."""

    def __init__(self, path: Path, kept: int = _KEPT_RESULTS) -> None:
        self._kept = kept
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS results (at INTEGER PRIMARY KEY, job TEXT, number INTEGER, reply BLOB,"
            " UNIQUE (job, number))"
        )

    def get(self, key: Key) -> Reply | None:
        """Return the stored reply of a command."""
        with self._lock:
            row = self._connection.execute("SELECT reply FROM results WHERE job = ? AND number = ?", key).fetchone()
        return msgspec.json.decode(row[0], type=Reply) if row else None

    def put(self, key: Key, reply: Reply) -> None:
        """Store a reply, unless there is one; the oldest are forgotten."""
        sql = "INSERT OR IGNORE INTO results (job, number, reply) VALUES (?, ?, ?)"
        with self._lock:
            cursor = self._connection.execute(sql, (*key, msgspec.json.encode(reply)))
            self._connection.execute("DELETE FROM results WHERE at <= ?", ((cursor.lastrowid or 0) - self._kept,))

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._connection.close()


class Agent:
    """Runs operations in threads, on its host or (for master operations) on the master.

    ``ran`` is called after every command of a job, before its reply is given.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self.ran: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._running: dict[Key, Future[Reply]] = {}
        self._closed = False
        self._pool = ThreadPoolExecutor(_THREADS, "command")

    def run(
        self, key: Key, name: str, arguments: dict[str, Any], place: Callable[[list[str]], Host | Master]
    ) -> Future[Reply]:
        """Run a command, or join it, or return what it gave.

        :param key: job id and number, that of an undo is negative; a job id of ``""`` means: run always, remember
            nothing.
        :param place: gives the host or master for one command, writing its output to the given list.
        :raises NodeOffline: the daemon of this node is going down.
        """
        if self._closed:
            raise NodeOffline("this node's daemon is going down")
        if not key[0]:
            return self._pool.submit(self._execute, name, arguments, place)
        with self._lock:
            if (running := self._running.get(key)) is not None:
                return running
            if (known := self._results.get(key)) is not None:
                return _given(known)
            opposite = self._running.get(_opposite(key))
            if opposite is not None and key[1] > 0:
                return _given(_VOID)
            future = self._running[key] = self._pool.submit(self._once, key, name, arguments, place, opposite)
            return future

    def close(self) -> None:
        """Start nothing more; what runs goes on, its result is not kept."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._results.close()

    def _once(
        self, key: Key, name: str, arguments: dict[str, Any], place: Callable[[list[str]], Host | Master],
        opposite: Future[Reply] | None,
    ) -> Reply:  # fmt: skip
        reach(Failpoint.RUN_DUE)
        if key[1] < 0:
            self._end(_opposite(key), opposite)
        reply = self._execute(name, arguments, place)
        reach(Failpoint.RUN_DONE)
        try:
            self.ran()
            if reply.code == 0:
                # A failure is not kept: who repeats the command wants it tried again.
                self._results.put(key, reply)
            reach(Failpoint.RUN_KEPT)
        except Exception:
            # The command itself ran, and a repeat of it does no harm.
            log.exception("result_not_kept", name=name, job=key[0], number=key[1])
        finally:
            with self._lock:
                self._running.pop(key, None)
        return reply

    def _end(self, key: Key, running: Future[Reply] | None) -> None:
        """Return when a command that is to be undone runs no longer, and will not again."""
        if running is not None:
            # It was given to the threads before its undo, so this one does not wait for a thread that waits, too.
            wait([running])
        try:
            # A result that is kept stays: it keeps the command from being run again just as well.
            self._results.put(key, _VOID)
        except Exception:
            # Remains that are certain are worse than a command that might still come.
            log.exception("undoing_not_noted", job=key[0], number=key[1])

    def _execute(self, name: str, arguments: dict[str, Any], place: Callable[[list[str]], Host | Master]) -> Reply:
        lines: list[str] = []
        try:
            result = find_operation(name).run(place(lines), arguments)
        except ConfDError as error:
            return Reply(code=error.code, message=error.message, output="\n".join(lines))
        except Exception as error:
            log.exception("command_failed", name=name)
            message = f"{name} failed inside ConfD: {type(error).__name__}: {error}"
            return Reply(code=Internal.code, message=message, output="\n".join(lines))
        return Reply(result=result, output="\n".join(lines))


def _opposite(key: Key) -> Key:
    """Return the key of a command's undo, or of what an undo undoes."""
    return key[0], -key[1]


def _given(reply: Reply) -> Future[Reply]:
    given: Future[Reply] = Future()
    given.set_result(reply)
    return given
