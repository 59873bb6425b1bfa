"""The table of c4 ps, and what counts as a stage reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from confd.exaconf import Global, Node, render
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
    stages = {10: "c", 11: "d"}

    def reached(stage: str) -> bool:
        seen = [NodeStatus(node, stages[node.node], State.RUNNING) for node in play.nodes]
        return listing.has_reached(seen, stage)

    assert reached("d")
    stages[11] = "c"
    assert not reached("d")
    assert reached("c")
    stages[10] = "b1"
    assert not reached("c")


def test_removed_nodes_are_shown_and_not_waited_for(home: Path):
    """A node that the newest EXAConf here does not have is removed, whatever its own old file says."""
    play = make_play(home)
    for node, conf in ((11, {11: 7}), (12, {11: 6, 12: 6})):
        path = home / f"1_0a1b2c3d/n{node}/etc/EXAConf"
        path.parent.mkdir(parents=True)
        nodes = (Node(one, name=f"n{one}", private_net=f"127.0.0.{one}/8", uuid=str(one)) for one in conf)
        sections = [Global(cluster_name="c", platform="Host"), *nodes]
        path.write_text(render({section.key: section for section in sections}, max(conf.values())))
    assert [status.state for status in listing.look(play)] == [State.STOPPED, State.REMOVED]
    assert not listing.has_reached(listing.look(play), "c")


def test_unknown_stage():
    """An unknown stage is refused with those that there are."""
    with pytest.raises(InvalidParameter, match="a, a1, b, b1, c, d"):
        listing.check_stage("e")
