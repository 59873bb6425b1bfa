"""Finding plays: by number, by id, by target."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from confd.model.errors import InvalidParameter, NodeError, NotFound, WrongState
from confd.play import home as place
from confd.play import machine
from confd.play.home import Target
from confd.play.record import FILE, PlayNode, Progress, Ssh, load
from tests.play.conftest import make_play


def test_a_play_comes_back_as_it_was_saved(home: Path):
    """The file of a play holds everything, and only its owner reads it."""
    play = make_play(home)
    assert load(play.directory) == play
    assert (play.directory / FILE).stat().st_mode & 0o777 == 0o600
    assert place.plays() == [play]
    assert play.with_progress(Progress.READY).progress is Progress.READY


def test_find_by_number_id_and_beginning(home: Path):
    """A play is found by number, id, or an unmistakable beginning of the id."""
    first, second = make_play(home), make_play(home, 2, "0a1fffff")
    assert place.find("1") == place.find("0a1b2c3d") == place.find("0A1B") == first
    assert place.find("2") == place.find("0a1f") == second
    for unknown in ("3", "0a1", "ffff"):
        with pytest.raises(NotFound, match="there is 1 \\(0a1b2c3d\\), 2"):
            place.find(unknown)


def test_no_plays(home: Path):
    """Without plays the message says how to make one."""
    assert place.plays() == []
    with pytest.raises(NotFound, match="c4 host play"):
        place.find("1")


def test_numbers_are_the_lowest_free_ones(home: Path):
    """A new play gets the lowest free number."""
    make_play(home, 1, "00000001")
    make_play(home, 3, "00000003")
    assert place.new_place()[0] == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "is damaged .*restore it"), (None, "cannot be read"), ("no nodes", "is damaged .it names no nodes")],
)
def test_a_file_that_cannot_be_used(home: Path, content: str | None, told: str):
    """Its play is told apart with what to do; the others can be used, and nothing is made beside it."""
    other = make_play(home, 2, "00000002")
    play = make_play(home)
    file = play.directory / FILE
    if content is None:
        file.unlink()
        file.mkdir()
    elif content == "no nodes":
        file.write_bytes(msgspec.json.encode(msgspec.structs.replace(play, nodes=()), enc_hook=str))
    else:
        file.write_text(content)
    usable, (lost,) = place.look()
    assert usable == [other]
    assert (lost.number, lost.id) == (1, "0a1b2c3d")
    for use in (lambda: place.find("1"), lambda: place.find("0a1b2c3d"), lambda: place.find("0a1b"), place.new_place):
        with pytest.raises(NodeError, match=f"play.json {told}"):
            use()
    with pytest.raises(NodeError, match=told):
        # Nobody must take it for deleted.
        machine.remove(machine.Named("0a1b2c3d", 11))
    with pytest.raises(NotFound, match=r"there is 2 \(00000002\), 1 \(0a1b2c3d\)"):
        place.find("3")
    assert place.find("2") == other


@pytest.mark.parametrize("copied", [False, True])
def test_a_play_elsewhere_than_it_was_made(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool):
    """Its nodes know their paths, so moved or copied it is refused with both places, and good again at the old one."""
    play = make_play(home)
    there = tmp_path / "there"
    (shutil.copytree if copied else shutil.move)(home, there)
    monkeypatch.setenv("CCC_HOME", str(there))
    other = make_play(there, 2, "0a1b2000")
    for act in (place.plays, lambda: place.find("1"), place.new_place):
        with pytest.raises(WrongState, match=f"made in {play.directory} and is in {there}/1_0a1b2c3d now; move it"):
            act()
    assert place.look()[0] == [other]
    with pytest.raises(NotFound):
        place.find("0a1b2")
    assert home.exists() is copied
    shutil.rmtree(other.directory)
    monkeypatch.setenv("CCC_HOME", str(home))
    if not copied:
        there.rename(home)
    assert place.plays() == [play]


def test_another_name_of_the_same_place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A place is the same by a link."""
    play = make_play(home)
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("CCC_HOME", str(tmp_path / "link"))
    assert place.plays() == [play]


def test_a_play_on_other_machines_can_be_moved(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What c4 remembers of it is all that is here: it is good wherever it lies."""
    play = make_play(home)
    msgspec.structs.replace(play, ssh=Ssh(user="root"), place=play.directory).save()
    home.rename(tmp_path / "there")
    monkeypatch.setenv("CCC_HOME", str(tmp_path / "there"))
    (moved,) = place.plays()
    assert moved.directory == tmp_path / "there/1_0a1b2c3d"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("1", Target("1", None, None)),
        ("1/cos", Target("1", None, "cos")),
        ("1.11/cos", Target("1", 11, "cos")),
        ("1.n11", Target("1", 11, None)),
        ("0a1b2c3d.12/db", Target("0a1b2c3d", 12, "db")),
    ],
)
def test_targets(text: str, target: Target):
    """A target names play, node, subsystem."""
    assert place.parse_target(text) == target


@pytest.mark.parametrize("text", ["", "/cos", "1.", "1.x", "1/", "1.11.12", "1/cos/x", "a b"])
def test_bad_targets(text: str):
    """Anything else is refused with an example."""
    with pytest.raises(InvalidParameter, match="such as 1"):
        place.parse_target(text)


def test_pick(home: Path):
    """Without a node the first one is meant; an unknown one is refused with those that are there."""
    play = make_play(home)
    assert place.pick(play, None).name == "n11"
    assert place.pick(play, 12).name == "n12"
    with pytest.raises(NotFound, match="it has n11, n12"):
        place.pick(play, 13)


def test_passable(tmp_path: Path):
    """New directories let everybody through and show nobody what is inside; old ones stay as they are."""
    (tmp_path / "old").mkdir(mode=0o700)
    place.make_passable(tmp_path / "old/new/deep")
    modes = [
        path.stat().st_mode & 0o777 for path in (tmp_path / "old", tmp_path / "old/new", tmp_path / "old/new/deep")
    ]
    assert modes == [0o700, 0o711, 0o711]


def test_other_nodes_keep_their_runtime_directories(tmp_path: Path) -> None:
    """What is deleted of one node touches no other node of its cluster, whoever made that; the last one leaves nothing."""
    mine, other = (
        PlayNode(
            node=number, address=f"127.0.0.{number}", root=tmp_path / f"n{number}", runtime=tmp_path / f"r/n{number}"
        )
        for number in (11, 12)
    )
    for node in (mine, other):
        node.runtime.mkdir(parents=True)
        node.socket.touch()
    place.clear_runtime([mine])
    assert other.socket.exists()
    assert not mine.runtime.exists()
    place.clear_runtime([mine, other])
    assert not other.runtime.parent.exists()
