"""Jobs of volumes on real directories: state in, run, state out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from confd.cluster.operations import Command
from confd.exaconf import Database, RemoteVolume, Volume, VolumeType
from confd.model.errors import (
    AlreadyExists,
    InsufficientSpace,
    InUse,
    InvalidParameter,
    NodeOffline,
    NotFound,
    PermissionDenied,
    Unsupported,
)
from confd.model.sizes import Bytes
from confd.model.states import NodeState
from confd.scheduler.locks import exclusive
from confd.scheduler.registry import load
from confd.services.database.record import Record, Wanted
from confd.services.storage.segments import segment_directory
from confd.services.storage.superblock import Allocated, Allocation, write_allocation
from tests.jobs.stage import GIB, MIB, Stage, files_below


def _new(**more: Any) -> dict[str, Any]:
    return {
        "name": "V1", "type": "data", "disk": "disk1", "size": "100 MiB", "nodes": [11, 12], "redundancy": 2, **more
    }  # fmt: skip


def _database(stage: Stage, *, running: bool = False, **more: Any) -> None:
    fields: dict[str, Any] = {
        "name": "DB1", "id": "x", "version": "18", "mem_size": Bytes(GIB), "nodes": (11, 12), "num_active_nodes": 2,
        "data_volume": "V1", **more,
    }  # fmt: skip
    stage.put(Database(**fields))
    record = Record(wanted=Wanted.RUNNING if running else Wanted.STOPPED, primary=11, temporary_volume=7)
    stage.records["database/DB1"] = msgspec.to_builtins(record)


def _fill_behind(stage: Stage, home: Path, allocation: Allocation) -> None:
    """Have a device run full between the look at it and the reservation."""
    call = stage.call

    def late(command: Command[Any], timeout: float = 60.0) -> Any:
        answer = call(command, timeout)
        if (command.name, command.node) == ("storage.device_status", 12):
            write_allocation(home, allocation)
        return answer

    stage.call = late  # type: ignore[method-assign]


def _free(stage: Stage) -> list[str]:
    return [node["hdd_free_space"]["disk1"] for node in stage.run("st_node_list").result.values()]


def test_create_reserves_a_data_volume_on_every_node(stage: Stage) -> None:
    """A data volume gets an id, a directory and its whole size on each of its nodes."""
    full = _free(stage)
    assert stage.run("st_volume_create", **_new()).result == {"vid": 0}
    assert stage.run("st_volume_create", **_new(name="V2", nodes=[13], redundancy=1)).result == {"vid": 1}
    volume = stage.conf.volumes["V1"]
    assert (volume.id, volume.size, volume.num_master_nodes, volume.owner) == (0, 100 * MIB, 2, (500, 500))
    for node in (11, 12):
        directory = segment_directory(stage.host(node), "V1")
        assert directory.is_dir()
        assert directory.stat().st_mode & 0o777 == 0o711
    assert full == ["1013.76 MiB"] * 3
    assert _free(stage) == ["913.76 MiB"] * 3


def test_create_spreads_an_archive_volume(stage: Stage) -> None:
    """An archive volume takes size times redundancy over all its nodes, with the block size of archives."""
    stage.run("st_volume_create", **_new(type="archive", nodes=[11, 12, 13], size="300 MiB"))
    assert _free(stage) == ["813.76 MiB"] * 3
    volume = stage.conf.volumes["V1"]
    assert (volume.block_size, volume.stripe_size, volume.partition_size) == (65536, 65536, 4 * GIB)


def test_create_takes_all_options(stage: Stage) -> None:
    """Every option is kept; the size is filled up to whole blocks."""
    stage.run(
        "st_volume_create",
        **_new(
            type="archive", size="1.0001 MiB", owner=["ann", "exaadm"], num_master_nodes=1, block_size="512 KiB",
            stripe_size=1048576, partition_size="8 GiB", permissions="rwxr-x---", shared=False, priority=3,
        ),
    )  # fmt: skip
    volume = stage.conf.volumes["V1"]
    assert (volume.size, volume.owner, volume.num_master_nodes) == (3 * MIB // 2, (1001, 499), 1)
    assert (volume.block_size, volume.stripe_size, volume.partition_size) == (MIB // 2, MIB, 8 * GIB)
    assert (volume.permissions, volume.shared, volume.priority) == ("rwxr-x---", False, 3)


def test_a_data_volume_has_no_parts(stage: Stage) -> None:
    """Who gives their size all the same is told; the default is no reason to say anything."""
    told = stage.run("st_volume_create", **_new(partition_size="1 GiB")).warnings
    assert ["partition_size has no effect" in text for text in told] == [True]
    assert stage.run("st_volume_create", **_new(name="V2")).warnings == []


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"name": "taken"}, AlreadyExists, "a remote volume 'taken' already"),
        ({"name": "3"}, InvalidParameter, "cannot name a volume"),
        ({"name": "v0001"}, InvalidParameter, "given automatically"),
        ({"owner": [4711, 500]}, NotFound, "no user with id 4711"),
        ({"owner": ["ann", "nobody"]}, NotFound, "no group 'nobody'"),
        ({"owner": [500]}, InvalidParameter, "owner: .* is not an owner"),
        ({"type": "temporary"}, InvalidParameter, "not one of data, archive"),
        ({"size": "2 GiB"}, InsufficientSpace, "disk disk1 of n11 has 1013.76 MiB free, needed are 2 GiB"),
        ({"size": "100"}, InvalidParameter, "size: size '100' has no unit"),
        ({"size": "0 B"}, InvalidParameter, "is nothing"),
        ({"size": "big"}, InvalidParameter, "not a size"),
        ({"disk": "disk2"}, NotFound, "n11 has no disk 'disk2'; it has disk1"),
        ({"nodes": [11, 99]}, NotFound, "no node '99'"),
        ({"nodes": []}, InvalidParameter, "at least one node"),
        ({"nodes": [11, 11]}, InvalidParameter, "each once"),
        ({"redundancy": 3}, InvalidParameter, "3 copies need as many nodes"),
        ({"redundancy": 0}, InvalidParameter, "minimum of 1"),
        ({"num_master_nodes": 3}, InvalidParameter, "more than the 2 nodes"),
        ({"block_size": "1000 B"}, InvalidParameter, "multiple of 512"),
        ({"block_size": "1 MiB"}, InvalidParameter, "stripe_size: 256 KiB is not a multiple"),
        ({"type": "archive", "partition_size": "1 KiB"}, InvalidParameter, "1 KiB is less than the stripe size 64 KiB"),
        ({"priority": "21"}, InvalidParameter, "not a priority"),
        ({"permissions": "all"}, InvalidParameter, "no permissions"),
        ({"ftp_port": 2021}, InvalidParameter, "only archive volumes have ports"),
        ({"type": "archive", "ftp_port": 2021}, Unsupported, "leave ports out"),
    ],
)
def test_create_refuses(stage: Stage, given: dict[str, Any], error: type[Exception], message: str) -> None:
    """A bad call changes neither configuration nor nodes and says what is wrong."""
    stage.put(RemoteVolume(name="taken", type="s3", id=10001, url="https://b/"))  # type: ignore[arg-type]
    conf, files = stage.conf, files_below(stage.root)
    with pytest.raises(error, match=message):
        stage.run("st_volume_create", **_new(**given))
    assert stage.conf is conf
    assert files_below(stage.root) == files
    assert stage.records == {}


def test_create_needs_all_nodes(stage: Stage) -> None:
    """A node that is away makes the job fail with nothing left behind."""
    stage.states[12] = NodeState.OFFLINE
    files = files_below(stage.root)
    with pytest.raises(NodeOffline, match="n12 is offline"):
        stage.run("st_volume_create", **_new())
    assert files_below(stage.root) == files


def test_create_goes_back_when_a_node_fails_in_between(stage: Stage) -> None:
    """What one node reserved is given back when another one fails."""
    home = stage.host(12).path("/exa/data/storage/dev.1")
    full = Allocation({99: Allocated("other", GIB - 20 * MIB, "11.0")})
    stage.run("st_volume_create", **_new(name="V0", nodes=[11], redundancy=1))
    files = files_below(stage.root / "n11")
    _fill_behind(stage, home, full)
    with pytest.raises(InsufficientSpace, match=r"device dev.1"):
        stage.run("st_volume_create", **_new())
    assert files_below(stage.root / "n11") == files


def test_create_plans_without_effect(stage: Stage) -> None:
    """A dry run lists one command per node and checks the free space as it is."""
    files = files_below(stage.root)
    planned = stage.plan("st_volume_create", **_new())
    assert [(command.name, command.node) for command in planned.commands] == [
        ("storage.create_segment", 11), ("storage.create_segment", 12)
    ]  # fmt: skip
    assert list(planned.changes) == ["EXAVolume : V1"]
    assert files_below(stage.root) == files
    with pytest.raises(InsufficientSpace):
        stage.plan("st_volume_create", **_new(size="2 GiB"))


def test_delete_frees_the_space(stage: Stage) -> None:
    """A deleted volume is gone from configuration and nodes; its id is not used again."""
    full = _free(stage)
    stage.run("st_volume_create", **_new())
    ran = stage.run("st_volume_delete", vname="V1")
    assert [command.name for command in ran.settled] == ["storage.delete_segment"] * 2
    assert "V1" not in stage.conf.volumes
    assert _free(stage) == full
    assert not list(stage.root.rglob("segments/0"))
    assert stage.run("st_volume_create", **_new()).result == {"vid": 1}


def test_delete_only_plans_before_the_commit(stage: Stage) -> None:
    """Nothing is destroyed while the job can still go back."""
    stage.run("st_volume_create", **_new())
    files = files_below(stage.root)
    planned = stage.plan("st_volume_delete", vid=0)
    assert [command.node for command in planned.commands] == [11, 12]
    assert planned.changes == {"EXAVolume : V1": None}
    assert files_below(stage.root) == files


def test_delete_refuses(stage: Stage) -> None:
    """Unknown volumes, volumes in use and other people's volumes are kept."""
    stage.run("st_volume_create", **_new(owner=["ann", "exausers"]))
    with pytest.raises(NotFound, match="no volume 'V2'; known: V1"):
        stage.run("st_volume_delete", vname="V2")
    with pytest.raises(NotFound, match="no volume with id 5"):
        stage.run("st_volume_delete", vid=5)
    with pytest.raises(NotFound, match="remote_volume_list"):
        stage.run("st_volume_delete", vid=10001)
    with pytest.raises(PermissionDenied, match="'stella' does not own volume 'V1'"):
        stage.run("st_volume_delete", by="stella", vname="V1")
    with pytest.raises(InvalidParameter, match="both are given"):
        stage.run("st_volume_delete", vname="V1", vid=0)
    _database(stage)
    with pytest.raises(InUse, match="used by database DB1; delete the database first"):
        stage.run("st_volume_delete", vid=0)
    assert "V1" in stage.conf.volumes


def test_delete_is_done_by_owner_and_administrators(stage: Stage) -> None:
    """The owner among the storage administrators, and any administrator, may delete."""
    stage.run("st_volume_create", **_new(owner=["stella", "exausers"]))
    stage.run("st_volume_delete", by="stella", vname="V1")
    stage.run("st_volume_create", **_new())
    stage.run("st_volume_delete", by="admin", vname="V1")


def test_names_and_ids_lock_the_same_volume(stage: Stage) -> None:
    """A volume has one lock, however it was named; an unknown one is no error."""
    stage.run("st_volume_create", **_new())
    job = load()["st_volume_delete"]
    assert job.locks(stage.conf, {"vid": None, "vname": "V1"}) == (exclusive("volume", 0),)
    assert job.locks(stage.conf, {"vid": 0, "vname": None}) == (exclusive("volume", 0),)
    assert job.locks(stage.conf, {"vid": None, "vname": "nix"}) == (exclusive("volume", "nix"),)


def test_info_is_the_documented_dictionary(stage: Stage) -> None:
    """Fields and their types are those of the catalogue."""
    stage.run("st_volume_create", **_new(nodes=[11], redundancy=1))
    assert stage.run("st_volume_info", vname="V1").result == {
        "app_io_enabled": True, "block_distribution": "vertical", "block_size": "4 KiB", "bytes_per_block": 4096,
        "group": 500, "hdd_type": "disk1", "hdds_per_node": 1, "id": "0", "int_io_enabled": True,
        "labels": ["#Name#V1"], "name": "V1", "nodes_list": [{"id": 11, "unrecovered_segments": 0}],
        "num_master_nodes": 1, "owner": 500, "permissions": "rwx------", "priority": 10, "redundancy": 1,
        "segments": [
            {
                "end_block": "25599", "index": "0", "nid": 0, "partitions": [], "phys_nid": 11, "sid": "0",
                "start_block": "0", "state": "ONLINE", "type": "MASTER", "vid": "0",
            }
        ],
        "shared": True, "size": "100 MiB", "snapshots": [], "state": "ONLINE", "stripe_size": "256 KiB",
        "type": "MASTER", "unlock_conditions": [], "use_crc": True, "users": [], "volume_nodes": [11],
    }  # fmt: skip
    assert stage.run("st_volume_info", vid=0).result["name"] == "V1"
    assert list(stage.run("st_volume_info", vid="all_volumes").result) == ["0"]
    with pytest.raises(NotFound, match="no volume with id 9"):
        stage.run("st_volume_info", vid=9)
    with pytest.raises(NotFound, match="no volume 'nix'"):
        stage.run("st_volume_info", vname="nix")


def test_list_has_temporary_volumes_of_running_databases(stage: Stage) -> None:
    """A running database shows up as user of its volume and with its temporary volume."""
    stage.run("st_volume_create", **_new())
    _database(stage)
    (stopped,) = stage.run("st_volume_list").result
    assert (stopped["labels"], stopped["users"]) == (["#Name#V1", "pub:DB1_persistent"], [])
    _database(stage, running=True)
    data, temporary = stage.run("st_volume_list").result
    assert (data["users"], data["block_size"], data["stripe_size"]) == ([[30, False]], 4096, 262144)
    assert (temporary["id"], temporary["name"], temporary["size"]) == ("7", "v0007", "1 GiB")
    assert temporary["labels"] == ["temporary", "pub:DB1_temporary"]
    assert temporary["volume_nodes"] == [11, 12]
    assert stage.run("st_volume_info", vid=7).result["name"] == "v0007"
    with pytest.raises(NotFound):
        stage.run("st_volume_delete", vid=7)


def test_states_follow_the_nodes(stage: Stage) -> None:
    """A volume is degraded while copies are left, locked when data is missing, online again afterwards."""
    stage.run("st_volume_create", **_new())
    stage.states[12] = NodeState.OFFLINE
    info = stage.run("st_volume_info", vid=0).result
    assert (info["state"], [part["state"] for part in info["segments"]]) == ("DEGRADED", ["ONLINE", "OFFLINE"])
    assert info["nodes_list"][1] == {"id": 12, "unrecovered_segments": 1}
    stage.states[11] = NodeState.SUSPENDED
    info = stage.run("st_volume_info", vid=0).result
    assert (info["state"], info["unlock_conditions"]) == ("LOCKED", ["n11 is back", "n12 is back"])
    stage.states = dict.fromkeys(stage.states, NodeState.ONLINE)
    assert stage.run("st_volume_info", vid=0).result["state"] == "ONLINE"


def test_node_list_describes_disks(stage: Stage) -> None:
    """Storage nodes are listed by logical number; one that is away has no free space."""
    stage.states[13] = NodeState.OFFLINE
    nodes = stage.run("st_node_list").result
    assert list(nodes) == ["0", "1", "2"]
    first = nodes["0"]
    assert (first["name"], first["nid"], first["phys_nid"], first["state"]) == ("n11", 0, 11, "ONLINE")
    assert first["hdd_free_space"] == {"disk1": "1013.76 MiB"}
    assert first["hdds"][0]["name"] == "/exa/data/storage/dev.1"
    assert first["hdds"][0]["type"] == "disk1"
    assert (nodes["2"]["state"], nodes["2"]["hdds"][0]["state"]) == ("OFFLINE", "OFFLINE")
    assert nodes["2"]["hdd_free_space"] == {"disk1": "0 B"}


def test_volume_of_a_file_without_id_is_listed(stage: Stage) -> None:
    """A volume of an older file that has no id is shown by its name."""
    stage.put(Volume(name="old", type=VolumeType.DATA, size=Bytes(MIB), disk="disk1", nodes=(11,)))
    assert [volume["id"] for volume in stage.run("st_volume_list").result] == [""]
    assert stage.run("st_volume_info", vname="old").result["name"] == "old"
