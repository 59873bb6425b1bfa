"""Segments: space is reserved once, given back once, and never taken from another job."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from confd.cluster.host import Host
from confd.exaconf import Conf
from confd.model.errors import InsufficientSpace, StorageDuplicate, StorageNotFound, StorageWrite
from confd.services.storage.devices import NewDevice, add_device, device_status
from confd.services.storage.segments import (
    Extent,
    create_segment,
    delete_segment,
    segment_directory,
    segment_of,
    segment_usage,
)
from confd.services.storage.superblock import read_allocation
from tests.services.storage.conftest import MIB, conf, volume

create = create_segment.function
delete = delete_segment.function


@pytest.fixture
def node(make_host: Callable[[Conf], Host]) -> Host:
    """A node with two devices of 4 MiB, volume V1 (id 1) configured on it."""
    made = make_host(conf(volume("V1", 1), devices=("dev.1", "dev.2")))
    for name in ("dev.1", "dev.2"):
        add_device.function(made, NewDevice(name=name, disk="disk1", uuid=name, sectors=1024))
    return made


def _reserved(node: Host) -> list[int]:
    return [status.reserved for status in device_status.function(node)]


def test_create_reserves_space_and_makes_a_directory(node: Host) -> None:
    """The directory is there, open to pass through only, and the space is taken; twice is once."""
    for _ in range(2):
        create(node, "V1", 1, "11.1", [Extent("dev.2", MIB)])
    directory = segment_directory(node, "V1")
    assert directory == node.root / "data/storage/dev.2/segments/1"
    assert directory.stat().st_mode & 0o777 == 0o711
    assert _reserved(node) == [0, MIB]


def test_a_crash_in_between_is_completed(node: Host) -> None:
    """A repeat makes the directory that was reserved before a crash."""
    create(node, "V1", 1, "11.1", [Extent("dev.1", MIB)])
    segment_directory(node, "V1").rmdir()
    create(node, "V1", 1, "11.1", [Extent("dev.1", MIB)])
    assert segment_directory(node, "V1").is_dir()
    assert _reserved(node) == [MIB, 0]


def test_create_refuses(node: Host) -> None:
    """Too much, an unknown device, a read-only one and a taken number are refused with nothing reserved."""
    with pytest.raises(InsufficientSpace, match=r"dev\.1 \(disk disk1\) of n11 has 3\.96 MiB free, needed are 4 MiB"):
        create(node, "V1", 1, "11.1", [Extent("dev.1", 4 * MIB)])
    with pytest.raises(StorageNotFound, match=r"dev\.9 is not a storage device"):
        create(node, "V1", 1, "11.1", [Extent("dev.9", MIB)])
    add_device.function(node, NewDevice(name="ro", disk="disk1", uuid="r", sectors=1024, read_only=True))
    with pytest.raises(StorageWrite, match="read only"):
        create(node, "V1", 1, "11.1", [Extent("ro", MIB)])
    assert _reserved(node) == [0, 0]
    create(node, "V1", 1, "11.1", [Extent("dev.1", MIB)])
    with pytest.raises(StorageDuplicate, match="'V1' has a segment 1"):
        create(node, "V2", 1, "11.2", [Extent("dev.1", MIB)])


def test_space_is_not_given_away_twice(node: Host) -> None:
    """Reservations add up."""
    create(node, "V1", 1, "11.1", [Extent("dev.1", 3 * MIB)])
    with pytest.raises(InsufficientSpace, match=r"983\.04 KiB free"):
        create(node, "V2", 2, "11.2", [Extent("dev.1", MIB)])


def test_delete_destroys_and_frees(node: Host) -> None:
    """Deleting removes everything, on all devices, and may be repeated."""
    create(node, "V1", 1, "11.1", [Extent("dev.1", MIB), Extent("dev.2", MIB)])
    (segment_directory(node, "V1") / "pgdata").mkdir()
    (segment_directory(node, "V1") / "pgdata/file").write_text("x")
    for _ in range(2):
        delete(node, 1, ["dev.1", "dev.2"])
        assert _reserved(node) == [0, 0]
    with pytest.raises(StorageNotFound, match="'V1' has no segment on n11"):
        segment_directory(node, "V1")


def test_a_late_undo_spares_what_another_job_made(node: Host) -> None:
    """A failed job's number may be given again: its undo, repeated later, must not take the new volume."""
    create(node, "V2", 1, "11.2", [Extent("dev.1", MIB)])
    delete(node, 1, ["dev.1"], maker="11.1")
    assert _reserved(node) == [MIB, 0]
    delete(node, 1, ["dev.1"], maker="11.2")
    assert _reserved(node) == [0, 0]


def test_delete_on_a_missing_device_is_no_error(node: Host) -> None:
    """What is not there is deleted."""
    delete(node, 1, ["dev.9"])


def test_directory_needs_a_known_volume(node: Host) -> None:
    """An unknown volume has no segment, whatever lies on the devices."""
    create(node, "V2", 2, "11.1", [Extent("dev.1", MIB)])
    with pytest.raises(StorageNotFound, match="'V2' has no segment"):
        segment_directory(node, "V2")
    assert segment_of(node, 2, ["dev.2", "dev.1"]) == node.root / "data/storage/dev.1/segments/2"
    assert segment_of(node, 3, ["dev.1"]) is None


def test_usage_counts_files(node: Host) -> None:
    """Usage is what files take, 0 for no segment."""
    create(node, "V1", 1, "11.1", [Extent("dev.1", MIB)])
    assert segment_usage.function(node, 1, ["dev.1", "dev.2"]) == 0
    (segment_directory(node, "V1") / "file").write_bytes(b"x" * 100_000)
    assert 100_000 <= segment_usage.function(node, 1, ["dev.1", "dev.2"]) <= 200_000
    assert segment_usage.function(node, 7, ["dev.1"]) == 0


def test_a_damaged_table_stops_everything(node: Host) -> None:
    """On a damaged device nothing is reserved or destroyed."""
    create(node, "V1", 1, "11.1", [Extent("dev.1", MIB)])
    home = node.root / "data/storage/dev.1"
    table = (home / "allocation.json").read_bytes()
    (home / "allocation.json").write_bytes(table[:-10])
    with pytest.raises(Exception, match="cannot be read"):
        delete(node, 1, ["dev.1"])
    (home / "allocation.json").write_bytes(table)
    assert read_allocation(home).segments[1].volume == "V1"
    assert segment_directory(node, "V1").is_dir()
