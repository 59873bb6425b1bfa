"""The result of db_info."""

from __future__ import annotations

import msgspec
import pytest

from confd.exaconf import BackupSchedule, Database, Volume, VolumeType
from confd.model.secret import Secret
from confd.model.sizes import Bytes
from confd.model.states import DatabaseState
from confd.services.backup.order import RestoreOrder, VirtualOrder
from confd.services.database.description import connection_string, describe_database
from confd.services.database.observed import Instance, InstanceState, Role, Usage
from confd.services.database.record import Record
from confd.services.database.supervision.observation import Observation

DATABASE = Database(
    name="DB1",
    id="x",
    version="8.32.0",
    mem_size=Bytes(2 << 30),
    nodes=(11, 12, 13),
    num_active_nodes=2,
    data_volume="DataVolume1",
    default_sys_passwd_hash=Secret("hash"),
    backups={"weekly": BackupSchedule(name="weekly", volume="10001", expire="1w 3d")},
)
VOLUME = Volume(
    name="DataVolume1",
    type=VolumeType.DATA,
    size=Bytes(10 << 30),
    disk="disk1",
    nodes=(11, 12),
    redundancy=2,
    id=0,
)
ADDRESSES = {11: "192.168.31.171", 12: "192.168.31.172", 13: "192.168.31.173"}


def seen(state: DatabaseState, missing: tuple[int, ...] = (), temporary: int | None = None) -> Observation:
    """What a supervisor would see."""
    running = state is DatabaseState.RUNNING
    instances: tuple[Instance, ...] = ()
    return Observation(state, running, Record(temporary_volume=temporary), instances, missing, "")


def test_running() -> None:
    """The sample of the domain facts, for two nodes."""
    usage = {11: Usage(7036735, 0), 12: Usage(7036735, 0)}
    shown = describe_database(DATABASE, VOLUME, seen(DatabaseState.RUNNING, temporary=1), usage, ADDRESSES)
    config = shown.pop("config")
    assert shown == {
        "connectible": "Yes",
        "connection string": "192.168.31.171..172:8563",
        "info": "",
        "name": "DB1",
        "nodes": {"active": ["n11", "n12"], "failed": [], "reserve": ["n13"]},
        "operation": "None",
        "persistent volume": "DataVolume1",
        "quota": 0,
        "state": "running",
        "temporary volume": "v0001",
        "usage persistent": [
            {"host": "n11", "size": "10 GiB", "used": "6.7108 MiB", "volume id": "0"},
            {"host": "n12", "size": "10 GiB", "used": "6.7108 MiB", "volume id": "0"},
        ],
        "usage temporary": [
            {"host": "n11", "size": "1 GiB", "used": "0 B", "volume id": "1"},
            {"host": "n12", "size": "1 GiB", "used": "0 B", "volume id": "1"},
        ],
    }
    assert config["owner"] == [500, 500]
    assert config["jdbc"] == {
        "bucketfs": "bfsdefault",
        "bucket": "default",
        "dir": "drivers/jdbc",
        "additional_urls": [],
    }
    assert config["backups"]["weekly"]["expire"] == "1w 3d"
    assert config["mem_size"] == "2 GiB"
    assert config["default_sys_passwd_hash"] == "***"


def test_stopped() -> None:
    """Both usages are 0, there is no temporary volume, nobody can connect."""
    shown = describe_database(DATABASE, VOLUME, seen(DatabaseState.SETUP), {}, ADDRESSES, "AB" * 32)
    assert (shown["connectible"], shown["temporary volume"]) == ("No", "None")
    assert shown["usage persistent"] == shown["usage temporary"] == 0
    assert shown["certificate fingerprint"] == "AB" * 32


def test_failed_node() -> None:
    """A missing instance is listed as failed and named in the info text."""
    shown = describe_database(DATABASE, VOLUME, seen(DatabaseState.RUNNING, (12,)), {}, ADDRESSES)
    assert shown["nodes"] == {"active": ["n11"], "failed": ["n12"], "reserve": ["n13"]}
    assert shown["info"] == "1 segments of the database volume are not online (missing redundancy)"
    assert shown["connection string"] == "192.168.31.171:8563"


def test_a_node_whose_payload_is_elsewhere() -> None:
    """Where it resides is told as documented; while that node is away, also what that means and what ends it."""
    replaced = msgspec.structs.replace(DATABASE, nodes=(11, 13, 12))
    shown = describe_database(replaced, VOLUME, seen(DatabaseState.RUNNING), {}, ADDRESSES)
    assert shown["info"] == "Payload of database node 13 resides on volume master node 12."
    assert shown["nodes"]["active"] == ["n11", "n13"]
    assert shown["connection string"] == "192.168.31.171..172:8563"
    away = msgspec.structs.replace(seen(DatabaseState.RUNNING, (12,)), unavailable=(12,))
    shown = describe_database(replaced, VOLUME, away, {}, ADDRESSES)
    assert shown["info"].startswith("Payload of database node 13 resides on volume master node 12. n12 is offline")
    assert "n13 serves nothing until it returns, or its segment has moved" in shown["info"]


def test_what_is_opened_is_reached_on_its_node() -> None:
    """A backup that is open for reading is served by one node only."""
    record = Record(virtual=VirtualOrder(12, "g", RestoreOrder(
        id="i", volume="V", volume_id=1, database="DB1", level=0, chain=(),
    )))  # fmt: skip
    shown = describe_database(
        DATABASE, VOLUME, msgspec.structs.replace(seen(DatabaseState.RUNNING), record=record), {}, ADDRESSES
    )
    assert shown["connection string"] == "192.168.31.172:8563"


def test_a_quota_that_is_reached_is_told() -> None:
    """Why sessions are read-only, and what ends it; a quota below 1 GiB does not look like none."""
    limited = msgspec.structs.replace(DATABASE, volume_quota=Bytes(512 << 20))
    full = Instance(node=11, state=InstanceState.READY, role=Role.PRIMARY, read_only=True)
    now = msgspec.structs.replace(seen(DatabaseState.RUNNING), record=Record(primary=11), instances=(full,))
    shown = describe_database(limited, VOLUME, now, {}, ADDRESSES)
    assert shown["quota"] == 0.5
    assert shown["info"].startswith("The quota of 512 MiB is reached: only sys can write")
    whole = msgspec.structs.replace(DATABASE, volume_quota=Bytes(3 << 30))
    shown = describe_database(whole, VOLUME, seen(DatabaseState.RUNNING), {}, ADDRESSES)
    assert (shown["quota"], shown["info"]) == (3, "")


def test_maintenance_is_told() -> None:
    """Users who are refused can be told why."""
    closed = msgspec.structs.replace(seen(DatabaseState.RUNNING), record=Record(maintenance=True))
    assert "only sys gets in" in describe_database(DATABASE, VOLUME, closed, {}, ADDRESSES)["info"]


@pytest.mark.parametrize(
    ("addresses", "text"),
    [
        (["10.50.1.11"], "10.50.1.11:1"),
        ([f"10.50.1.{last}" for last in (14, 11, 12, 13)], "10.50.1.11..14:1"),
        (["10.50.1.11", "10.50.1.12", "10.50.1.20"], "10.50.1.11..12,10.50.1.20:1"),
        (["10.50.1.255", "10.50.2.0"], "10.50.1.255,10.50.2.0:1"),
    ],
)
def test_connection_string(addresses: list[str], text: str) -> None:
    """Neighbours are shortened within the last number only."""
    assert connection_string(addresses, 1) == text
