"""Rules that a configuration must keep."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.exaconf import (
    CONF_VERSION,
    Conf,
    Database,
    Disk,
    Global,
    Group,
    Logging,
    Node,
    RemoteVolume,
    Section,
    User,
    Volume,
    VolumeType,
    key_of,
    other,
)
from confd.exaconf.accounts import PREDEFINED_GROUPS, PREDEFINED_USERS
from confd.exaconf.ports import clashes
from confd.exaconf.validation import upgraded, validate
from confd.exaconf.volumes import RemoteType
from confd.model.errors import InvalidParameter
from confd.model.sizes import Bytes
from tests.exaconf.conftest import put

NODE = Node(12, "n12", "10.10.10.12/24", docker_volume="n12", uuid="B" * 40)
VOLUME = Volume("v", VolumeType.DATA, Bytes(1), "disk1", (11,))
REMOTE = RemoteVolume("r", RemoteType.S3, 10001, "u")


def problems(conf: Conf, *sections: Section) -> list[str]:
    """Validate the example with some sections added or replaced."""
    return validate(put(conf, *sections).sections)


def test_example_is_valid(conf: Conf) -> None:
    """The example and additions that fit have no problems."""
    assert problems(conf) == []
    assert problems(conf, NODE, VOLUME, REMOTE, User("eve", 1001, "exausers")) == []


def test_without_global() -> None:
    """A file without [Global] is refused."""
    assert validate({}) == ["[Global]: the section is missing; it must at least name the cluster"]


def test_docker_needs_its_section(conf: Conf) -> None:
    """Platform Docker needs [Docker]; other platforms need neither it nor docker volumes."""
    without = conf.with_changes({"Docker": None}, 17)
    assert validate(without.sections) == ["[Docker]: the section is missing; platform Docker needs it"]
    vm = put(without, msgspec.structs.replace(conf.global_, platform="Vm"), Node(12, "n12", "10.0.0.1/8"))
    assert validate(vm.sections) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cluster_name": ""}, "[Global] ClusterName: is missing"),
        ({"networks": ("public",)}, "[Global] Networks: 'public' cannot be: give private"),
        ({"networks": ("private", "x")}, "[Global] Networks: 'private, x' cannot be"),
        ({"networks": ("private", "public")}, "[Node : 11] PublicNet: '' is not an address"),
        ({"conf_version": "2999.1"}, "[Global] ConfVersion: the file has version 2999.1"),
        ({"conf_version": "new"}, "[Global] ConfVersion: 'new' is not a version"),
    ],
)
def test_global(conf: Conf, changes: dict[str, Any], problem: str) -> None:
    """The cluster has a name, known networks, and a version that is not newer than the software."""
    found = problems(conf, msgspec.structs.replace(conf.global_, **changes))
    assert any(text.startswith(problem) for text in found)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": ""}, "[Node : 12] Name: is missing"),
        ({"docker_volume": ""}, "[Node : 12] DockerVolume: is missing"),
        ({"private_net": "10.0.0.12"}, "[Node : 12] PrivateNet: '10.0.0.12' is not an address"),
        ({"private_net": "300.0.0.1/8"}, "[Node : 12] PrivateNet: '300.0.0.1/8' is not an address"),
        ({"public_net": "x"}, "[Node : 12] PublicNet: 'x' is not an address"),
        ({"name": "n11"}, "[Node] Name: 'n11' is used twice"),
        ({"docker_volume": "n11"}, "[Node] DockerVolume: 'n11' is used twice"),
        ({"private_net": "10.10.10.11/8"}, "[Node] PrivateNet: '10.10.10.11' is used twice"),
        ({"uuid": "DD6D0212362D44DF831A02B0C468D6CE31D20EBC"}, "[Node] UUID: 'DD6D"),
        (
            {"disks": {"a": Disk("a", devices=("d",)), "b": Disk("b", devices=("d",))}},
            "[Node : 12] Devices: 'd' is there twice",
        ),
        ({"disks": {"a[": Disk("a[")}}, "[Node : 12] [[Disk : a[]]: a name must"),
    ],
)
def test_nodes(conf: Conf, changes: dict[str, Any], problem: str) -> None:
    """Nodes have names and addresses of their own; their devices occur once."""
    (found,) = problems(conf, msgspec.structs.replace(NODE, **changes))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (User("eve", 1001, "nope"), "[Users : eve]: group 'nope' does not exist"),
        (User("eve", 1001, "root", additional_groups=("x",)), "[Users : eve]: group 'x' does not exist"),
        (User("eve", 0, "root"), "[Users] ID: '0' is used twice"),
        (User("_self", 5, "root"), "[Users : _self]: '_self' is reserved"),
        (Group("exameta", 44), "[Groups : exameta]: 'exameta' is reserved"),
        (Group("g", 55555), "[Groups : g]: 55555 is reserved"),
        (User("e v", 1001, "root"), "[Users : e v]: 'e v' is not usable"),
        (Group("g", 499), "[Groups] ID: '499' is used twice"),
        (User("a]\n[Global", 1001, "root"), "[Users : a]\n[Global]: a name must"),
        (REMOTE.__class__("r", RemoteType.S3, 9999, "u"), "[RemoteVolume : r] ID: must be 10000 or more"),
        (REMOTE.__class__("r", RemoteType.S3, 10005, "u"), "[RemoteVolume] ID: '10005' is used twice"),
        (
            REMOTE.__class__("DataVolume1", RemoteType.S3, 10001, "u"),
            "[EXAVolume : DataVolume1]: the name is used twice",
        ),
        (Logging(("local", "mail")), "[Logging] LogRotationTypes: 'local, mail' cannot be"),
        (Logging(("remote",)), "[Logging] RemoteLogRotationVolume: there is no volume None"),
        (other("X", {"a\"'": "b"}), '[X]: "a'),
    ],
)
def test_users_groups_names(conf: Conf, section: Section, problem: str) -> None:
    """Groups exist, ids and names are unique and legal, remote logs have a volume."""
    (found,) = problems(conf, section)
    assert found.startswith(problem.replace('"a', "'a") if problem.startswith("[X]") else problem)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"nodes": (11, 13)}, "[EXAVolume : v] Nodes: there is no node 13"),
        ({"nodes": ()}, "[EXAVolume : v] Nodes: there must be at least one"),
        ({"nodes": (11, 11)}, "[EXAVolume : v] Nodes: node 11 is there twice"),
        ({"disk": "disk9"}, "[EXAVolume : v] Disk: node 11 has no disk 'disk9'"),
        ({"num_master_nodes": 2}, "[EXAVolume : v] NumMasterNodes: must not exceed"),
        ({"redundancy": 2}, "[EXAVolume : v] Redundancy: must not exceed"),
        ({"ftp_port": 21}, "[EXAVolume : v]: only archive volumes"),
        ({"partition_size": Bytes(1)}, "[EXAVolume : v]: only archive volumes"),
        ({"owner": (77, 500)}, "[EXAVolume : v] Owner: there is no user with id 77"),
        ({"owner": (500, 77)}, "[EXAVolume : v] Owner: there is no group with id 77"),
    ],
)
def test_volumes(conf: Conf, changes: dict[str, Any], problem: str) -> None:
    """Volumes lie on nodes and disks that exist and belong to someone."""
    found = problems(conf, msgspec.structs.replace(VOLUME, **changes))
    assert any(text.startswith(problem) for text in found)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"nodes": (12,)}, "[DB : DB1] Nodes: there is no node 12"),
        ({"num_active_nodes": 2}, "[DB : DB1] NumActiveNodes: must not exceed"),
        (
            {"data_volume": "ArchiveVolume1"},
            "[DB : DB1] DataVolume: there is no data volume 'ArchiveVolume1'",
        ),
        ({"cloud_data_volume": "x"}, "[DB : DB1] CloudDataVolume: there is no data volume 'x'"),
        (
            {"master_database": "x", "auto_start": False},
            "[DB : DB1] MasterDatabase: there is no database 'x'",
        ),
        ({"master_database": "DB1"}, "[DB : DB1] AutoStart: must be False"),
    ],
)
def test_databases(conf: Conf, changes: dict[str, Any], problem: str) -> None:
    """Databases have nodes and a data volume; workers have a master and do not start by themselves."""
    (found,) = problems(conf, msgspec.structs.replace(conf.databases["DB1"], **changes))
    assert found.startswith(problem)


def test_worker_must_not_be_called_main(conf: Conf) -> None:
    """MAIN means the main cluster and cannot be a worker."""
    worker = msgspec.structs.replace(
        conf.databases["DB1"], name="MAIN", id="other", master_database="DB1", auto_start=False
    )
    assert problems(conf, worker) == ["[DB : MAIN]: a worker database must not be called MAIN"]


def test_schedules_have_readable_expiry(conf: Conf) -> None:
    """An expiry that cannot be read is found before it is needed."""
    database = conf.databases["DB1"]
    backup = msgspec.structs.replace(database.backups["Full_Backup"], expire="soon")
    broken: Database = msgspec.structs.replace(database, backups={"Full_Backup": backup})
    (found,) = problems(conf, broken)
    assert found.startswith("[DB : DB1] Full_Backup Expire: 'soon'")


def test_bucketfs_ports_are_unique(conf: Conf) -> None:
    """All file services run on all nodes, so their ports must differ."""
    second = msgspec.structs.replace(conf.bucketfs["bfsdefault"], name="b2")
    assert problems(conf, second) == ["[BucketFS]: port 2581 is used twice"]


def test_upgrade() -> None:
    """An older file gets the version of the software, a newer one is refused."""
    assert upgraded(Global(conf_version="8.20.0")).conf_version == CONF_VERSION
    with pytest.raises(InvalidParameter, match=r"2999\.1"):
        upgraded(Global(conf_version="2999.1"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"xmlrpc_port": 3250}, "[Global] XMLRPCPort: 3250 is [Global] CoredPort as well"),
        ({"xmlrpc_port": 22}, "[Global] SSHPort: 22 is [Global] XMLRPCPort as well"),
        ({"xmlrpc_port": 8563}, "[DB : DB1] Port: 8563 is [Global] XMLRPCPort as well"),
        ({"ssh_port": 2021}, "[EXAVolume : ArchiveVolume1] FtpPort: 2021 is [Global] SSHPort as well"),
        ({"cored_port": 2581}, "[BucketFS : bfsdefault] HttpsPort: 2581 is [Global] CoredPort as well"),
    ],
)
def test_ports_of_the_daemon_are_for_nothing_else(conf: Conf, changes: dict[str, int], problem: str) -> None:
    """What every node listens on is taken, whatever wants it."""
    (found,) = problems(conf, msgspec.structs.replace(conf.global_, **changes))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"xmlrpc_port": 0}, "[Global] XMLRPCPort: 0 is no port"),
        ({"hugepages": "foo"}, "[Global] Hugepages: 'foo' cannot be"),
        ({"issue_tracker": "Mail"}, "[Global] IssueTracker: 'Mail' is not known"),
        ({"timezone": "Mars/X"}, "[Global] Timezone: 'Mars/X' is no time zone"),
        ({"timezone": "../UTC"}, "[Global] Timezone: '../UTC' is no time zone"),
    ],
)
def test_values_are_what_jobs_would_take(conf: Conf, changes: dict[str, Any], problem: str) -> None:
    """The file is no way around the checks of general_settings."""
    (found,) = problems(conf, msgspec.structs.replace(conf.global_, **changes))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"permissions": "zz"}, "[EXAVolume : v] Permissions: 'zz' are no permissions"),
        ({"size": 0}, "[EXAVolume : v] Size: 0 is nothing"),
        ({"block_size": 100}, "[EXAVolume : v] BlockSize: 100 is not a block size"),
    ],
)
def test_volumes_have_values_that_jobs_would_take(conf: Conf, changes: dict[str, Any], problem: str) -> None:
    """Permissions and sizes are those of st_volume_create."""
    (found,) = problems(conf, msgspec.structs.replace(VOLUME, **changes))
    assert found.startswith(problem)


def test_memory_is_enough_for_the_nodes(conf: Conf) -> None:
    """A size without unit is one of bytes, which no server could run with."""
    (found,) = problems(conf, msgspec.structs.replace(conf.databases["DB1"], mem_size=Bytes(2)))
    assert found.startswith("[DB : DB1] MemSize: 0 MiB are too little for 1 active nodes")


@pytest.mark.parametrize("name", sorted(PREDEFINED_USERS | PREDEFINED_GROUPS))
def test_what_the_cluster_itself_needs_is_there(conf: Conf, name: str) -> None:
    """Without root or the predefined groups nobody would get in any more."""
    for kind, predefined in ((User, PREDEFINED_USERS), (Group, PREDEFINED_GROUPS)):
        if name in predefined:
            found = validate(conf.with_changes({key_of(kind, name): None}, 17).sections)
            assert f"[{kind.kind}] [[{name}]]: is missing; the cluster itself needs it" in found


@pytest.mark.parametrize("changes", [{"login_enabled": False}, {"id": 7}])
def test_root_gets_in(conf: Conf, changes: dict[str, Any]) -> None:
    """The cluster itself acts as root."""
    (found,) = problems(conf, msgspec.structs.replace(conf.users["root"], **changes))
    assert found.startswith("[Users : root]: must have ID 0 and LoginEnabled True")


@given(st.lists(st.integers(1, 6), min_size=5, max_size=5))
def test_a_clash_is_found_exactly_when_there_is_one(ports: list[int]) -> None:
    """Any of the daemon's ports that occurs again clashes; databases may share one."""
    cored, xmlrpc, ssh, *served = ports
    sections: list[Section] = [Global(cored_port=cored, xmlrpc_port=xmlrpc, ssh_port=ssh)]
    for number, port in enumerate(served):
        sections.append(
            Database(
                name=f"DB{number}", id=str(number), version="18", mem_size=Bytes(1), port=port, nodes=(11,),
                num_active_nodes=1, data_volume="V",
            )
        )  # fmt: skip
    found = list(clashes(Conf(1, {section.key: section for section in sections})))
    own = [cored, xmlrpc, ssh]
    assert bool(found) == (len({*own}) < len(own) or bool({*own} & {*served}))
