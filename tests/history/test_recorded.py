"""Clients work over all nodes while these are killed, stand still or are cut off: what they were told stays true."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.cluster.harness import cluster
from tests.history.checker import violations
from tests.history.daemons import Daemons
from tests.history.recording import LONG, SHORT, record
from tests.seeds import seeds
from tests.servers import ETCD, require
from tests.torture import TORTURE

LENGTH = LONG if TORTURE else SHORT
STORES = ("sqlite", "etcd")
REFUSED = "refused"


def cases() -> list[tuple[str, int]]:
    """Return which kind of cluster runs which seed; for torture all that are kept, new ones, and the other partitions."""
    lines = Path(__file__).with_name("seeds.txt").read_text().splitlines()
    kept = [(line.split()[0], int(line.split()[1])) for line in lines if line and line[0] != "#"]
    found = []
    for store in STORES:
        mine = [seed for name, seed in kept if name == store]
        if not TORTURE:
            found += [(store, seed) for seed in seeds(mine[:1], 0)]
            continue
        found += [(store, seed) for seed in seeds(mine, 3)]
        found += [(f"{store} {REFUSED}", seed) for seed in seeds([], 2)]
    return found


@pytest.fixture(scope="module")
def daemons(request: pytest.FixtureRequest) -> Iterator[Daemons]:
    """A cluster of its own in each store."""
    store, _, refused = request.param.partition(" ")
    if store == "etcd":
        require(ETCD)
    with cluster("CCC_PLAY_WITH_DB=false", f"CCC_PLAY_STORE={store}") as made:
        running = Daemons(made, elects=store == "etcd", refused=refused == REFUSED)
        try:
            yield running
        finally:
            running.close()


@pytest.mark.parametrize(("daemons", "seed"), cases(), indirect=["daemons"])
@pytest.mark.timeout(600)
def test_what_clients_were_told_stays_true(daemons: Daemons, seed: int, tmp_path: Path) -> None:
    """Nothing acknowledged is lost or done twice, revisions have one order, reads are new, all nodes end up equal."""
    try:
        history = record(daemons, seed, LENGTH)
        (tmp_path / "history.json").write_bytes(msgspec.json.encode(history))
        found = violations(history)
        assert not found, "\n".join(found)
    except AssertionError:
        keep(daemons, tmp_path)
        print(f"  journals, logs and what was recorded are kept in {tmp_path}")
        raise


def keep(daemons: Daemons, place: Path) -> None:
    """Copy what is needed to find out what happened."""
    for node in daemons.cluster.addresses:
        root = daemons.cluster.root(node)
        for directory in ("metadata/confd", "logs"):
            shutil.copytree(root / directory, place / f"n{node}" / directory, dirs_exist_ok=True)
