"""Addresses for etcd members."""

from __future__ import annotations

import pytest

from tests.cluster.harness import free_net


@pytest.fixture
def free_address() -> str:
    """Give a loopback address on which nobody listens on etcd's ports."""
    return f"{free_net((2379, 2380))}.11"
