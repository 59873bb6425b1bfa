"""The embedded store: one SQLite file per node, write-ahead log, every commit synced to disk.

Appends of many jobs are written together (group commit): one thread takes whatever is queued, writes it in
one transaction and completes all futures. An error while writing is final: the store refuses everything
afterwards, and the daemon gives up mastership and exits.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from confd.model.failpoints import Failpoint, reach
from confd.store.history import History
from confd.store.projection import project
from confd.store.protocol import Gap, Kind, Position, Record, Retention, StaleTerm, StoreFailed
from confd.store.reserve import FreeSpace, Reserve

_INSERT: Final = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)"
_BATCH: Final = 512
_LAZY_SECONDS: Final = 0.1

Entry = tuple[Record, "Future[Position]"]


class SqliteStore(History):
    """Journal, configuration, runtime records and history in one SQLite file.

    :param path: the file; made when missing.
    :param failed: called once when writing failed, from the writing thread.
    :param clock: UTC seconds.
    :param synchronous: how commits are synced to disk; NORMAL where another store is the authority.
    """

    shared = False

    def __init__(
        self,
        path: Path,
        failed: Callable[[Exception], None] = lambda error: None,
        clock: Callable[[], float] = time.time,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
    ) -> None:
        self._connection = _open(path, synchronous)
        self._connection.executescript(resources.files(__package__).joinpath("schema.sql").read_text())
        super().__init__(path)
        self._reserve, self._free = Reserve(path.with_suffix(".reserve")), FreeSpace(path.parent)
        self._failed, self._clock = failed, clock
        self._failure: Exception | None = None
        self._watchers: list[Callable[[Sequence[Record]], None]] = []
        self._write_lock, self._order = threading.Lock(), threading.Lock()
        self._term, self._n = self._stored_head()
        self._head = Position(self._term, self._n)
        self._leading: int | None = None
        self._latest: Future[Position] | None = None
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._urgent = threading.Event()
        self._writer = threading.Thread(target=self._write_queued, name="journal", daemon=True)
        self._writer.start()

    def head(self) -> Position:
        """Return the position of the last record that is durable here."""
        return self._head

    def lead(self, term: int, node: int) -> None:
        """Become the writer under a term; a new term is recorded with its master."""
        known, master = self.leader()
        if term < known or (term == known and master not in (0, node)):
            raise StaleTerm(known)
        with self._order:
            if self._leading != term:
                self._leading, self._n = term, self._head.n
        if term > known or master == 0:
            self.append(Kind.TERM, str(node), {}).result()

    def resign(self) -> None:
        """Be the writer no longer."""
        with self._order:
            self._leading = None

    def append(
        self, kind: Kind, key: str, body: Any, at: float | None = None, *, lazy: bool = False
    ) -> Future[Position]:
        """Append one record; the future is done when it is durable."""
        done: Future[Position] = Future()
        # Nobody who waits for it may cancel it: the writing thread completes it whatever happens.
        done.set_running_or_notify_cancel()
        encoded = msgspec.Raw(msgspec.json.encode(body))
        with self._order:
            if self._failure or self._leading is None:
                done.set_exception(self._refusal())
                return done
            self._n += 1
            record = Record(self._leading, self._n, kind, key, self._clock() if at is None else at, encoded)
            self._queue.put((record, done))
            self._latest = done
        if not lazy:
            self._urgent.set()
        return done

    def flush(self) -> None:
        """Return when everything appended so far is durable."""
        with self._order:
            refusal = self._refusal() if self._failure or self._leading is None else None
            latest = self._latest
        # Also after resigning: what was accepted before is durable when this ends, in whichever way.
        if latest is not None:
            self._urgent.set()
            latest.result()
        if refusal is not None:
            raise refusal

    def copy(self, records: Sequence[Record]) -> None:
        """Take in records of the master, in order; those known already are skipped."""
        with self._write_lock:
            fresh = list({record.n: record for record in records if record.n > self._head.n}.values())
            if not fresh:
                return
            if fresh[0].term < self._head.term:
                raise StaleTerm(self._head.term)
            if [record.n for record in fresh] != list(range(self._head.n + 1, self._head.n + 1 + len(fresh))):
                raise Gap(f"the journal here ends at {self._head.n}, the records begin at {fresh[0].n}")
            if self._leading is not None and fresh[-1].term > self._leading:
                self.resign()
            reach(Failpoint.COPY_DUE)
            try:
                self._commit(fresh)
            except sqlite3.Error as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    self._give_up(error)
                raise StoreFailed(f"the journal cannot be written: {error}") from error
            reach(Failpoint.COPY_WRITTEN)

    def watch(self, durable: Callable[[Sequence[Record]], None]) -> None:
        """Call back, in the writing thread and in order, with records that became durable."""
        self._watchers.append(durable)

    def set_aside(self) -> Path:
        """Keep a copy of the whole state in a file of its own, beside the journal."""
        with self._write_lock:
            kept = self._path.with_name(f"journal-{self._head.term}-{self._head.n}.db")
            if not kept.exists():
                fresh = kept.with_suffix(".new")
                fresh.unlink(missing_ok=True)
                self._connection.execute("VACUUM INTO ?", (str(fresh),))
                fresh.chmod(0o600)
                fresh.rename(kept)
        return kept

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace everything by an exported state; atomic."""
        with self._write_lock:
            with _transaction(self._connection):
                self._replace_all(self._connection, chunks)
            self._term, self._n = self._stored_head()
            self._head = Position(self._term, self._n)

    def check_room(self) -> None:
        """Refuse to begin something when the disk is nearly full."""
        self._free.check()

    def when_full(self, tell: Callable[[str], None]) -> None:
        """Do nothing: what was taken in here has its room in the reserve."""

    def prune(self, retention: Retention) -> int:
        """Forget ended jobs beyond the retention; return how many."""
        # The newest record stays whatever its age: it tells where the journal goes on.
        doomed = [job for job in self.beyond(retention, self._clock()) if job[2] < self._head.n]
        for start in range(0, len(doomed), _BATCH):
            self._forget(doomed[start : start + _BATCH])
        self._reserve.make()
        return len(doomed)

    def _forget(self, jobs: list[tuple[str, int, int]]) -> None:
        with self._write_lock, _transaction(self._connection):
            for job, first, last in jobs:
                sql = "DELETE FROM records WHERE n BETWEEN ? AND ? AND key = ?"
                self._connection.execute(sql, (first, last, job))
                self._connection.execute("DELETE FROM jobs WHERE id = ?", (job,))
            pruned = max(self.pruned(), *(last for _, _, last in jobs))
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('pruned', ?)", (pruned,))

    def close(self) -> None:
        """Finish what is queued and release the files."""
        self.resign()
        self._queue.put(None)
        self._urgent.set()
        self._writer.join()
        self._connection.close()
        self.close_readers()

    def _stored_head(self) -> tuple[int, int]:
        row = self._connection.execute("SELECT term, n FROM records ORDER BY n DESC LIMIT 1").fetchone()
        return row or (0, 0)

    def _write_queued(self) -> None:
        while (first := self._queue.get()) is not None:
            self._urgent.wait(_LAZY_SECONDS)
            self._urgent.clear()
            batch, more = [first], True
            while more and len(batch) < _BATCH:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    self._queue.put(None)
                    more = False
                else:
                    batch.append(following)
            if not self._queue.empty():
                self._urgent.set()
            self._write_batch(batch)

    def _write_batch(self, batch: list[Entry]) -> None:
        try:
            if self._failure:
                raise self._failure
            with self._write_lock:
                batch = self._without_stale(batch)
                records = [record for record, _ in batch]
                self._before_writing(records)
                reach(Failpoint.JOURNAL_DUE)
                self._commit(records)
                reach(Failpoint.JOURNAL_WRITTEN)
        except Exception as error:
            self._give_up(error)
            for _, done in batch:
                done.set_exception(StoreFailed(f"the journal cannot be written: {error}"))
            return
        for record, done in batch:
            done.set_result(record.position)

    def _before_writing(self, records: Sequence[Record]) -> None:
        """Do what a store needs with records that it appends, before they are written here."""

    def _without_stale(self, batch: list[Entry]) -> list[Entry]:
        """Refuse what was queued before records of a newer master were taken in."""
        for record, done in batch:
            if record.term < self._head.term:
                done.set_exception(StaleTerm(self._head.term))
        return [(record, done) for record, done in batch if record.term >= self._head.term]

    def _commit(self, records: Sequence[Record]) -> None:
        if not records:
            return
        try:
            self._insert(records)
        except sqlite3.OperationalError as error:
            # A full disk leaves the transaction cleanly undone, so the reserve may be spent on it;
            # an error of writing or syncing is never retried.
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._reserve.spend():
                raise
            self._insert(records)
        self._announce(records)

    def _announce(self, records: Sequence[Record]) -> None:
        """Have records counted as durable, and everybody told who watches; once."""
        if not records or records[-1].n <= self._head.n:
            return
        self._head = records[-1].position
        self._n = max(self._n, self._head.n)
        for watcher in self._watchers:
            watcher(records)

    def _insert(self, records: Sequence[Record]) -> None:
        with _transaction(self._connection):
            rows = [(one.n, one.term, one.kind, one.key, one.at, bytes(one.body)) for one in records]
            self._connection.executemany(_INSERT, rows)
            project(self._connection, records)

    def _refusal(self) -> Exception:
        return self._failure or StoreFailed("this node is not the master")

    def _give_up(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = StoreFailed(f"the journal cannot be written: {error}")
            self._failed(error)


def _open(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA cache_size = -16384")
    return connection


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
