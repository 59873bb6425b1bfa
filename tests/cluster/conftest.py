"""Clusters shared by the tests of one worker, until the last of them here is over."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.cluster.harness import Cluster, cluster


@pytest.fixture(scope="package")
def plain() -> Iterator[Cluster]:
    """Give a cluster without a database; tests leave it with three running daemons."""
    with cluster("CCC_PLAY_WITH_DB=false") as made:
        yield made


@pytest.fixture(scope="package")
def with_database() -> Iterator[Cluster]:
    """Give a cluster with the database Exasol running."""
    with cluster() as made:
        yield made


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Give a name that no other test uses."""
    return f"u{time.monotonic_ns() % 10**12}"
