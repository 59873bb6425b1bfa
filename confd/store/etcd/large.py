"""Values of any size: what is too large for one key lies in parts, and the key points at them.

The parts are written first, under names that nobody else uses; the key is switched by the transaction it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from confd.store.etcd.client import EtcdClient, KeyValue, Step, prefix_end, put
from confd.store.etcd.keys import Keys
from confd.store.etcd.values import Pointer

_WHOLE, _POINTER = b"\0", b"\1"
PART_BYTES: Final = 384 * 1024
_PAGE: Final = 64


def whole(data: bytes) -> bytes:
    """Return a small value as it stands in its key."""
    return _WHOLE + data


def is_large(data: bytes) -> bool:
    """Tell whether a value needs parts."""
    return len(data) > PART_BYTES


def cut(keys: Keys, n: int, slot: str, data: bytes) -> tuple[bytes, list[Step]]:
    """Return a large value as it stands in its key, and the steps that write its parts."""
    pieces = [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]
    steps = [put(keys.chunk(n, slot, part), piece) for part, piece in enumerate(pieces)]
    return _POINTER + msgspec.msgpack.encode(Pointer(n, slot, len(pieces))), steps


def pointer(value: bytes) -> Pointer | None:
    """Return where a value's parts lie, None when it stands in its key as a whole."""
    return msgspec.msgpack.decode(value[1:], type=Pointer) if value[:1] == _POINTER else None


def load(client: EtcdClient, keys: Keys, value: bytes, revision: int = 0) -> bytes:
    """Return a value from what stands in its key.

    :param revision: etcd's revision to read parts at, 0 for now.
    :raises ValueError: parts are missing.
    """
    where = pointer(value)
    if where is None:
        return value[1:]
    start = keys.chunk(where.n, where.slot)
    pieces = everything(client, start, prefix_end(start), revision)
    if len(pieces) != where.parts:
        raise ValueError(f"of a value of record {where.n} {len(pieces)} of {where.parts} parts are left in etcd")
    return b"".join(piece.value for piece in pieces)


def everything(
    client: EtcdClient, start: bytes, end: bytes, revision: int = 0, *, keys_only: bool = False
) -> list[KeyValue]:
    """Read a range of any length, page by page."""
    found: list[KeyValue] = []
    while True:
        page, _ = client.range(start, end, _PAGE, keys_only=keys_only, revision=revision)
        found += page
        if len(page) < _PAGE:
            return found
        start = page[-1].key + b"\0"


def packed(steps: Iterable[tuple[Step, int]], most_steps: int, most_bytes: int) -> Iterator[list[Step]]:
    """Pack steps with their sizes into transactions, in order."""
    waiting: list[Step] = []
    size = 0
    for step, weight in steps:
        if waiting and (len(waiting) >= most_steps or size + weight > most_bytes):
            yield waiting
            waiting, size = [], 0
        waiting.append(step)
        size += weight
    if waiting:
        yield waiting
