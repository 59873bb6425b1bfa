"""Taking in files edited by hand, and going back."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from confd.exaconf import Conf, Database, ExaStorage, Group, Volume, VolumeType, render, to_stored
from confd.model.errors import Conflict, InUse, InvalidParameter, NotFound, WrongState
from confd.model.secret import Vault
from confd.model.sizes import Bytes
from confd.model.states import DatabaseState
from confd.scheduler.locks import Lock
from confd.scheduler.registry import load
from confd.services.database.record import Record
from confd.services.database.supervision.supervision import Supervision
from confd.store.protocol import Kind
from confd.store.records import Finished
from confd.store.sqlite import SqliteStore
from tests.jobs.stage import Stage
from tests.jobs.test_database_schedules import database, volume

VOLUME = Volume(name="V1", type=VolumeType.DATA, size=Bytes(2**20), disk="disk1", nodes=(11,), id=0)


def _file(stage: Stage, old: str = "", new: str = "", checksum: str | None = "COMMIT") -> str:
    text = render(stage.conf.sections, stage.conf.revision, checksum)
    assert old in text
    return text.replace(old, new, 1) if old else text


def test_commit_takes_in_what_was_edited(stage: Stage) -> None:
    """Changed, new and removed sections become the next revision; comments stay."""
    stage.run("group_create", groupname="readers", groupid=44)
    text = _file(stage, "SpaceWarnThreshold = 90", "SpaceWarnThreshold = 80 # since May")
    text = text.replace("[[readers]]\n        ID = 44", "[[editors]]\n        ID = 45")
    assert sorted(stage.run("exaconf_commit", text=text).result) == [
        "EXAStorage",
        "Groups : editors",
        "Groups : readers",
    ]
    assert stage.conf.storage.space_warn_threshold == 80
    assert "editors" in stage.conf.groups
    assert "readers" not in stage.conf.groups
    assert "# since May" in _file(stage)


def test_commit_without_changes(stage: Stage) -> None:
    """A file that says what is so already makes no revision."""
    assert stage.run("exaconf_commit", text=_file(stage, checksum=None)).result == []
    assert stage.conf.revision == 1


@pytest.mark.parametrize(
    ("old", "new", "checksum", "error", "message"),
    [
        ("Threshold = 90", "Threshold = 80", "0" * 32, InvalidParameter, "Integrity check failed!"),
        ("Threshold = 90", "Threshold = lots", "COMMIT", InvalidParameter, r"line \d+: .*SpaceWarnThreshold"),
        ("[EXAStorage]", "[EXAStorage", "COMMIT", InvalidParameter, "EXAConf"),
        ("Group = exaadm", "Group = nobody", "COMMIT", InvalidParameter, "nobody"),
        ("[Node : 13]", "[Node : 14]", "COMMIT", WrongState, r"\[Node : 13\] cannot be removed in the file"),
        ("Devices = dev.1", "Devices = dev.9", "COMMIT", WrongState, r"\[Node : 11\] disks cannot be changed"),
        ("Size = 1 MiB", "Size = 2 MiB", "COMMIT", WrongState, r"\[EXAVolume : V1\] size cannot be changed"),
        ("[EXAVolume : V1]", "[EXAVolume : V2]", "COMMIT", WrongState, "st_volume_delete"),
        (
            "CoredPort = 3250",
            "CoredPort = 3251",
            "COMMIT",
            WrongState,
            "cored_port cannot be changed in the file; every",
        ),
        ("XMLRPCPort = 20003", "XMLRPCPort = 3250", "COMMIT", InvalidParameter, "3250 is .*CoredPort as well"),
        (
            "    [[exadefusr]]\n        ID = 500",
            "    [[exadefusr]]\n        ID = 501",
            "COMMIT",
            WrongState,
            "id cannot be",
        ),
        ("    [[exaadm]]\n        ID = 499", "    [[exaadm]]\n        ID = 44", "COMMIT", WrongState, "id cannot be"),
        ("    [[exasaasusr]]", "    [[someone]]", "COMMIT", InvalidParameter, r"\[\[exasaasusr\]\]: is missing"),
        ("Timezone = Europe/Berlin", "Timezone = Mars/X", "COMMIT", InvalidParameter, "no time zone"),
        ("ConfVersion = ", "ConfVersion = 9", "COMMIT", InvalidParameter, "98.60.11"),
    ],
)
def test_commit_refuses(stage: Stage, old: str, new: str, checksum: str, error: type[Exception], message: str) -> None:
    """What was not edited on purpose, is out of date, does not fit or needs a job is refused as a whole."""
    stage.put(VOLUME)
    stage.conf = Conf(1, stage.conf.sections)
    before = stage.conf
    with pytest.raises(error, match=message):
        stage.run("exaconf_commit", text=_file(stage, old, new, checksum))
    assert stage.conf is before


def _database(stage: Stage, state: DatabaseState) -> None:
    stage.put(volume("Data", 0), database("DB1"))
    stage.conf = Conf(1, stage.conf.sections)
    stage.services[Supervision] = SimpleNamespace(
        observe=lambda name: SimpleNamespace(state=state), record=lambda name: Record()
    )


@pytest.mark.parametrize(
    ("old", "new", "state", "error", "message"),
    [
        ("Port = 8563", "Port = 8564", DatabaseState.RUNNING, WrongState, r"running; stop it .* in the file \(port\)"),
        ("Port = 8563", "Port = 8564", DatabaseState.STARTUP, WrongState, "state startup"),
        ("MemSize = 1 GiB", "MemSize = 1 MiB", DatabaseState.SETUP, InvalidParameter, "too little for 2 active nodes"),
        (
            "DataVolume = Data",
            "DataVolume = Data\n    LdapServers = http://x",
            DatabaseState.SETUP,
            InvalidParameter,
            "ldap_servers: .*http",
        ),
        (
            "DataVolume = Data",
            "DataVolume = Data\n    CacheVolumeDisk = x",
            DatabaseState.SETUP,
            InvalidParameter,
            "disk:size",
        ),
        (
            "DataVolume = Data",
            "DataVolume = Data\n    CacheVolumeDisk = d:1 GiB",
            DatabaseState.SETUP,
            NotFound,
            "no disk 'd'",
        ),
        (
            "DataVolume = Data",
            "DataVolume = Data\n    InitialSQL = x",
            DatabaseState.SETUP,
            InvalidParameter,
            "not an absolute path",
        ),
        ("Version = 18", "Version = 99", DatabaseState.SETUP, NotFound, "PostgreSQL 99"),
        ("PrivateNet = 127.0.0.11/8", "PrivateNet = 127.0.0.99/8", DatabaseState.SETUP, WrongState, "node_ip_batch"),
        (
            "DataVolume = Data",
            "DataVolume = Data\n    SnapshotVolume = Data",
            DatabaseState.SETUP,
            InUse,
            r"\[DB : DB1\] SnapshotVolume: 'Data' holds the data of database DB1",
        ),
        ("Name = n11", "Name = n11\n    State = suspended", DatabaseState.SETUP, WrongState, "node_suspend"),
    ],
)
def test_the_file_is_no_way_around_checks(
    stage: Stage, old: str, new: str, state: DatabaseState, error: type[Exception], message: str
) -> None:
    """What db_configure and node jobs refuse is refused in the file, too: a running database kept to its old port."""
    _database(stage, state)
    before = stage.conf
    with pytest.raises(error, match=message):
        stage.run("exaconf_commit", text=_file(stage, old, new))
    assert stage.conf is before


def test_the_port_of_etcd_is_refused_in_the_file(stage: Stage) -> None:
    """Members of etcd are no part of EXAConf; their ports are known all the same."""
    _database(stage, DatabaseState.SETUP)
    stage.records["cluster/etcd"] = {"binary": "", "port": 2379, "token": "t"}
    with pytest.raises(InvalidParameter, match=r"^\[DB : DB1\] Port: 2380 is a port of etcd"):
        stage.run("exaconf_commit", text=_file(stage, "Port = 8563", "Port = 2380"))


def test_the_file_may_change_what_no_server_was_started_with(stage: Stage) -> None:
    """Whether it starts with the cluster does not concern a database that runs; a stopped one may get all else."""
    _database(stage, DatabaseState.RUNNING)
    assert stage.run("exaconf_commit", text=_file(stage, "AutoStart = True", "AutoStart = False")).result == [
        "DB : DB1"
    ]
    _database(stage, DatabaseState.SETUP)
    assert stage.run("exaconf_commit", text=_file(stage, "Port = 8563", "Port = 8564")).result == ["DB : DB1"]
    assert stage.conf.databases["DB1"].port == 8564


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "Volume = Archive\n        Minute = every",
            InvalidParameter,
            "schedule nightly: minute: 'every' is no cron field",
        ),
        ("Volume = Archive\n        Day = 31\n        Month = 2", InvalidParameter, "never a day 31"),
        ("Volume = Archive\n        Expire = 9999999w", InvalidParameter, "more than a hundred years"),
        ("Volume = Data", InvalidParameter, "holds databases, not backups"),
        ("Volume = Nowhere", NotFound, "Nowhere"),
    ],
)
def test_schedules_in_the_file_can_run(stage: Stage, text: str, error: type[Exception], message: str) -> None:
    """What db_backup_add_schedule refuses is refused here, also of a database that runs; a good one is taken."""
    stage.put(volume("Archive", 1, VolumeType.ARCHIVE))
    _database(stage, DatabaseState.RUNNING)
    for body in (text, "Volume = 1\n        Minute = 5"):
        edited = _file(
            stage, "    [[JDBC]]", f"    [[Backup : nightly]]\n        Level = 0\n        {body}\n    [[JDBC]]"
        )
        if body is text:
            with pytest.raises(error, match=message):
                stage.run("exaconf_commit", text=edited)
            continue
        assert stage.run("exaconf_commit", text=edited).result == ["DB : DB1"]
    assert stage.conf.databases["DB1"].backups["nightly"].minute == "5"


def test_commit_refuses_an_edit_of_an_old_revision(stage: Stage) -> None:
    """An edit must not take back what was committed since."""
    text = _file(stage, "Threshold = 90", "Threshold = 80")
    stage.run("general_settings", changes={"Global": {"Hugepages": "host"}})
    with pytest.raises(Conflict, match="the file is of revision 1, the cluster is at 2") as caught:
        stage.run("exaconf_commit", text=text)
    for way in ("exaconf diff 1", "set 'Revision = 2'", "EXAConf.edited"):
        assert way in caught.value.message


def test_an_edit_of_an_old_revision_can_be_brought_up(stage: Stage) -> None:
    """What the refusal advises helps: with the changes since, and their revision, the file is taken in."""
    text = _file(stage, "Threshold = 90", "Threshold = 80")
    stage.run("general_settings", changes={"Global": {"Hugepages": "host"}})
    text = text.replace("Hugepages = 0", "Hugepages = host").replace("Revision = 1\n", "Revision = 2\n")
    assert stage.run("exaconf_commit", text=text).result == ["EXAStorage"]


def test_commit_refuses_an_old_copy(stage: Stage) -> None:
    """A whole file of an earlier revision is no edit."""
    text = _file(stage, checksum=None)
    stage.run("general_settings", changes={"Global": {"Hugepages": "host"}})
    with pytest.raises(InvalidParameter, match=r"unedited copy of revision 1.*exaconf_rollback"):
        stage.run("exaconf_commit", text=text)


def test_commit_refuses_a_port_that_is_taken(stage: Stage) -> None:
    """A port for clients that somebody listens on would keep the daemon from opening it at its next start."""
    with socket.create_server(("127.0.0.12", 0)) as other:
        port = other.getsockname()[1]
        # Nobody but this process can be asked here; on a cluster the daemon of the node is another one.
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InUse, match=f"port {port} of n12 .* is taken by"):
            patch.setattr("confd.services.nodes.ports.is_own", lambda address, port: False)
            stage.run("exaconf_commit", text=_file(stage, "XMLRPCPort = 20003", f"XMLRPCPort = {port}"))


def test_commit_refuses_new_databases(stage: Stage) -> None:
    """A database is more than its section."""
    database = Database(
        name="DB1", id="x" * 22, version="18", mem_size=Bytes(2**31), nodes=(11,), num_active_nodes=1, data_volume="V1"
    )
    text = render({**stage.conf.sections, database.key: database}, 1, "COMMIT")
    with pytest.raises(WrongState, match=r"\[DB : DB1\] cannot be added in the file; use the job db_create"):
        stage.run("exaconf_commit", text=text)


def test_commit_runs_alone_and_keeps_the_text_secret(stage: Stage) -> None:
    """No other modify job runs meanwhile; the file with its passwords is sealed in the journal."""
    job = load()["exaconf_commit"]
    assert job.locks(stage.conf, {"text": ""}) == (Lock("all"),)
    assert job.secrets == {"text"}


@pytest.fixture
def history(stage: Stage, tmp_path: Path) -> Stage:
    """A cluster with revisions 1 and 2: the space threshold went from 90 to 70."""
    store = SqliteStore(tmp_path / "journal")
    vault = stage.services[Vault]
    changed = ExaStorage(space_warn_threshold=70)
    store.lead(1, 11)
    first = {key: to_stored(section, vault) for key, section in stage.conf.sections.items()}
    for revision, changes in ((1, first), (2, {changed.key: to_stored(changed, vault)})):
        store.append(Kind.FINISHED, f"11.{revision}", Finished(0, "", revision=revision, changes=changes)).result()
    stage.store = store
    stage.put(changed)
    yield stage
    store.close()


def test_rollback_makes_an_old_revision_the_newest(history: Stage) -> None:
    """The content of the old revision is back under a new number."""
    assert history.run("exaconf_rollback", revision=1).result == ["EXAStorage"]
    assert history.conf.storage.space_warn_threshold == 90
    assert history.conf.revision == 3


def test_rollback_refuses(history: Stage) -> None:
    """Unknown revisions, and those from before something real was made, are refused."""
    with pytest.raises(NotFound, match="no revision 7; known are 1 to 2"):
        history.run("exaconf_rollback", revision=7)
    history.put(VOLUME)
    with pytest.raises(WrongState, match=r"\[EXAVolume : V1\] cannot be removed"):
        history.run("exaconf_rollback", revision=1)
    history.put(msgspec.structs.replace(VOLUME, priority=5), Group(name="g", id=42))
    assert "V1" in history.conf.volumes
