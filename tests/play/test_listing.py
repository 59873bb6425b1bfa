"""The table of c4 ps, and what counts as a stage reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from confd.model.errors import InvalidParameter
from confd.play import listing
from confd.play.listing import NodeStatus, State
from confd.play.record import Progress
from tests.play.conftest import make_play


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.9, "00:00:00"), (61, "00:01:01"), (3600 * 23, "23:00:00"), (86400 * 2 + 5, "2d 00:00:05")],
)
def test_uptime(seconds: float | None, text: str):
    """Uptime is hours, minutes, seconds, with days in front."""
    assert listing.format_uptime(seconds) == text


def test_table(home: Path):
    """Columns stand below their heads."""
    play = make_play(home, nodes=(11,))
    text = listing.table([(play, [NodeStatus(play.nodes[0], "c", State.RUNNING, 7, 5.0)])])
    head, row = text.splitlines()
    assert head.split() == [
        "N", "PLAY_ID", "NODE", "MEDIUM", "INSTANCE", "DB_VERSION", "EXTERNAL_IP", "INTERNAL_IP", "STAGE", "STATE",
        "UPTIME", "TTL",
    ]  # fmt: skip
    assert row.split() == [
        "1", "0a1b2c3d", "11", "host", "-", "18.4", "127.1.1.11", "127.1.1.11", "c", "running", "00:00:05", "-",
    ]  # fmt: skip
    assert row.index("running") == head.index("STATE")


def test_empty_table():
    """Without plays there is the head alone."""
    assert len(listing.table([]).splitlines()) == 1


def test_what_does_not_run_is_stopped_or_failed(home: Path):
    """A node without daemon is stopped; in a play that never came up it failed."""
    play = make_play(home)
    assert {status.state for status in listing.look(play)} == {State.STOPPED}
    assert {status.state for status in listing.look(play.with_progress(Progress.FAILED))} == {State.FAILED}


def test_access_node_ends_at_c(home: Path):
    """A play is at stage d when all its nodes are, except for the access node, which never gets there."""
    play = make_play(home, nodes=(10, 11))

    def reached(stage: str, access: str, data: str) -> bool:
        seen = zip(play.nodes, (access, data), strict=True)
        return listing.has_reached([NodeStatus(node, one, State.RUNNING) for node, one in seen], stage)

    assert reached("d", access="c", data="d")
    assert not reached("d", access="c", data="c")
    assert reached("c", access="c", data="c")
    assert not reached("c", access="b1", data="c")


def test_nodes_that_were_removed_are_not_waited_for(home: Path):
    """What is no longer in the cluster gets to no stage."""
    node, gone = make_play(home, nodes=(11, 12)).nodes
    seen = [NodeStatus(node, "d", State.RUNNING), NodeStatus(gone, "a1", State.REMOVED)]
    assert listing.has_reached(seen, "d")


def test_unknown_stage():
    """An unknown stage is refused with those that there are."""
    with pytest.raises(InvalidParameter, match="a, a1, b, b1, c, d"):
        listing.check_stage("e")
