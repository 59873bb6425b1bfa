"""Limits and division of memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.exaconf.values import check_share
from confd.model.errors import InvalidParameter
from confd.model.sizes import Bytes
from confd.services.database.engine.memory import divide, maximum, reduction

MIB = 1 << 20


@given(st.integers(0, 1 << 45), st.none() | st.integers(0, 1 << 37))
def test_memory_fits(share: int, heap: int | None) -> None:
    """A server's own memory stays within its node's share, and within what PostgreSQL takes."""
    sizes = divide(Bytes(share), None if heap is None else Bytes(heap))
    mib = max(share // MIB, 64)
    assert 16 <= sizes.shared_buffers <= max(mib // 4, 16)
    assert sizes.effective_cache_size < mib
    assert 1 <= sizes.work_mem <= 1024
    assert 1 <= sizes.maintenance_work_mem <= 2048


def test_heap_limits_sessions() -> None:
    """A heap limit takes from sorts and index builds, not from the cache."""
    free, limited = divide(Bytes(8 << 30)), divide(Bytes(8 << 30), Bytes(1 << 30))
    assert limited.shared_buffers == free.shared_buffers
    assert (limited.work_mem, limited.maintenance_work_mem) == (8, 256)
    assert (free.work_mem, free.maintenance_work_mem) == (64, 512)


@given(st.integers(64 * MIB, 1 << 45), st.integers(1, 64))
def test_maximum_is_part_of_the_nodes(node_memory: int, nodes: int) -> None:
    """Whatever a node has, some of it is left to the system, and something to the database."""
    assert 0 < maximum(Bytes(node_memory), nodes) <= nodes * node_memory


def test_documented_maximum() -> None:
    """The formula is the documented one, and so is the warning."""
    assert maximum(Bytes(1000 * MIB), 2) == 1400 * MIB
    assert maximum(Bytes(32768 * MIB), 1) == (32768 - 7798) * MIB
    assert reduction(Bytes(1 << 30), Bytes(8 << 30), 1) is None
    text = reduction(Bytes(3000 * MIB), Bytes(1000 * MIB), 2)
    assert text == "DB memory 3000 MiB is reduced to allowed maximum of 1400 MiB."


def test_too_little_is_refused() -> None:
    """The message says how much is needed."""
    check_share(Bytes(128 * MIB), 2)
    with pytest.raises(InvalidParameter, match="128 MiB or more"):
        check_share(Bytes(127 * MIB), 2)
