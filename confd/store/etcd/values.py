"""What stands in etcd's keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from confd.store.protocol import Kind, Record

Frame = tuple[int, int, str, str, float, bytes]
"""A record: term, n, kind, key, time, body."""


class Term(msgspec.Struct, frozen=True):
    """The highest term and the node that leads under it."""

    term: int
    node: int


class Head(msgspec.Struct, frozen=True):
    """The last record. ``writer`` is new for every append, so that its writer knows it again.

    ``revision`` is the newest one.
    """

    term: int
    n: int
    writer: str
    revision: int


class Section(msgspec.Struct, frozen=True):
    """A section as it is since a revision; ``body`` is stored JSON."""

    revision: int
    body: Any


class Bulk(msgspec.Struct, frozen=True):
    """Changes of the last record by key; None deletes."""

    changes: dict[bytes, bytes | None]


class Pointer(msgspec.Struct, frozen=True, array_like=True):
    """Where the parts of a large value lie."""

    n: int
    slot: str
    parts: int


def encode_records(records: Sequence[Record]) -> bytes:
    """Pack records."""
    return msgspec.msgpack.encode([_frame(record) for record in records])


def decode_records(data: bytes) -> list[Record]:
    """Unpack records."""
    frames = msgspec.msgpack.decode(data, type=list[Frame])
    return [Record(f[0], f[1], Kind(f[2]), f[3], f[4], msgspec.Raw(f[5])) for f in frames]


def _frame(record: Record) -> Frame:
    return record.term, record.n, str(record.kind), record.key, record.at, bytes(record.body)
