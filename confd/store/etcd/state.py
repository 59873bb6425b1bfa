"""The state of a cluster as etcd holds it: written from a journal, read back, compared, made a journal again."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Final

import msgspec

from confd.store.etcd import large
from confd.store.etcd.authority import Authority
from confd.store.etcd.client import KeyValue, prefix_end, read
from confd.store.etcd.keys import Keys
from confd.store.etcd.values import Bulk, Head, Section, Term, decode_records, encode_records
from confd.store.history import chunks_of
from confd.store.projection import project
from confd.store.protocol import Position, Record, RevisionRow, Store

_INSERT_RECORD: Final = "INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?)"


class Fingerprint(msgspec.Struct, frozen=True):
    """How much there is of a state, and its SHA-256: equal states have equal fingerprints."""

    sections: int
    records: int
    jobs: int
    digest: str

    def __str__(self) -> str:
        """Say it for people."""
        return (
            f"{self.sections} sections, {self.records} runtime records, {self.jobs} records of unfinished jobs, "
            f"sha256 {self.digest[:16]}"
        )


class State(msgspec.Struct, frozen=True):
    """Everything that counts from now on: what is configured, what is so, what is not over, where the log ends."""

    head: Head
    term: Term
    sections: dict[str, Any]
    runtime: dict[str, Any]
    unfinished: list[Record]
    log: list[Record]
    revision: RevisionRow | None
    revisions: dict[str, int]

    def fingerprint(self) -> Fingerprint:
        """Return what two copies are compared by."""
        jobs = [(r.term, r.n, str(r.kind), r.key, r.at, bytes(r.body).decode()) for r in self.unfinished]
        content = [self.head.term, self.head.n, self.head.revision, self.sections, self.runtime, jobs]
        digest = hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()
        return Fingerprint(len(self.sections), len(self.runtime), len(jobs), digest)


def state_of(store: Store) -> State:
    """Return the state that a journal holds."""
    position, (revision, sections) = store.head(), store.sections()
    unfinished = sorted(
        (record for job in store.unfinished() for record in store.job(job)), key=lambda record: record.n
    )
    newest = store.revisions(1)
    return State(
        Head(position.term, position.n, secrets.token_hex(8), revision), Term(*store.leader()), sections,
        store.runtime(), unfinished, store.read(Position(0, position.n - 1), 1), newest[0] if newest else None,
        dict.fromkeys(sections, revision),
    )  # fmt: skip


def write(authority: Authority, state: State) -> None:
    """Replace what etcd holds of the cluster by a state; the authority must have begun."""
    keys, puts = authority.keys, dict[bytes, bytes]()
    for key, body in state.sections.items():
        puts[keys.section(key)] = msgspec.json.encode(Section(state.revisions[key], body))
    for key, value in state.runtime.items():
        puts[keys.record(key)] = msgspec.json.encode(value)
    for record in state.unfinished:
        puts[keys.job_record(record.key, record.n)] = encode_records([record])
    if state.revision is not None:
        puts[keys.revision] = msgspec.json.encode(state.revision)
    if state.log:
        puts[keys.log(state.head.n)] = encode_records(state.log)
    authority.seed(puts, state.head)


def read_state(authority: Authority) -> State:
    """Read what etcd holds, as it was at one moment.

    :raises EtcdError: etcd does not answer.
    """
    client, keys = authority.client, authority.keys
    answer = client.txn([], [read(keys.term), read(keys.head), read(keys.bulk)])
    term, head, bulk = ([row.value for row in rows] for rows in answer.reads)
    found = {
        row.key: authority.value(row, answer.revision)
        for start in (keys.sections, keys.runtime, keys.jobs, keys.logs, keys.revision)
        for row in large.everything(client, start, _end(keys, start), answer.revision)
    }
    if bulk:
        _apply(found, msgspec.msgpack.decode(_bulk(authority, bulk[0], answer.revision), type=Bulk).changes)
    sections = {key: msgspec.json.decode(value, type=Section) for key, value in _below(found, keys.sections).items()}
    newest = found.get(keys.revision)
    return State(
        msgspec.json.decode(head[0], type=Head) if head else Head(0, 0, "", 0),
        msgspec.json.decode(term[0], type=Term) if term else Term(0, 0),
        {key: section.body for key, section in sections.items()},
        {key: msgspec.json.decode(value) for key, value in _below(found, keys.runtime).items()},
        _records(_below(found, keys.jobs).values()), _records(_below(found, keys.logs).values()),
        None if newest is None else msgspec.json.decode(newest, type=RevisionRow),
        {key: section.revision for key, section in sections.items()},
    )  # fmt: skip


def journal_of(state: State) -> list[bytes]:
    """Return a state as chunks for ``Store.restore``: without the history of jobs that are over."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.executescript(resources.files("confd.store").joinpath("schema.sql").read_text())
        records = {record.n: record for record in (*state.unfinished, *state.log)}
        ordered = [records[n] for n in sorted(records)]
        connection.executemany(
            _INSERT_RECORD, [(one.n, one.term, one.kind, one.key, one.at, bytes(one.body)) for one in ordered]
        )
        project(connection, ordered)
        _put_state(connection, state)
        return list(chunks_of(connection))
    finally:
        connection.close()


def _put_state(connection: sqlite3.Connection, state: State) -> None:
    connection.execute("DELETE FROM sections")
    connection.execute("DELETE FROM runtime")
    for key, body in state.sections.items():
        row = (key, state.revisions[key], msgspec.json.encode(body))
        connection.execute("INSERT INTO sections VALUES (?, ?, ?)", row)
    for key, value in state.runtime.items():
        connection.execute("INSERT INTO runtime VALUES (?, ?)", (key, msgspec.json.encode(value)))
    if state.revision is not None:
        row_ = state.revision
        keys = msgspec.json.encode(list(row_.keys)).decode()
        values = (row_.revision, row_.job, row_.user, row_.at, keys)
        connection.execute("INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?, ?)", values)
    node = state.term.node if state.term.term == state.head.term else 0
    begin = min((record.n for record in state.log), default=state.head.n)
    for name, number in (("term", state.head.term), ("master", node), ("pruned", begin - 1)):
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, number))


def _end(keys: Keys, start: bytes) -> bytes:
    return start + b"\0" if start == keys.revision else prefix_end(start)


def _bulk(authority: Authority, value: bytes, revision: int) -> bytes:
    return authority.value(KeyValue(authority.keys.bulk, value, 0, 0), revision)


def _apply(found: dict[bytes, bytes], changes: Mapping[bytes, bytes | None]) -> None:
    for key, value in changes.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value


def _below(found: Mapping[bytes, bytes], start: bytes) -> dict[str, bytes]:
    return {key[len(start) :].decode(): value for key, value in found.items() if key.startswith(start)}


def _records(values: Iterable[bytes]) -> list[Record]:
    return sorted((record for value in values for record in decode_records(value)), key=lambda record: record.n)
