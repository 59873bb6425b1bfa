"""Deleting plays."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from confd.play import home as place
from confd.play import stopping
from confd.play.record import PASSWORDS, Play, write_passwords
from tests.play.conftest import make_play
from tests.play.killing import change, killed_at


def fill(play: Play) -> None:
    """Make something of everything that a play has."""
    write_passwords(play.directory, {"CCC_PLAY_ADMIN_PASSWORD": "secret"})
    for node in play.nodes:
        for name in ("node.key", "data.key"):
            path = node.root / "etc/cluster" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("secret")
        node.runtime.mkdir()
    # Where directories are read from the newest file to the oldest, this one comes first.
    play.save()


def test_a_deletion_that_is_killed_can_be_repeated(home: Path):
    """Killed before any of its steps it leaves a play that c4 knows, as long as anything of the play is there."""
    killed, count = True, 0
    while killed:
        play = make_play(home)
        fill(play)
        killed = killed_at(partial(stopping.remove, play), change(count))
        if place.plays():
            stopping.remove(play)
        else:
            assert {path.name for path in home.glob("*/*")} <= {"lock"}, count
        for left in home.glob("1_*"):
            shutil.rmtree(left)
        count += 1
    assert count > 10


def test_deleting_a_node_that_is_killed_can_be_repeated(home: Path):
    """A node is known as long as anything of it is there; the rest of its play stays."""
    killed, count = True, 0
    while killed:
        play = make_play(home)
        fill(play)
        node = play.nodes[1]
        killed = killed_at(partial(stopping.discard_node, play, node), change(count))
        (known,) = place.plays()
        assert known.node(12) == node or not node.root.exists(), count
        if known.node(12) is not None:
            stopping.discard_node(known, node)
        assert not node.root.exists()
        assert (play.nodes[0].root / "etc/cluster/node.key").exists()
        assert (play.directory / PASSWORDS).exists()
        stopping.remove(play)
        count += 1
    assert count > 5
