"""Jobs that change what a database is, without servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import msgspec
import pytest

from confd.cluster.identity import write_private
from confd.exaconf import Database
from confd.model.errors import InUse, InvalidParameter, NodeError, NotFound, WrongState
from confd.model.sizes import Bytes
from confd.model.states import DatabaseState, NodeState
from confd.services.backup.location import Location
from confd.services.backup.order import BackupOrder
from confd.services.database.definition import Wishes, check_heap, remarks
from confd.services.database.record import PREFIX, Record, Wanted
from confd.services.database.supervision.supervision import Supervision
from confd.services.etcd.members import RECORD as ETCD
from tests.jobs.stage import Stage
from tests.jobs.test_database_schedules import database, volume


class Keeper:
    """The supervision of one stopped database; each change of its record is made, and then reported as failed."""

    def __init__(self, stage: Stage, record: Record) -> None:
        self.stage, self.breaks = stage, True
        self._write(record)

    def record(self, name: str) -> Record:
        """Return the record."""
        return msgspec.convert(self.stage.records[PREFIX + name], Record)

    def observe(self, name: str) -> SimpleNamespace:
        """Return a stopped database."""
        return SimpleNamespace(state=DatabaseState.SETUP, record=self.record(name))

    def set_create_new(self, name: str, create_new: bool) -> bool:
        """Set the flag."""
        before = self.record(name)
        self._write(msgspec.structs.replace(before, create_new=create_new))
        self._fail_once()
        return before.create_new

    def suspend(self, name: str, nodes: list[int], vouched: Sequence[int] = ()) -> None:
        """Take nodes away."""
        known = self.record(name)
        suspended = tuple(sorted({*known.suspended, *nodes}))
        self._write(msgspec.structs.replace(known, suspended=suspended, vouched=tuple(vouched)))
        self._fail_once()

    def resume(self, name: str, nodes: list[int]) -> None:
        """Give nodes back."""
        known = self.record(name)
        self._write(
            msgspec.structs.replace(known, suspended=tuple(node for node in known.suspended if node not in nodes))
        )

    def await_hand_over(self, name: str, within: float, canceled: Callable[[], bool]) -> bool:
        """Say that it is done."""
        return True

    def _write(self, record: Record) -> None:
        self.stage.records = {**self.stage.records, PREFIX + "DB1": msgspec.to_builtins(record)}

    def _fail_once(self) -> None:
        if self.breaks:
            self.breaks = False
            raise NodeError("the answer got lost")


def site(stage: Stage, record: Record) -> Keeper:
    """Put a stopped database on the stage."""
    stage.put(volume("Data", 0), msgspec.structs.replace(database(), nodes=(11, 12, 13), num_active_nodes=1))
    keeper = Keeper(stage, record)
    stage.services[Supervision] = keeper
    return keeper


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_a_failed_job_leaves_create_new_as_it_was(stage: Stage, before: bool, wanted: bool) -> None:
    """Above all, clearing a flag that was not set never sets it: the next start would make the database empty."""
    keeper = site(stage, Record(create_new=before))
    with pytest.raises(NodeError):
        stage.run("db_configure", db_name="DB1", create_new_db=wanted)
    assert keeper.record("DB1").create_new is before
    stage.run("db_configure", db_name="DB1", create_new_db=wanted)
    assert keeper.record("DB1").create_new is wanted


def test_a_failed_job_leaves_suspended_nodes_suspended(stage: Stage) -> None:
    """A node that was suspended before, for it may be dead, is not given back by the undo of another suspension."""
    keeper = site(stage, Record(suspended=(13,)))
    with pytest.raises(NodeError):
        stage.run("db_suspend_nodes", db_name="DB1", node_list=["n12", "n13"])
    assert keeper.record("DB1").suspended == (13,)


@pytest.mark.parametrize("taker", ["DB1", "DB2"])
def test_a_database_does_not_lie_among_snapshots(stage: Stage, taker: str) -> None:
    """Neither a new one nor one that is given another volume, be the snapshots its own or those of another one."""
    site(stage, Record())
    stage.put(volume("Snaps", 2), msgspec.structs.replace(stage.conf.databases["DB1"], snapshot_volume="Snaps"))
    if taker == "DB2":
        stage.put(
            msgspec.structs.replace(stage.conf.databases["DB1"], snapshot_volume=None),
            database("DB2", snapshot_volume="Snaps"),
        )
    before = stage.conf
    with pytest.raises(InUse, match=f"'Snaps' takes the snapshots of database {taker}"):
        stage.run("db_configure", db_name="DB1", data_volume_name="Snaps")
    with pytest.raises(InUse, match=f"'Snaps' takes the snapshots of database {taker}"):
        stage.run(
            "db_create", db_name="DB3", data_volume_id=2, mem_size="1 GiB", nodes=[11, 12], num_active_nodes=2,
            version="18",
        )  # fmt: skip
    assert stage.conf is before


def test_a_lost_backup_does_not_keep_its_node(stage: Stage) -> None:
    """Where a backup works nothing is suspended; a node that is away is declared dead at once, others go at any time."""
    location = Location("DB1", 1, 0, 0, "202108121809")
    order = BackupOrder(node=11, volume="Archive", volume_id=1, location=location, began=1.0)
    # Another node is the primary by now.
    keeper = site(stage, Record(wanted=Wanted.RUNNING, primary=12, backup=order, operation="backup"))
    keeper.breaks = False
    with pytest.raises(WrongState, match=r"backup of database DB1 runs on n11; .* db_backup_abort"):
        stage.run("db_suspend_nodes", db_name="DB1", node_list=["n11"])
    stage.run("db_suspend_nodes", db_name="DB1", node_list=["n13"])
    stage.states[11] = NodeState.OFFLINE
    stage.run("db_suspend_nodes", db_name="DB1", node_list=["n11"])
    assert keeper.record("DB1").suspended == (11, 13)


def test_the_disk_of_the_cache_has_to_be_there(stage: Stage) -> None:
    """An unknown disk is refused and changes nothing; of a known one it is said what it is good for."""
    site(stage, Record())
    with pytest.raises(NotFound, match="n11 has no disk 'disk9'; it has disk1"):
        stage.run("db_configure", db_name="DB1", cache_volume_disk="disk9:7 GiB")
    assert stage.conf.databases["DB1"].cache_volume_disk is None
    ran = stage.run("db_configure", db_name="DB1", cache_volume_disk="disk1:7 GiB")
    assert ran.warnings == ["cache_volume_disk is kept; it is used only by databases on object volumes"]


def test_a_port_that_another_database_has(stage: Stage) -> None:
    """It is said where it is set, since only one of both can run; not of databases on other nodes."""
    first, second = database("DB1"), database("DB2")
    stage.put(first, second)
    assert "port of database DB2" in next(remarks(stage.conf, first, Wishes(port=8563)))
    assert not list(remarks(stage.conf, first, Wishes()))
    apart = Database(
        name="DB3", id="z", version="18", mem_size=Bytes(1 << 30), nodes=(13,), num_active_nodes=1, data_volume="Data"
    )
    assert not list(remarks(stage.conf, apart, Wishes(port=8563)))


@pytest.mark.parametrize("text", ["0 B", "200 GiB", "7"])
def test_a_heap_that_cannot_be(text: str) -> None:
    """Nothing, more than the maximum and a number without unit are refused."""
    with pytest.raises(InvalidParameter):
        check_heap(text)
    check_heap("default")
    check_heap("128 GiB")


@pytest.mark.parametrize(
    ("port", "holder"),
    [(3250, "CoredPort"), (20003, "XMLRPCPort"), (22, "SSHPort"), (2379, "etcd"), (2380, "etcd")],
)
def test_ports_of_the_nodes_themselves_are_refused(stage: Stage, port: int, holder: str) -> None:
    """What the daemon, SSH and etcd listen on is refused when it is said, not when the database starts."""
    site(stage, Record())
    stage.records[ETCD] = {"binary": "/usr/bin/etcd", "port": 2379, "token": "t"}
    stage.put(volume("Other", 1))
    before = stage.conf
    with pytest.raises(InvalidParameter, match=rf"^port: {port} is .*{holder}.*; give another one"):
        stage.run("db_configure", db_name="DB1", port=port)
    with pytest.raises(InvalidParameter, match=rf"^port: {port} is .*{holder}.*; give another one"):
        stage.run("db_create", db_name="DB2", version="18", data_volume_name="Other", mem_size="1 GiB", port=port,
                  nodes=[11, 12, 13], num_active_nodes=3)  # fmt: skip
    assert stage.conf is before
    stage.run("db_configure", db_name="DB1", port=8564)
    with pytest.raises(InvalidParameter, match="8564"):
        stage.run("general_settings", changes={"Global": {"XMLRPCPort": 8564}})
    with pytest.raises(InvalidParameter, match="2380 is a port of etcd"):
        stage.run("general_settings", changes={"Global": {"XMLRPCPort": 2380}})


def test_a_keytab_goes_with_its_database(stage: Stage) -> None:
    """From every node that says it has one, also from one that is none of the database's."""
    site(stage, Record())
    stage.put(msgspec.structs.replace(stage.conf.databases["DB1"], nodes=(11, 12)))
    for node in (11, 13):
        write_private(stage.host(node).path("/exa/etc/DB1-keytab"), b"keytab")
    assert {command.node for command in stage.run("db_delete", db_name="DB1").settled} >= {11, 13}
    assert [node for node in stage.nodes if stage.host(node).path("/exa/etc/DB1-keytab").exists()] == []
