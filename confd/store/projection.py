"""What is derived from records inside the same transaction: job lines, sections, runtime records."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from confd.model.states import Intent, Stage
from confd.store.protocol import Kind, Record
from confd.store.records import Finished, Submitted

Projector = Callable[[sqlite3.Connection, Record], None]

_JOB = "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class _ReadLine(msgspec.Struct):
    """What the line of a read job needs of its record; the result may be large."""

    name: str
    user: str
    submitted: float
    code: int


_decode_read_line = msgspec.json.Decoder(_ReadLine).decode


def project(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Bring the derived tables up to records that were just written."""
    reads = [_read(record) for record in records if record.kind is Kind.READ]
    if reads:
        connection.executemany(_JOB, reads)
    for record in records:
        if record.kind is not Kind.READ:
            _PROJECTORS[record.kind](connection, record)


def _term(connection: sqlite3.Connection, record: Record) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('term', ?)", (record.term,))
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('master', ?)", (int(record.key),))


def _submitted(connection: sqlite3.Connection, record: Record) -> None:
    body = msgspec.json.decode(record.body, type=Submitted)
    row = (record.key, record.n, record.n, body.name, body.intent, body.user, Stage.SUBMITTED, record.at)
    connection.execute(_JOB, (*row, None, None, None))


def _scheduled(connection: sqlite3.Connection, record: Record) -> None:
    sql = "UPDATE jobs SET stage = ?, last = ? WHERE id = ?"
    connection.execute(sql, (Stage.SCHEDULED, record.n, record.key))


def _step(connection: sqlite3.Connection, record: Record) -> None:
    connection.execute("UPDATE jobs SET last = ? WHERE id = ?", (record.n, record.key))


def _finished(connection: sqlite3.Connection, record: Record) -> None:
    body = msgspec.json.decode(record.body, type=Finished)
    sql = (
        "UPDATE jobs SET stage = ?1, last = ?2, code = ?3, revision = ?4,"
        " ended = CASE WHEN intent = 'read' THEN ?5 END WHERE id = ?6"
    )
    connection.execute(sql, (Stage.FINISHED, record.n, body.code, body.revision, record.at, record.key))
    if body.revision is not None:
        _revision(connection, record, body)
    for key, value in body.runtime.items():
        _put_runtime(connection, key, msgspec.json.encode(value))


def _revision(connection: sqlite3.Connection, record: Record, body: Finished) -> None:
    keys = msgspec.json.encode(list(body.changes)).decode()
    row = (body.revision, record.key, body.user, record.at, keys)
    connection.execute("INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?, ?)", row)
    for key, section in body.changes.items():
        stored = None if section is None else msgspec.json.encode(section)
        connection.execute("INSERT OR REPLACE INTO sections VALUES (?, ?, ?)", (key, body.revision, stored))


def _committed(connection: sqlite3.Connection, record: Record) -> None:
    sql = "UPDATE jobs SET stage = ?, last = ?, ended = ? WHERE id = ?"
    connection.execute(sql, (Stage.COMMITTED, record.n, record.at, record.key))


def _runtime(connection: sqlite3.Connection, record: Record) -> None:
    _put_runtime(connection, record.key, bytes(record.body))


def _put_runtime(connection: sqlite3.Connection, key: str, body: bytes) -> None:
    if body == b"null":
        connection.execute("DELETE FROM runtime WHERE key = ?", (key,))
    else:
        connection.execute("INSERT OR REPLACE INTO runtime VALUES (?, ?)", (key, body))


def _read(record: Record) -> tuple[object, ...]:
    line = _decode_read_line(record.body)
    row = (record.key, record.n, record.n, line.name, Intent.READ, line.user, Stage.FINISHED, line.submitted)
    return (*row, record.at, line.code, None)


_PROJECTORS: Final[dict[Kind, Projector]] = {
    Kind.TERM: _term,
    Kind.SUBMITTED: _submitted,
    Kind.SCHEDULED: _scheduled,
    Kind.COMMAND: _step,
    Kind.RESULT: _step,
    Kind.LEARNED: _step,
    Kind.UNDONE: _step,
    Kind.FINISHED: _finished,
    Kind.COMMITTED: _committed,
    Kind.RUNTIME: _runtime,
}
