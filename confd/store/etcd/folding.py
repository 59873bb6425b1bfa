"""What an append changes in etcd beside the log: sections, runtime records, unfinished jobs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from confd.model.states import Intent
from confd.store.etcd.keys import Keys
from confd.store.etcd.values import Section, encode_records
from confd.store.protocol import Kind, Record, RevisionRow
from confd.store.records import Finished, Submitted

_JOB_STEPS: Final = (Kind.SCHEDULED, Kind.COMMAND, Kind.RESULT, Kind.LEARNED, Kind.UNDONE)

MOST_STEPS: Final = 100
"""How many keys one transaction changes; etcd's own limit is 128 unless it is told otherwise."""

MOST_BYTES: Final = 512 * 1024
"""How many bytes of values one transaction writes, apart from a single larger record; etcd takes 1.5 MiB."""


class Jobs:
    """The jobs that are not over, with their intents: it decides which records etcd keeps by job."""

    def __init__(self, intents: dict[str, str] | None = None) -> None:
        self._intents = dict(intents or {})

    def copy(self) -> Jobs:
        """Return the same jobs, to be changed apart."""
        return Jobs(self._intents)

    def takes(self, record: Record) -> bool:
        """Note a record; tell whether the job it belongs to goes on after it."""
        if record.kind is Kind.SUBMITTED:
            self._intents[record.key] = msgspec.json.decode(record.body, type=Submitted).intent
        elif record.kind is Kind.COMMITTED or (
            record.kind is Kind.FINISHED and self._intents.get(record.key) == Intent.READ
        ):
            self._intents.pop(record.key, None)
        return record.key in self._intents


class Folded(msgspec.Struct, frozen=True):
    """What records change: keys to set (None deletes), jobs whose keys all go, the newest revision (None: same)."""

    records: list[Record]
    puts: dict[bytes, bytes | None]
    ended: list[str]
    revision: int | None


def fold(keys: Keys, records: Sequence[Record], jobs: Jobs) -> Folded:
    """Return what records change; ``jobs`` is brought up to date."""
    puts: dict[bytes, bytes | None] = {}
    ended: list[str] = []
    revision: int | None = None
    for record in records:
        if record.kind is Kind.RUNTIME:
            puts[keys.record(record.key)] = None if bytes(record.body) == b"null" else bytes(record.body)
        elif record.kind is Kind.FINISHED:
            body = msgspec.json.decode(record.body, type=Finished)
            revision = body.revision if body.revision is not None else revision
            puts.update(_outcome(keys, record, body))
        if record.kind in (Kind.SUBMITTED, Kind.FINISHED, Kind.COMMITTED, *_JOB_STEPS):
            if jobs.takes(record):
                puts[keys.job_record(record.key, record.n)] = encode_records([record])
            elif record.kind in (Kind.FINISHED, Kind.COMMITTED):
                ended.append(record.key)
                start = keys.job(record.key)
                puts = {key: value for key, value in puts.items() if not key.startswith(start)}
    return Folded(list(records), puts, ended, revision)


def parts(keys: Keys, records: Sequence[Record], jobs: Jobs) -> Iterator[Folded]:
    """Cut records into appends that fit into one transaction each, in order; a part has at least one record.

    ``jobs`` is brought up to date with each part as it is taken.
    """
    start = 0
    while start < len(records):
        end = start + _fitting(keys, records[start:], jobs.copy())
        yield fold(keys, records[start:end], jobs)
        start = end


def _fitting(keys: Keys, records: Sequence[Record], jobs: Jobs) -> int:
    steps = size = 0
    for count, record in enumerate(records):
        one = fold(keys, [record], jobs)
        steps += len(one.puts) + len(one.ended)
        size += len(record.body) + sum(len(value or b"") for value in one.puts.values())
        if count and (steps > MOST_STEPS or size > MOST_BYTES):
            return count
    return len(records)


def _outcome(keys: Keys, record: Record, body: Finished) -> Iterator[tuple[bytes, bytes | None]]:
    if body.revision is not None:
        row = RevisionRow(body.revision, record.key, body.user, record.at, tuple(body.changes))
        yield keys.revision, msgspec.json.encode(row)
        for key, section in body.changes.items():
            kept = None if section is None else msgspec.json.encode(Section(body.revision, section))
            yield keys.section(key), kept
    for key, value in body.runtime.items():
        yield keys.record(key), None if value is None else msgspec.json.encode(value)
