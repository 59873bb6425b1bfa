"""Jobs that give volumes other nodes or another redundancy: space, rights, refusals, without a running database."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec
import pytest

from confd.exaconf import Database
from confd.model.errors import (
    InsufficientSpace,
    InUse,
    InvalidParameter,
    NodeOffline,
    NotFound,
    PermissionDenied,
    StorageDuplicate,
    StorageNotFound,
    Unsupported,
    WrongState,
)
from confd.model.sizes import Bytes
from confd.model.states import NodeState
from confd.scheduler.locks import exclusive, shared
from confd.scheduler.registry import load
from confd.services.backup.location import Location
from confd.services.database.record import Record
from confd.services.storage.segments import segment_directory
from confd.services.storage.superblock import read_allocation
from tests.jobs.stage import GIB, Stage, files_below
from tests.jobs.test_database_snapshots import put_snapshot


@pytest.fixture
def volume(stage: Stage) -> Stage:
    """A volume on two of the nodes."""
    stage.run("st_volume_create", **_new())
    return stage


def _new(**more: Any) -> dict[str, Any]:
    return {
        "name": "V1", "type": "data", "disk": "disk1", "size": "100 MiB", "nodes": [11, 12], "redundancy": 1,
        "num_master_nodes": 1, **more,
    }  # fmt: skip


def _database(stage: Stage, **record: Any) -> None:
    stage.put(
        Database(
            name="DB1", id="x", version="18", mem_size=Bytes(GIB), nodes=(11, 13), num_active_nodes=1, data_volume="V1"
        )
    )
    stage.records["database/DB1"] = msgspec.to_builtins(Record(volume="V1", **record))


def _reserved(stage: Stage, node: int) -> list[int]:
    home = stage.host(node).path("/exa/data/storage/dev.1")
    return [one.size for one in read_allocation(home).segments.values()]


def test_append_reserves_the_same_space(volume: Stage) -> None:
    """A new node gets a segment as large as the others have."""
    volume.run("st_volume_append_node", by="stella", vid=0, node_num=1, node_ids=[13])
    after = volume.conf.volumes["V1"]
    assert (after.nodes, after.num_master_nodes) == ((11, 12, 13), 2)
    assert _reserved(volume, 13) == _reserved(volume, 11) == [100 << 20]
    assert segment_directory(volume.host(13), "V1").is_dir()


def test_increase_reserves_only_where_it_is_new(volume: Stage) -> None:
    """Nodes that the volume has already need no further space."""
    files = files_below(volume.root)
    volume.run("st_volume_increase_redundancy", vname="V1", delta=1)
    assert volume.conf.volumes["V1"].redundancy == 2
    assert files_below(volume.root) == files
    volume.run("st_volume_increase_redundancy", vname="V1", delta=1, nodes=[13])
    assert (volume.conf.volumes["V1"].redundancy, _reserved(volume, 13)) == (3, [100 << 20])
    volume.run("st_volume_decrease_redundancy", vname="V1", delta=2)
    assert (volume.conf.volumes["V1"].redundancy, volume.conf.volumes["V1"].nodes) == (1, (11,))
    assert _reserved(volume, 12) == _reserved(volume, 13) == []


def test_an_empty_segment_moves(volume: Stage) -> None:
    """Without data there is nothing to copy: the space changes its node, and databases that wait go along."""
    _database(volume)
    volume.run("st_volume_move_node", vname="V1", src_nodes=[11], dst_nodes=[13])
    assert volume.conf.volumes["V1"].nodes == (13, 12)
    assert volume.conf.databases["DB1"].nodes == (13, 11)
    assert (_reserved(volume, 11), _reserved(volume, 13)) == ([], [100 << 20])


def test_a_node_that_took_over_keeps_its_place(volume: Stage) -> None:
    """The volume follows a reserve node that is active already; the lost node stays the reserve node."""
    _database(volume)
    volume.put(msgspec.structs.replace(volume.conf.databases["DB1"], nodes=(13, 11)))
    volume.run("st_volume_move_node", vname="V1", src_nodes=[11], dst_nodes=[13])
    assert volume.conf.volumes["V1"].nodes == (13, 12)
    assert volume.conf.databases["DB1"].nodes == (13, 11)


def test_an_offline_source_is_left_behind(volume: Stage) -> None:
    """The source may be away; its space is a debt that is paid when it returns."""
    _database(volume)
    volume.states[12] = NodeState.OFFLINE
    ran = volume.run("st_volume_move_node", vname="V1", src_nodes=[12], dst_nodes=[13])
    assert [command.node for command in ran.settled] == [12]
    assert volume.conf.volumes["V1"].nodes == (11, 13)


@pytest.mark.parametrize(
    ("job", "given", "error", "message"),
    [
        ("append_node", {"node_num": 1, "node_ids": [12]}, StorageDuplicate, "n12 is part of volume"),
        ("append_node", {"node_num": 1, "node_ids": [99]}, NotFound, "no node '99'"),
        ("append_node", {"node_num": 2, "node_ids": [13]}, InvalidParameter, "node_num: 2 nodes"),
        ("append_node", {"node_num": 1, "node_ids": []}, InvalidParameter, "at least one node"),
        ("move_node", {"src_nodes": [11, 12], "dst_nodes": [13]}, InvalidParameter, "1 destinations for 2 sources"),
        ("move_node", {"src_nodes": [13], "dst_nodes": [11]}, StorageNotFound, "n13 has no segment"),
        ("move_node", {"src_nodes": [11], "dst_nodes": [12]}, StorageDuplicate, "n12 is part"),
        ("increase_redundancy", {"delta": 2}, InvalidParameter, "redundancy 3 needs as many nodes"),
        ("increase_redundancy", {"delta": 0}, InvalidParameter, "minimum of 1"),
        ("decrease_redundancy", {"delta": 1}, InvalidParameter, "at most 0 can go"),
    ],
)
def test_refusals(volume: Stage, job: str, given: dict[str, Any], error: type[Exception], message: str) -> None:
    """A bad call changes neither configuration nor nodes and says what is wrong."""
    conf, files = volume.conf, files_below(volume.root)
    with pytest.raises(error, match=message):
        volume.run(f"st_volume_{job}", vname="V1", **given)
    assert volume.conf is conf
    assert files_below(volume.root) == files


def test_space_and_nodes_have_to_be_there(volume: Stage) -> None:
    """A full disk and a node that is away leave nothing behind."""
    volume.run("st_volume_create", **_new(name="V2", size="950 MiB", nodes=[13]))
    files = files_below(volume.root)
    for job, given in (
        ("append_node", {"node_num": 1, "node_ids": [13]}),
        ("move_node", {"src_nodes": [12], "dst_nodes": [13]}),
        ("increase_redundancy", {"delta": 1, "nodes": [13]}),
    ):
        with pytest.raises(InsufficientSpace, match="disk disk1 of n13"):
            volume.run(f"st_volume_{job}", vname="V1", **given)
    volume.states[13] = NodeState.OFFLINE
    with pytest.raises(NodeOffline, match="n13"):
        volume.run("st_volume_append_node", vname="V1", node_num=1, node_ids=[13])
    assert files_below(volume.root) == files


def test_data_that_nobody_copies_stays(volume: Stage) -> None:
    """Data of a stopped or deleted database does not move, and the newest copy is not given up."""
    (segment_directory(volume.host(11), "V1") / "left").write_text("rows")
    with pytest.raises(WrongState, match="n11 holds data that no database uses"):
        volume.run("st_volume_move_node", vname="V1", src_nodes=[11], dst_nodes=[13])
    _database(volume, system_id="s", generation="g", primary=12)
    with pytest.raises(WrongState, match=r"database DB1 is stopped .* start it with db_start"):
        volume.run("st_volume_move_node", vname="V1", src_nodes=[11], dst_nodes=[13])
    volume.run("st_volume_increase_redundancy", vname="V1", delta=1)
    with pytest.raises(WrongState, match="n12 holds the newest data of database DB1"):
        volume.run("st_volume_decrease_redundancy", vname="V1", delta=1)


@pytest.mark.parametrize("shared_with_data", [False, True])
def test_snapshots_are_not_given_up(volume: Stage, shared_with_data: bool) -> None:
    """They have no other copy: neither a move nor fewer copies take a segment with some, be there data beside or not."""
    _database(volume)
    known = volume.conf.databases["DB1"]
    volume.put(
        msgspec.structs.replace(
            known, snapshot_volume="V1", data_volume="V1" if shared_with_data else "Data", num_active_nodes=1
        )
    )
    shelf = put_snapshot(volume, 12, "V1", Location("DB1", 1, 0, 0, "202108121809"))
    with pytest.raises(InUse, match="n12 has snapshots of database DB1; delete"):
        volume.run("st_volume_move_node", vname="V1", src_nodes=[12], dst_nodes=[13])
    volume.run("st_volume_increase_redundancy", vname="V1", delta=1)
    with pytest.raises(InUse, match="n12 has snapshots of database DB1"):
        volume.run("st_volume_decrease_redundancy", vname="V1", delta=1)
    volume.states[12] = NodeState.OFFLINE
    with pytest.raises(NodeOffline, match="n12"):
        volume.run("st_volume_decrease_redundancy", vname="V1", delta=1)
    volume.states[12] = NodeState.ONLINE
    shutil.rmtree(shelf)
    volume.run("st_volume_decrease_redundancy", vname="V1", delta=1)
    assert volume.conf.volumes["V1"].nodes == (11,)


def test_archive_volumes_and_strangers(volume: Stage) -> None:
    """Archive volumes are refused; so is who does not administer storage."""
    volume.run("st_volume_create", **_new(name="A", type="archive"))
    with pytest.raises(Unsupported, match="A is an archive volume"):
        volume.run("st_volume_append_node", vname="A", node_num=1, node_ids=[13])
    with pytest.raises(PermissionDenied):
        volume.run("st_volume_append_node", by="ann", vname="V1", node_num=1, node_ids=[13])


def test_locks(volume: Stage) -> None:
    """A move claims volume, databases, space and destinations; appending only relies on the databases."""
    _database(volume)
    claimed = load()["st_volume_move_node"].locks(
        volume.conf, {"vid": None, "vname": "V1", "src_nodes": [11], "dst_nodes": [13]}
    )
    assert set(claimed) == {
        exclusive("volume", 0), exclusive("db", "DB1"), exclusive("space", "n13/disk1"), shared("node", 13)
    }  # fmt: skip
    claimed = load()["st_volume_append_node"].locks(volume.conf, {"vid": 0, "vname": None, "node_ids": [13]})
    assert shared("db", "DB1") in claimed
