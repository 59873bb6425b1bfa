"""Clients work over all nodes while these are killed, stand still or are cut off: what they were told stays true."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import cluster
from tests.history.checker import violations
from tests.history.recording import Daemons, record
from tests.seeds import seeds
from tests.servers import ETCD, require

TORTURE = bool(os.environ.get("TORTURE"))
SECONDS = 60.0 if TORTURE else 4.0
KEPT = [
    int(line.split()[0]) for line in Path(__file__).with_name("seeds.txt").read_text().splitlines() if line[0] != "#"
]


@pytest.fixture(scope="module", params=["sqlite", "etcd"])
def daemons(request: pytest.FixtureRequest) -> Iterator[Daemons]:
    """A cluster of its own in each store."""
    if request.param == "etcd":
        require(ETCD)
    with cluster("CCC_PLAY_WITH_DB=false", f"CCC_PLAY_STORE={request.param}") as made:
        running = Daemons(made)
        try:
            yield running
        finally:
            running.close()


@pytest.mark.parametrize("seed", seeds(KEPT, 5 if TORTURE else 0))
@pytest.mark.timeout(300)
def test_what_clients_were_told_stays_true(daemons: Daemons, seed: int) -> None:
    """Nothing acknowledged is lost or done twice, revisions have one order, reads are new, all nodes end up equal."""
    assert violations(record(daemons, seed, SECONDS)) == []
