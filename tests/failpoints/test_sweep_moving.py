"""Nodes die while the cluster moves from one store to the other: all end in one of them, and nothing is missing."""

from __future__ import annotations

import contextlib
import itertools
import xmlrpc.client
from collections.abc import Iterator
from typing import Any

import pytest

from confd.cluster.identity import NodeFiles
from confd.model.failpoints import Failpoint
from confd.store.choice import StoreKind, load_choice
from tests.cluster.harness import until
from tests.failpoints.evidence import check_journal, journal_of
from tests.failpoints.sweep import Sweep, swept
from tests.servers import ETCD, Etcd, etcd, require
from tests.torture import long

pytestmark = long
NUMBERS = itertools.count(80_000)


@pytest.fixture(scope="module")
def server() -> Iterator[Etcd]:
    """An etcd that is none of the cluster's."""
    require(ETCD)
    with etcd() as running:
        yield running


@pytest.fixture(scope="module")
def sweep(server: Etcd) -> Iterator[Sweep]:
    """A cluster of its own with the embedded store, whose daemons obey."""
    with swept("sqlite") as made:
        yield made


def acknowledged(sweep: Sweep) -> set[str]:
    """Create a group over each node."""
    groups = {f"g{next(NUMBERS)}": node for node in sweep.cluster.addresses}
    for name, node in groups.items():
        sweep.cluster.run("group_create", node, groupname=name, groupid=int(name[1:]))
    return set(groups)


def result(sweep: Sweep, node: int, job_id: str) -> dict[str, Any]:
    """Ask for the result of a job until a node gives it: its daemon is started anew meanwhile."""
    client = sweep.cluster.client(node)
    with contextlib.suppress(OSError, xmlrpc.client.Error):
        if client.job_wait(job_id, 5):
            answer: Any = client.job_result(job_id)
            return dict(answer)
    return {}


def kinds(sweep: Sweep) -> set[StoreKind]:
    """Return the stores that nodes use from their next start on."""
    return {load_choice(sweep.cluster.root(node)).kind for node in sweep.cluster.addresses}


def uses_its_store(sweep: Sweep, node: int) -> bool:
    """Tell whether a daemon was started since its node adopted a store: the one before ends then, and is dead."""
    return sweep.started[node] > NodeFiles(sweep.cluster.root(node)).store.stat().st_mtime


def move(sweep: Sweep, params: dict[str, Any], victim: int, point: Failpoint) -> None:
    """Move to the other store; a node dies at a point of that."""
    groups = acknowledged(sweep)
    asked = next(node for node in (13, 12) if node != victim)
    for node in sweep.cluster.addresses:
        sweep.order(node, f"{point}=exit" if node == victim else "")
    job_id = str(sweep.cluster.client(asked).job_start("store_move", {"params": params}))
    until(lambda: sweep.dead(victim), f"n{victim} dies at {point}{sweep.cluster.logs()}")
    assert sweep.arrivals(victim)[point] == 1

    def all_moved() -> bool:
        sweep.revive()
        return kinds(sweep) == {params["kind"]} and all(uses_its_store(sweep, node) for node in sweep.cluster.addresses)

    until(all_moved, f"all nodes use {params['kind']}{sweep.cluster.logs()}")
    answer = until(lambda: result(sweep, asked, job_id), f"the job ends{sweep.cluster.logs()}")
    assert answer["result_code"] == 0, answer
    sweep.settled(job_id)
    for node in sweep.cluster.addresses:
        check_journal(journal_of(sweep.cluster, node), job_id)
        assert groups <= set(sweep.cluster.run("group_list", node))
    groups |= acknowledged(sweep)
    sweep.cluster.wait_same()
    assert kinds(sweep) == {params["kind"]}
    assert groups <= set(sweep.cluster.run("group_list", 12))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("place", "point"),
    [(0, Failpoint.COPIED), (0, Failpoint.SWITCHED), (0, Failpoint.ADOPTED), (1, Failpoint.ADOPTED)],
    ids=lambda value: ("master", "node")[value] if isinstance(value, int) else str(value),
)
def test_nodes_may_die_while_the_store_moves(sweep: Sweep, server: Etcd, place: int, point: Failpoint) -> None:
    """To etcd and back: before the one record that is the switch, after it, and before they start anew."""
    for params in ({"kind": "etcd", "endpoints": [server.url]}, {"kind": "sqlite"}):
        move(sweep, params, sweep.ranks()[place], point)
