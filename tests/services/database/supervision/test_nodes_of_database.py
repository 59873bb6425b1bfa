"""Jobs on the nodes of a database whose instances are real."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from confd.model.errors import AlreadyExists, NotFound, WrongState
from confd.services.database.description import describe_database
from confd.services.database.record import Wanted
from tests.jobs.live import Live
from tests.services.database.rig import NAME, Rig
from tests.services.database.supervision.test_failover import kill_node, primary, revive
from tests.services.database.waiting import until


@pytest.fixture
def live(make_rig: Callable[..., Rig]) -> Live:
    """Two active nodes and a reserve node, all with a segment of the volume; each commit on two of them."""
    return with_reserve(make_rig(11, 12, 13))


def with_reserve(rig: Rig) -> Live:
    """Run the database on n11 and n12 with n13 in reserve, a segment of the volume on each."""
    made = Live(rig)
    made.run(
        "st_volume_create", name="DataVolume1", type="data", disk="disk1", size="512 MiB", nodes=[11, 12, 13],
        redundancy=2, num_master_nodes=2,
    )  # fmt: skip
    made.rig.database(nodes=(11, 12, 13), active=2)
    made.rig.define()
    made.supervision.want(NAME, Wanted.RUNNING)
    made.rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    return made


def served_by(live: Live, *nodes: int) -> bool:
    """Whether the database runs on these nodes and nothing is missing."""
    seen = live.supervision.observe(NAME)
    return {one.node for one in seen.instances if one.running} == set(nodes) and not seen.missing


def info(live: Live) -> dict[str, list[str]]:
    """Return the nodes that db_info shows."""
    database = live.conf.databases[NAME]
    addresses = {node.id: node.private_ip for node in live.conf.nodes.values()}
    volume = live.conf.volumes["DataVolume1"]
    shown = describe_database(database, volume, live.supervision.observe(NAME), {}, addresses)
    nodes: dict[str, list[str]] = shown["nodes"]
    return nodes


def test_suspend_resume_add_remove_and_enlarge(live: Live) -> None:
    """A suspended primary hands over to a reserve node; what cannot be is refused, and nothing changes."""
    live.run("db_suspend_nodes", db_name=NAME, node_list=["n11"])
    assert live.conf.databases[NAME].active_nodes == (13, 12)
    until(lambda: primary(live.rig) in (12, 13))
    until(lambda: served_by(live, 12, 13))
    assert info(live) == {"active": ["n13", "n12"], "failed": ["n11"], "reserve": []}

    before = live.conf
    with pytest.raises(WrongState, match="no reserve node"):
        live.run("db_suspend_nodes", db_name=NAME, node_list=[12])
    with pytest.raises(WrongState, match="one must stay"):
        live.run("db_suspend_nodes", db_name=NAME, node_list=["n12", 13])
    with pytest.raises(NotFound, match="n15"):
        live.run("db_suspend_nodes", db_name=NAME, node_list=["n15"])
    with pytest.raises(WrongState, match="n12 is not suspended"):
        live.run("db_resume_nodes", db_name=NAME, node_list=["n12"])
    with pytest.raises(AlreadyExists, match="n13"):
        live.run("db_add_reserve_nodes", db_name=NAME, node_list=[13])
    with pytest.raises(NotFound, match="n12 is not a reserve node"):
        live.run("db_remove_reserve_nodes", db_name=NAME, node_list=[12])
    with pytest.raises(WrongState, match="stop it with db_stop"):
        live.run("db_enlarge", db_name=NAME, num_new_nodes=1)
    assert live.conf == before

    live.run("db_resume_nodes", db_name=NAME, node_list=["n11"])
    assert info(live) == {"active": ["n13", "n12"], "failed": [], "reserve": ["n11"]}
    live.run("db_remove_reserve_nodes", db_name=NAME, node_list=["n11"])
    assert live.conf.databases[NAME].nodes == (13, 12)
    live.run("db_add_reserve_nodes", db_name=NAME, node_list=["n11"])
    assert live.conf.databases[NAME].nodes == (13, 12, 11)

    live.supervision.want(NAME, Wanted.STOPPED)
    with pytest.raises(WrongState, match="st_volume_append_node"):
        live.run("db_enlarge", db_name=NAME, num_new_nodes="1")
    volume = live.conf.volumes["DataVolume1"]
    live.put(msgspec.structs.replace(volume, num_master_nodes=3))
    live.run("db_enlarge", db_name=NAME, num_new_nodes="1")
    assert live.conf.databases[NAME].active_nodes == (13, 12, 11)
    live.supervision.want(NAME, Wanted.RUNNING)
    assert served_by(live, 11, 12, 13)
    assert live.rig.sql(11, "SELECT i FROM t") == [(1,)]


def test_a_reserve_node_takes_over_from_a_dead_one(live: Live) -> None:
    """The cluster submits the job; the reserve node gets a copy; the dead one is a reserve node when it returns."""
    kill_node(live.rig, 12)
    until(lambda: live.rig.cluster.submitted != [])
    ((job, params),) = live.rig.cluster.submitted
    assert (job, params) == ("db_replace_node", {"db_name": NAME, "node": 12, "replacement": 13})
    live.run(job, **params)
    until(lambda: served_by(live, 11, 13))
    assert info(live) == {"active": ["n11", "n13"], "failed": ["n12"], "reserve": []}
    until(lambda: live.rig.sql(13, "SELECT i FROM t") == [(1,)])
    revive(live.rig, 12)
    until(lambda: info(live) == {"active": ["n11", "n13"], "failed": [], "reserve": ["n12"]})
