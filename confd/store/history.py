"""The reading side of the embedded store: history, revisions, runtime records, export and pruning.

Readers use a connection of their own per thread, so they never wait for the writer.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.model.states import Intent
from confd.store.protocol import JobQuery, JobRow, Kind, Position, Record, Retention, RevisionRow

_TABLES: Final = ("records", "jobs", "sections", "revisions", "runtime", "meta")
_CHUNK_ROWS: Final = 500
_CHUNK_BYTES: Final = 4 * 1024 * 1024


class History:
    """Everything that can be asked of a journal file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []

    def read(self, after: Position, limit: int = 1_000) -> list[Record]:
        """Return the records that follow a position, oldest first."""
        rows = self._ask(
            "SELECT term, n, kind, key, at, body FROM records WHERE n > ? ORDER BY n LIMIT ?", after.n, limit
        )
        return [_record(row) for row in rows]

    def term_at(self, n: int) -> int:
        """Return the term of a record, also of one that was pruned; 0 when this journal does not know it."""
        # The record with which a term begins is never pruned: the last one that is left before is of the same term. A
        # journal that was made from etcd's state lacks such records of earlier times, and those between what it has.
        sql = (
            "SELECT term FROM (SELECT n, term FROM records WHERE n <= ?1 ORDER BY n DESC LIMIT 1) AS last WHERE n = ?1"
            " OR EXISTS (SELECT 1 FROM records WHERE n <= last.n AND kind = ?2 AND term = last.term)"
        )
        rows = self._ask(sql, n, Kind.TERM)
        return rows[0][0] if rows else 0

    def pruned(self) -> int:
        """Return the highest ``n`` that pruning removed."""
        return self._meta("pruned")

    def leader(self) -> tuple[int, int]:
        """Return the highest term of the journal and the node that leads it; (0, 0) when empty."""
        return self._meta("term"), self._meta("master")

    def sections(self, revision: int | None = None) -> tuple[int, dict[str, Any]]:
        """Return a revision's number and its stored sections; the newest when None."""
        newest = self._ask("SELECT coalesce(max(revision), 0) FROM revisions")[0][0]
        wanted = newest if revision is None else revision
        rows = self._ask("SELECT key, body, max(revision) FROM sections WHERE revision <= ? GROUP BY key", wanted)
        return wanted, {key: msgspec.json.decode(body) for key, body, _ in rows if body is not None}

    def revisions(self, limit: int = 100) -> list[RevisionRow]:
        """Return the latest revisions, newest first."""
        rows = self._ask("SELECT * FROM revisions ORDER BY revision DESC LIMIT ?", limit)
        return [
            RevisionRow(revision, job, user, at, tuple(msgspec.json.decode(keys)))
            for revision, job, user, at, keys in rows
        ]

    def runtime(self) -> dict[str, Any]:
        """Return all runtime records."""
        return {key: msgspec.json.decode(body) for key, body in self._ask("SELECT key, body FROM runtime")}

    def job(self, job_id: str) -> list[Record]:
        """Return a job's records in order; empty when unknown or pruned."""
        sql = (
            "SELECT r.term, r.n, r.kind, r.key, r.at, r.body FROM jobs j JOIN records r"
            " ON r.n BETWEEN j.admitted AND j.last AND r.key = j.id WHERE j.id = ? ORDER BY r.n"
        )
        return [_record(row) for row in self._ask(sql, job_id)]

    def jobs(self, query: JobQuery) -> list[JobRow]:
        """List jobs of the history, newest first."""
        where, values = _conditions(query)
        columns = "id, name, intent, user, stage, submitted, ended, code, revision"
        sql = f"SELECT {columns} FROM jobs {where} ORDER BY admitted DESC LIMIT ?"
        return [JobRow(*row) for row in self._ask(sql, *values, query.limit)]

    def unfinished(self) -> list[str]:
        """Return ids of jobs that have not reached their last stage, in order of admission."""
        return [row[0] for row in self._ask("SELECT id FROM jobs WHERE ended IS NULL ORDER BY admitted")]

    def export(self) -> Iterator[bytes]:
        """Give the whole state as chunks for ``restore``: one consistent snapshot."""
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            connection.execute("BEGIN")
            yield from chunks_of(connection)
        finally:
            connection.close()

    def close_readers(self) -> None:
        """Close the connections of all reading threads."""
        for reader in self._readers:
            reader.close()

    def beyond(self, retention: Retention, now: float) -> list[tuple[str, int, int]]:
        """Return id, first and last record of ended jobs that the retention gives up."""
        modify = self._beyond(Intent.MODIFY, retention.modify_count, now - retention.modify_age)
        return modify + self._beyond(Intent.READ, retention.read_count, now - retention.read_age)

    def _beyond(self, intent: Intent, count: int, before: float) -> list[tuple[str, int, int]]:
        sql = (
            "SELECT id, admitted, last FROM jobs WHERE intent = ?1 AND ended IS NOT NULL AND (ended < ?2 OR admitted <="
            " (SELECT coalesce(max(admitted), 0) FROM (SELECT admitted FROM jobs WHERE intent = ?1"
            "  ORDER BY admitted DESC LIMIT 1 OFFSET ?3)))"
        )
        return self._ask(sql, intent, before, count)

    @staticmethod
    def _replace_all(connection: sqlite3.Connection, chunks: Iterable[bytes]) -> None:
        for table in _TABLES:
            connection.execute(f"DELETE FROM {table}")
        for chunk in chunks:
            table, rows = msgspec.msgpack.decode(chunk, type=tuple[str, list[list[Any]]])
            if table not in _TABLES:
                raise ValueError(f"an export has no table {table!r}")
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def _meta(self, key: str) -> int:
        rows = self._ask("SELECT value FROM meta WHERE key = ?", key)
        return int(rows[0][0]) if rows else 0

    def _ask(self, sql: str, *values: Any) -> list[Any]:
        reader: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if reader is None:
            reader = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            reader.execute("PRAGMA cache_size = -256")  # KiB: there is one connection per thread
            self._local.connection = reader
            self._readers.append(reader)
        return reader.execute(sql, values).fetchall()


def chunks_of(connection: sqlite3.Connection) -> Iterator[bytes]:
    """Give everything of a database with a journal's tables as chunks for ``restore``."""
    for table in _TABLES:
        cursor = connection.execute(f"SELECT * FROM {table}")
        while rows := list(_some_rows(cursor)):
            yield msgspec.msgpack.encode((table, rows))


def _some_rows(cursor: sqlite3.Cursor) -> Iterator[Any]:
    """Take rows until there are enough for one chunk; bodies may be large, chunks must fit into a frame."""
    size = 0
    for _ in range(_CHUNK_ROWS):
        row = cursor.fetchone()
        if row is None:
            return
        yield row
        size += sum(len(value) for value in row if isinstance(value, (str, bytes)))
        if size > _CHUNK_BYTES:
            return


def _record(row: tuple[int, int, str, str, float, bytes]) -> Record:
    term, n, kind, key, at, body = row
    return Record(term, n, Kind(kind), key, at, msgspec.Raw(body))


def _conditions(query: JobQuery) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    if query.names:
        parts.append(f"name IN ({', '.join('?' * len(query.names))})")
        values.extend(query.names)
    for column, value in (("user", query.user), ("intent", query.intent), ("stage", query.stage)):
        if value is not None:
            parts.append(f"{column} = ?")
            values.append(value)
    for comparison, moment in (("submitted >= ?", query.since), ("submitted <= ?", query.until)):
        if moment is not None:
            parts.append(comparison)
            values.append(moment)
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), values
