"""Trees are copied as they are, within the room that there is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from confd.model.errors import InsufficientSpace
from confd.services.backup.restoring import copying
from confd.services.backup.restoring.copying import Room, copy_tree, sync_tree
from tests.filesystems import sharing, taken


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of several sizes, an empty directory, a link."""
    source = tmp_path / "source"
    (source / "base" / "1").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "base" / "1" / "2").write_bytes(os.urandom(3_000_000))
    (source / "base" / "none").write_bytes(b"")
    (source / "PG_VERSION").write_text("18\n")
    (source / "base" / "link").symlink_to("1/2")
    return source


def below(place: Path) -> dict[str, bytes | str]:
    """Return everything below a directory."""
    return {
        str(path.relative_to(place)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else ""
        for path in sorted(place.rglob("*"))
    }


@pytest.mark.parametrize("missing", [(), ("_share",), ("_share", "_copy_inside")])
def test_a_copy_is_equal(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]) -> None:
    """With shared blocks, copied by the kernel, or read and written, whatever the file system can."""
    for name in missing:
        monkeypatch.setattr(copying, name, lambda *_: False)
    (target := tmp_path / "target").mkdir()
    room = Room(10_000_000, "full")
    copy_tree(tree, target, room)
    sync_tree(target)
    assert below(target) == below(tree)
    assert room.taken == 3_000_003
    assert all(path.stat().st_mode & 0o77 == 0 for path in target.rglob("*") if not path.is_symlink())


def test_what_is_left_out(tree: Path, tmp_path: Path) -> None:
    """A directory that is left out is left out with all below it."""
    (target := tmp_path / "target").mkdir()
    copy_tree(tree, target, Room(10_000_000, "full"), skip=lambda path: path == "base")
    assert list(below(target)) == ["PG_VERSION", "empty"]


def test_a_copy_ends_where_the_room_ends(tree: Path, tmp_path: Path) -> None:
    """It is told before more is written."""
    (target := tmp_path / "target").mkdir()
    with pytest.raises(InsufficientSpace, match="full"):
        copy_tree(tree, target, Room(1_000_000, "the volume is full"))


def test_blocks_are_shared_where_the_file_system_can() -> None:
    """A copy of 64 MiB takes next to nothing, and later changes of the one do not show in the other."""
    content = os.urandom(64 << 20)
    with sharing() as place:
        for name in ("source", "target"):
            (place / name).mkdir()
        (place / "source/data").write_bytes(content)
        before = taken(place)
        copy_tree(place / "source", place / "target", Room(1 << 30, "full"))
        assert taken(place) - before < 4 << 20
        with (place / "source/data").open("r+b") as file:
            file.write(b"changed")
        assert (place / "target/data").read_bytes() == content
