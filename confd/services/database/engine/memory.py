"""How a database's memory is limited and divided. Pure."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from confd.exaconf.values import LEAST_MEMORY
from confd.model.sizes import Bytes

_MIB: Final = 1 << 20
_SMALL_NODE: Final = 2048
_SORTS: Final = 128
_CLEANERS: Final = 4


class Memory(msgspec.Struct, frozen=True):
    """Memory settings of one instance, in MiB."""

    shared_buffers: int
    work_mem: int
    maintenance_work_mem: int
    effective_cache_size: int


def maximum(node_memory: Bytes, nodes: int) -> Bytes:
    """Return the most that a database on nodes of this memory can have; the rest is the system's."""
    mib = node_memory // _MIB
    if mib < _SMALL_NODE:
        return Bytes(int(mib * 0.7) * nodes * _MIB)
    gib = mib / 1024
    return Bytes((mib - int(math.sqrt(0.8 * gib) * math.log10(gib) * 1024)) * nodes * _MIB)


def reduction(mem_size: Bytes, node_memory: Bytes, nodes: int) -> str | None:
    """Return what to tell about a request that is above the maximum."""
    allowed = maximum(node_memory, nodes)
    if mem_size <= allowed:
        return None
    return f"DB memory {mem_size // _MIB} MiB is reduced to allowed maximum of {allowed // _MIB} MiB."


def divide(share: Bytes, heap: Bytes | None = None) -> Memory:
    """Divide an instance's memory; of small shares more is left to connections and the system.

    :param heap: limit of what all sessions and background workers of the instance take for themselves.
    """
    mib = max(share // _MIB, LEAST_MEMORY)
    sorts = mib if heap is None else min(mib, heap // _MIB)
    return Memory(
        shared_buffers=max(16, mib // (8 if mib < 1024 else 4)),
        work_mem=min(max(sorts // _SORTS, 1 if heap is not None else 4), 1024),
        maintenance_work_mem=min(max(mib // 16, 16), 2048, max(sorts // _CLEANERS, 1)),
        effective_cache_size=mib * 3 // 4,
    )
