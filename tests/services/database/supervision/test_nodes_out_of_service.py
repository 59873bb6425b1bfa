"""Databases whose nodes are suspended, resumed and removed, with real instances."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from confd.model.errors import WrongState
from confd.model.states import NodeState
from confd.services.database.record import Record
from tests.jobs.live import Live
from tests.services.database.rig import NAME, Rig
from tests.services.database.supervision.test_failover import kill_node, primary
from tests.services.database.supervision.test_nodes_of_database import info, served_by, with_reserve
from tests.services.database.waiting import until


@pytest.fixture
def live(make_rig: Callable[..., Rig]) -> Live:
    """Two active nodes, a reserve node with a segment, and a node that is master only; each commit on two nodes."""
    return with_reserve(make_rig(11, 12, 13, 14))


def replace_when_asked(live: Live) -> None:
    """Run the job by which the cluster replaces a lost node, as its scheduler would."""
    until(lambda: live.rig.cluster.submitted != [])
    job, params = live.rig.cluster.submitted.pop()
    assert job == "db_replace_node"
    live.run(job, **params)


def test_a_living_primary_is_suspended_resumed_and_removed(live: Live) -> None:
    """It stops in order before the job ends, another node and a reserve node take over, and no row is lost."""
    assert primary(live.rig) == 11
    ran = live.run("node_suspend", nid=11)
    assert ran.warnings == []
    assert live.states[11] is NodeState.SUSPENDED
    assert live.rig.keeper(11).status() is None
    until(lambda: primary(live.rig) in (12, 13))
    replace_when_asked(live)
    until(lambda: served_by(live, 12, 13))
    assert info(live) == {"active": ["n13", "n12"], "failed": ["n11"], "reserve": []}
    assert msgspec.convert(live.records[f"database/{NAME}"], Record).suspended == ()
    assert live.rig.sql(primary(live.rig) or 0, "SELECT i FROM t") == [(1,)]

    live.run("node_resume", nid=11)
    until(lambda: info(live) == {"active": ["n13", "n12"], "failed": [], "reserve": ["n11"]})

    with pytest.raises(WrongState, match="no other node online"):
        live.run("node_suspend", nid=[11, 12, 13])
    live.run("node_remove", nid=primary(live.rig), force=True)
    assert 11 in live.conf.databases[NAME].active_nodes
    until(lambda: served_by(live, *live.conf.databases[NAME].nodes))
    assert live.rig.sql(primary(live.rig) or 0, "SELECT i FROM t") == [(1,)]


def test_a_dead_primary_is_suspended(live: Live) -> None:
    """That is an administrator's word that it is dead: another node is elected, and a reserve node takes its place."""
    live.rig.cluster.offline.add(11)
    kill_node(live.rig, 11)
    live.run("node_suspend", nid=11)
    until(lambda: primary(live.rig) == 12)
    replace_when_asked(live)
    until(lambda: served_by(live, 12, 13))
    assert live.rig.sql(12, "SELECT i FROM t") == [(1,)]
