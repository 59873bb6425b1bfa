"""Devices of a node: added once, taken back, and honest about their state."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from confd.cluster.host import Host, reports
from confd.exaconf import Conf
from confd.model.errors import (
    InsufficientSpace,
    InUse,
    InvalidParameter,
    StorageDuplicate,
    StorageNotFound,
    StorageWrite,
)
from confd.model.states import DeviceState
from confd.services.storage.devices import NewDevice, add_device, device_status, remove_device
from confd.services.storage.segments import Extent, create_segment
from confd.services.storage.space import usable
from tests.services.storage.conftest import MIB, conf

DEVICE = NewDevice(name="dev.1", disk="disk1", uuid="u1", sectors=1000)

add = add_device.function
remove = remove_device.function
status = device_status.function


def test_add_makes_an_online_device(host: Host) -> None:
    """A new device is there with the capacity it was given; adding it again is the same."""
    assert add(host, DEVICE) == 1000
    assert add(host, DEVICE) == 1000
    (found,) = status(host)
    assert (found.name, found.disk, found.state) == ("/exa/data/storage/dev.1", "disk1", DeviceState.ONLINE)
    assert (found.capacity, found.free) == (4096000, usable(4096000))


def test_sectors_are_found_out(host: Host, tmp_path: Path) -> None:
    """Without a number of sectors a directory gets the free space of its file system, a file its length."""
    assert add(host, NewDevice(name="dev.1", disk="d", uuid="u")) > 1000
    (host.root / "data/storage/file").write_bytes(b"\0" * 10 * 4096)
    assert add(host, NewDevice(name="file", disk="d", uuid="u")) == 10
    assert (host.root / "data/storage/file.d/superblock.json").exists()


def test_more_than_there_is_is_refused(host: Host) -> None:
    """A device cannot promise more than its file system or file has."""
    with pytest.raises(InsufficientSpace, match="has room for"):
        add(host, NewDevice(name="dev.1", disk="d", uuid="u", sectors=2**49))
    assert not (host.root / "data").exists()
    (host.root / "data/storage").mkdir(parents=True)
    (host.root / "data/storage/file").write_bytes(b"\0" * 4096)
    with pytest.raises(InsufficientSpace, match="has room for 4 KiB, wanted are 8 KiB"):
        add(host, NewDevice(name="file", disk="d", uuid="u", sectors=2))


def test_a_crash_while_adding_is_completed(host: Host) -> None:
    """What a crash left half written is no foreign content."""
    home = host.root / "data/storage/dev.1"
    home.mkdir(parents=True)
    (home / "superblock.new").write_text("{")
    assert add(host, DEVICE) == 1000


def test_foreign_content_is_kept(host: Host) -> None:
    """Neither another device nor other files are taken over."""
    add(host, DEVICE)
    with pytest.raises(StorageDuplicate, match="carries a device already"):
        add(host, NewDevice(name="dev.1", disk="disk1", uuid="other"))
    (host.root / "data/storage/mine").mkdir()
    (host.root / "data/storage/mine/photo").write_text("x")
    with pytest.raises(StorageDuplicate, match=r"holds other files \(photo\)"):
        add(host, NewDevice(name="mine", disk="disk1", uuid="u"))


def test_places_outside_have_to_exist(host: Host, tmp_path: Path) -> None:
    """A directory outside of /exa is used when it is there and never made."""
    with pytest.raises(StorageNotFound, match="does not exist on n11"):
        add(host, NewDevice(name=str(tmp_path / "far"), disk="d", uuid="u"))
    (tmp_path / "far").mkdir()
    assert add(host, NewDevice(name=str(tmp_path / "far"), disk="d", uuid="u", sectors=5)) == 5


def test_what_is_no_device(host: Host) -> None:
    """A character device is neither directory nor file nor block device."""
    with pytest.raises(InvalidParameter, match="neither a directory"):
        add(host, NewDevice(name="/dev/null", disk="d", uuid="u"))


def test_remove_takes_back_only_what_was_added(host: Host) -> None:
    """The undo leaves devices of others alone, and may run before, twice, or after nothing."""
    remove(host, "dev.1", "u1")
    add(host, DEVICE)
    remove(host, "dev.1", "other")
    assert status(host)[0].state is DeviceState.ONLINE
    remove(host, "dev.1", "u1")
    remove(host, "dev.1", "u1")
    assert status(host)[0].state is DeviceState.OFFLINE
    assert add(host, DEVICE) == 1000


def test_remove_keeps_segments(host: Host) -> None:
    """A device that holds something is not removed."""
    add(host, DEVICE)
    create_segment.function(host, "V1", 1, "j", [Extent("dev.1", MIB)])
    with pytest.raises(InUse, match="holds segments"):
        remove(host, "dev.1", "u1")


def test_states_are_what_is_there(host: Host) -> None:
    """A missing device is offline, a damaged one has I/O errors; neither has free space."""
    home = host.root / "data/storage/dev.1"
    assert status(host)[0].state is DeviceState.OFFLINE
    add(host, DEVICE)
    (home / "allocation.json").write_text("garbage")
    damaged = status(host)[0]
    assert (damaged.state, damaged.crc_error, damaged.free) == (DeviceState.IO_ERRORS, True, 0)
    (home / "allocation.json").unlink()
    (home / "allocation.json").mkdir()
    broken = status(host)[0]
    assert (broken.state, broken.io_error) == (DeviceState.IO_ERRORS, True)


def test_a_name_that_is_none_is_offline(make_host: Callable[[Conf], Host]) -> None:
    """A name in an old EXAConf that leaves the directory disturbs no heartbeat."""
    (found,) = status(make_host(conf(devices=("../../etc",))))
    assert (found.state, found.message.startswith("'../../etc' cannot be a device")) == (DeviceState.OFFLINE, True)


def test_what_the_system_refuses_is_an_error_of_storage(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full file system ends the job with a message, and a repeat works once there is room."""

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageWrite, match=r"storage of n11 cannot be changed: .*No space left"):
            add(host, DEVICE)
    assert add(host, DEVICE) == 1000
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageWrite, match="No space left"):
            create_segment.function(host, "V1", 1, "j", [Extent("dev.1", MIB)])
    assert status(host)[0].reserved == 0


def test_read_only_devices_have_no_free_space(host: Host) -> None:
    """What may only be read takes no segments."""
    add(host, NewDevice(name="dev.1", disk="disk1", uuid="u1", sectors=1000, read_only=True))
    assert (status(host)[0].state, status(host)[0].free) == (DeviceState.ONLINE, 0)


def test_the_node_reports_its_devices(host: Host) -> None:
    """Heartbeats carry states and reserved bytes."""
    add(host, DEVICE)
    (report,) = reports(host)["storage"]
    assert (report["state"], report["reserved"], report["sectors"]) == ("ONLINE", 0, 1000)
