"""Jobs on the nodes of a database whose instances are real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from confd.cluster.identity import NodeFiles, write_private
from confd.model.errors import AlreadyExists, NotFound, Unsupported, WrongState
from confd.model.secret import Vault
from confd.services.database.description import describe_database
from confd.services.database.engine.keytab import keytab_path
from confd.services.database.record import Wanted
from tests.jobs.live import Live
from tests.servers import POSTGRESQL, require
from tests.services.database.rig import NAME, Rig
from tests.services.database.supervision.test_failover import kill_node, primary, revive
from tests.services.database.waiting import until

KEY = Vault.new_key()


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


def test_a_node_that_comes_later_gets_the_keytab(make_rig: Callable[..., Rig]) -> None:
    """It was away when Kerberos was configured, and is ready for tickets when it takes over."""
    require(POSTGRESQL)
    live = Live(make_rig(11, 12, 13))
    for host in live.rig.hosts.values():
        write_private(NodeFiles(host.root).data_key, KEY)
    live.services[Vault] = Vault(KEY)
    live.rig.volume(redundancy=2, nodes=(11, 12, 13))
    live.rig.database(nodes=(11, 12), active=2, version="15")
    live.rig.define()
    live.rig.cluster.offline.add(13)
    live.run("db_configure_kerberos", db_name=NAME, keytab="a key", realm="EXAMPLE.COM")
    live.rig.cluster.offline.clear()
    live.run("db_add_reserve_nodes", db_name=NAME, node_list=[13])
    live.supervision.want(NAME, Wanted.RUNNING)
    live.run("db_suspend_nodes", db_name=NAME, node_list=[12])
    until(lambda: served_by(live, 11, 13))
    host = live.rig.hosts[13]
    assert keytab_path(host, NAME).read_bytes() == keytab_path(live.rig.hosts[11], NAME).read_bytes() == b"a key"
    assert "gss" in (live.rig.layout(13).config / "pg_hba.conf").read_text()


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


def test_reserve_nodes_have_to_be_able_to_run_it(make_rig: Callable[..., Rig], installation: Path) -> None:
    """A node that lacks what the database needs is refused when it comes to it, and when the database is changed."""
    require(POSTGRESQL)
    live = Live(make_rig(11, 12, 13))
    distribution = POSTGRESQL.parents[1]
    for node in (11, 12):
        live.rig.hosts[node] = replace(live.rig.hosts[node], installations=(distribution, installation))
    live.run(
        "st_volume_create", name="DataVolume1", type="data", disk="disk1", size="512 MiB", nodes=[11, 12, 13],
        redundancy=1, num_master_nodes=1,
    )  # fmt: skip
    # The release of another engine means the first installation of each node: n13 has the one without LDAP.
    live.rig.database(nodes=(11,), active=1, version="8.32.0", ldap_servers=("ldaps://ads.example.com:636",))
    live.rig.define()
    before = live.conf
    with pytest.raises(Unsupported, match="n13: ldap_server needs"):
        live.run("db_add_reserve_nodes", db_name=NAME, node_list=["n12", "n13"])
    assert live.conf == before
    assert live.run("db_add_reserve_nodes", db_name=NAME, node_list=["n12"]).warnings == []

    live.rig.cluster.offline.add(13)
    ran = live.run("db_add_reserve_nodes", db_name=NAME, node_list=["n13"])
    assert ran.warnings == [f"n13 does not answer; whether it can run {NAME} was not checked"]
    live.rig.cluster.offline.clear()
    live.put(msgspec.structs.replace(live.conf.volumes["DataVolume1"], num_master_nodes=3))
    before = live.conf
    for job, given in (("db_enlarge", {"num_new_nodes": 2}), ("db_configure", {"params": "-work_mem=8MB"})):
        with pytest.raises(Unsupported, match="n13: ldap_server needs"):
            live.run(job, db_name=NAME, **given)
    assert live.conf == before
    live.run("db_configure", db_name=NAME, version="18", ldap_server="")
    assert live.conf.databases[NAME].version == "18"

    live.rig.hosts[13] = replace(live.rig.hosts[13], installations=())
    with pytest.raises(NotFound, match="n13: PostgreSQL 18 is not installed"):
        live.run("db_configure", db_name=NAME, params="-work_mem=8MB")
    for node in live.rig.hosts:
        keytab_path(live.rig.hosts[node], NAME).parent.mkdir(parents=True, exist_ok=True)
    keytab_path(live.rig.hosts[11], NAME).write_bytes(b"")
    live.run("db_remove_reserve_nodes", db_name=NAME, node_list=["n12", "n13"])
    with pytest.raises(Unsupported, match="n12: Kerberos needs"):
        live.run("db_add_reserve_nodes", db_name=NAME, node_list=["n12"])
