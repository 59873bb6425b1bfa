"""Names of devices and what lies behind them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from confd.cluster.host import Host
from confd.exaconf import Component, Conf, Disk, Node
from confd.model.errors import InvalidParameter, StorageNotFound
from confd.services.storage import places
from confd.services.storage.places import (
    check_device,
    device_home,
    device_name,
    device_path,
    device_view,
    mount_point,
    node_devices,
)


@pytest.mark.parametrize(
    ("given", "view", "name"),
    [
        ("dev.1", "/exa/data/storage/dev.1", "dev.1"),
        ("/exa/data/storage/dev.1", "/exa/data/storage/dev.1", "dev.1"),
        ("/dev/sdc", "/dev/sdc", "/dev/sdc"),
        ("/srv/disk", "/srv/disk", "/srv/disk"),
    ],
)
def test_a_device_has_one_name(given: str, view: str, name: str) -> None:
    """Relative and absolute names below /exa/data/storage are the same device."""
    assert (device_view(given), device_name(given)) == (view, name)


@pytest.mark.parametrize("name", ["", " ", ".", "../../etc", "/exa/data/storage", "a,b", "a\nb"])
def test_names_that_are_none(name: str) -> None:
    """What leaves the directory or would break EXAConf is refused."""
    with pytest.raises(InvalidParameter, match="cannot be a device"):
        check_device(name)


def test_home_of_directory_file_and_foreign_path(host: Host, tmp_path: Path) -> None:
    """A directory is its own home, a file has one beside it; paths outside of /exa are taken as they are."""
    storage = host.root / "data/storage"
    storage.mkdir(parents=True)
    (storage / "file").write_bytes(b"")
    assert device_home(host, "dev.1") == storage / "dev.1"
    assert device_home(host, "file") == storage / "file.d"
    assert device_path(host, str(tmp_path / "far")) == tmp_path / "far"


def test_mount_point_of_a_block_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount is found by the number of the device, also with a blank in its path."""
    place = tmp_path / "data disk"
    place.mkdir()
    table = f"proc /proc proc rw 0 0\n/dev/x {tmp_path}/data\\040disk ext4 rw 0 0\n"

    class Block:
        def stat(self) -> os.stat_result:
            return os.stat_result((0,) * 10, {"st_rdev": place.stat().st_dev})

    found = mount_point(Block(), table)  # type: ignore[arg-type]
    assert found == place


def test_an_unmounted_block_device_is_explained(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to make the device usable."""
    monkeypatch.setattr(Path, "is_block_device", lambda path: path == Path("/dev/null"))
    monkeypatch.setattr(places, "_MOUNTS", Path("/dev/null"))
    with pytest.raises(StorageNotFound, match=r"/dev/null is not mounted: make a file system"):
        device_home(host, "/dev/null")


def test_only_storage_disks_count() -> None:
    """Disks for swap or databases are not storage."""
    node = Node(
        id=11,
        disks={
            "disk1": Disk(name="disk1", devices=("a", "b")),
            "swap": Disk(name="swap", component=Component.SWAP, devices=("c",)),
            "disk2": Disk(name="disk2", devices=("d",)),
        },
    )
    known = Conf(1, {node.key: node})
    assert node_devices(known, 11) == [("disk1", "a"), ("disk1", "b"), ("disk2", "d")]
    assert node_devices(known, 11, "disk2") == [("disk2", "d")]
    assert node_devices(known, 12) == []
