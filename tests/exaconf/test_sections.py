"""Kinds of sections and what they derive."""

from __future__ import annotations

import pytest

from confd.exaconf import (
    BackupSchedule,
    BucketFs,
    Database,
    Entry,
    Global,
    Group,
    Node,
    ObjectVolume,
    Other,
    Plugin,
    RemoteVolume,
    Section,
    User,
    Volume,
    VolumeType,
    key_of,
    name_of,
    other,
)
from confd.exaconf.volumes import ObjectType, RemoteType
from confd.model.secret import Secret
from confd.model.sizes import Bytes

VOLUME = Volume("v", VolumeType.DATA, Bytes(2**30), "disk1", (11, 12))


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (Global(), "Global"),
        (Node(11), "Node : 11"),
        (VOLUME, "EXAVolume : v"),
        (RemoteVolume("r", RemoteType.S3, 10001, "u"), "RemoteVolume : r"),
        (ObjectVolume("o", ObjectType.S3), "ObjectVolume : o"),
        (BucketFs("b"), "BucketFS : b"),
        (Plugin("p"), "Plugin : p"),
        (User("admin", 1000, "exaadm"), "Users : admin"),
        (Group("exaadm", 499), "Groups : exaadm"),
        (Other("SaaS"), "SaaS"),
        (Other("New : x"), "New : x"),
    ],
)
def test_keys(section: Section, key: str) -> None:
    """Each unit of configuration has a key."""
    assert section.key == key
    if not isinstance(section, Other | Global):
        assert key_of(type(section), name_of(section)) == key


def test_volume_defaults_depend_on_type_and_nodes() -> None:
    """Block and stripe size follow from the type, master nodes from the nodes."""
    archive = Volume("a", VolumeType.ARCHIVE, Bytes(1), "disk1", (11,), ftp_port=2021, https_port=1)
    assert (VOLUME.block_size, VOLUME.stripe_size, VOLUME.num_master_nodes) == (4096, 262144, 2)
    assert (archive.block_size, archive.stripe_size, archive.num_master_nodes) == (65536, 65536, 1)
    assert archive.ports == {"https": 1, "ftp": 2021}


def test_node_derives_affinity_state_and_addresses() -> None:
    """Affinity defaults to the id, state is lower case, x in an address is the id."""
    node = Node(12, private_net="10.0.0.x/24", public_net="1.2.3.x/8", state="Disabled")
    assert (node.affinity, node.state) == (12, "disabled")
    assert (node.private_ip, node.public_ip) == ("10.0.0.12", "1.2.3.12")


def test_database_splits_its_nodes() -> None:
    """Reserve nodes are the last ones."""
    database = Database(
        name="d",
        id="i",
        version="18",
        mem_size=Bytes(1),
        nodes=(11, 12, 13),
        num_active_nodes=2,
        data_volume="v",
    )
    assert (database.active_nodes, database.reserve_nodes) == ((11, 12), (13,))
    assert (database.jdbc.dir, database.oracle.dir) == ("drivers/jdbc", "drivers/oracle")


def test_schedule_expiry_in_seconds() -> None:
    """Expiry stays as given and is read as seconds; none is forever."""
    schedule = BackupSchedule(name="b", volume="v", expire="1w")
    assert (schedule.expire, schedule.expire_seconds) == ("1w", 604800)
    assert BackupSchedule(name="b", volume="v").expire_seconds == 0


def test_groups_of_a_user() -> None:
    """Primary and additional groups count the same."""
    assert User("u", 1, "a", additional_groups=("b",)).groups == {"a", "b"}


def test_sections_of_unknown_kind() -> None:
    """They are made from nested dicts; secretive values become secrets."""
    saas = other("SaaS", {"Enabled": True, "ApiToken": "t", "Sub": {"Password": "p", "x": 1}})
    assert saas.values == {
        "Enabled": "True",
        "ApiToken": Secret("t"),
        "Sub": {"Password": Secret("p"), "x": "1"},
    }
    assert other("IdP", {"Config": "e30="}).values == {"Config": Secret("e30=")}


def test_entries_are_frozen() -> None:
    """Fields cannot be set."""
    entry: Entry = Node(11)
    with pytest.raises(AttributeError):
        entry.kept = ("x",)  # type: ignore[misc]
