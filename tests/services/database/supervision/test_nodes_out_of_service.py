"""Databases whose nodes are suspended, resumed and removed, with real instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from confd.model.errors import NodeOffline, WrongState
from confd.model.states import NodeState
from confd.services.database.observed import Role
from confd.services.database.record import Record, Wanted
from tests.jobs.live import Live
from tests.services.database.rig import NAME, Rig
from tests.services.database.supervision.test_failover import kill_node, primary, revive
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


def marks(live: Live) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the nodes taken from the database, and those that an administrator answers for."""
    record = live.supervision.record(NAME)
    return record.suspended, record.vouched


@pytest.mark.parametrize("job", [("node_suspend", {"nid": 11}), ("nodes_terminate", {"nids": [11]})])
def test_a_primary_that_falls_silent_while_it_is_left_is_not_replaced(
    live: Live, monkeypatch: pytest.MonkeyPatch, job: tuple[str, dict[str, Any]]
) -> None:
    """Nobody has said that it is dead: it goes on taking writes, the job fails and leaves no mark."""
    call = live.rig.cluster.call

    def cut(command: Any, timeout: float = 60.0) -> Any:
        if command.node == 11 and command.name == "database.stop":
            live.rig.cluster.offline.add(11)
            raise NodeOffline("n11 does not answer")
        return call(command, timeout)

    monkeypatch.setattr(live.rig.cluster, "call", cut)
    with pytest.raises(WrongState, match=r"n11, which holds the newest data, is (offline|not answering)"):
        live.run(job[0], **job[1])
    assert marks(live) == ((), ())
    assert live.supervision.record(NAME).primary == 11
    assert live.rig.sql(11, "SELECT pg_is_in_recovery()") == [(False,)]
    assert [one.node for one in live.supervision.observe(NAME).instances if one.role is Role.PRIMARY] == []
    monkeypatch.undo()
    live.rig.cluster.offline.clear()
    live.rig.cluster.changed()
    until(lambda: served_by(live, 11, 12))


def test_who_is_suspended_in_the_database_while_it_answers_is_not_said_to_be_dead(live: Live) -> None:
    """It is, once that is said again of the silent node; and no longer when it is back."""
    live.run("db_suspend_nodes", db_name=NAME, node_list=[12])
    assert marks(live) == ((12,), ())
    live.rig.cluster.offline.add(12)
    live.rig.cluster.changed()
    live.run("db_suspend_nodes", db_name=NAME, node_list=[12])
    assert marks(live) == ((12,), (12,))
    kill_node(live.rig, 12)
    revive(live.rig, 12)
    until(lambda: marks(live) == ((12,), ()))


def test_a_node_with_the_primary_of_a_stopped_database_is_suspended(live: Live) -> None:
    """It is proven to be stopped there, so the database starts elsewhere, with every row."""
    live.supervision.want(NAME, Wanted.STOPPED)
    live.run("node_suspend", nid=11)
    assert marks(live) == ((), ())
    live.supervision.want(NAME, Wanted.RUNNING, early=True)
    assert live.rig.sql(primary(live.rig) or 0, "SELECT i FROM t") == [(1,)]
    assert primary(live.rig) in (12, 13)


def test_a_node_whose_storage_is_broken_can_leave_a_stopped_database(live: Live) -> None:
    """There is no data there that anything could run on."""
    live.supervision.want(NAME, Wanted.STOPPED)
    device = live.rig.hosts[11].path("/exa/data/storage/dev.1")
    device.rename(device.with_name("lost"))
    live.run("node_suspend", nid=11)
    assert live.states[11] is NodeState.SUSPENDED
