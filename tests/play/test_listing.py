"""The table of c4 ps, and what counts as a stage reached."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from confd.exaconf import Database, Global, Node, render
from confd.model.errors import InvalidParameter, WrongState
from confd.play import listing
from confd.play.listing import NodeStatus, State
from confd.play.record import Maker, Progress
from confd.play.unfinished import begin, check_files, check_stage
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


def test_a_play_that_is_made_is_starting(home: Path):
    """While its maker lives a play is on its way and nothing is missing; then it has failed, with what to do."""
    play = begin(make_play(home))
    assert {status.state for status in listing.look(play)} == {State.STARTING}
    assert listing.gaps([play]) == ""
    with pytest.raises(WrongState, match="being made; c4 wait -t 1 waits for it"):
        check_files(play)
    check_stage(play, "d")
    play = msgspec.structs.replace(play, maker=Maker(os.getpid(), 1))
    assert {status.state for status in listing.look(play)} == {State.FAILED}
    assert "made all its files; delete the play (c4 rm -t 1)" in listing.gaps([play])
    for refused in (lambda: check_files(play), lambda: check_stage(play, "c")):
        with pytest.raises(WrongState, match="made all its files"):
            refused()


def test_a_database_that_nobody_makes(home: Path):
    """It is missing until there is one in EXAConf, by whomever; what was completed once misses nothing."""
    play = msgspec.structs.replace(make_play(home), maker=Maker(os.getpid(), 1), progress=Progress.READY)
    assert "before it had made database Exasol; make one with jobs" in listing.gaps([play])
    check_stage(play, "c")
    with pytest.raises(WrongState, match="database Exasol"):
        check_stage(play, "d")
    assert listing.gaps([msgspec.structs.replace(play, maker=None)]) == ""
    assert listing.gaps([msgspec.structs.replace(play, database=None)]) == ""
    path = play.nodes[1].root / "etc/EXAConf"
    path.parent.mkdir(parents=True)
    database = Database(
        name="Other", id="1", version="18.4", mem_size=1 << 30, nodes=(11,), num_active_nodes=1, data_volume="Data"
    )  # fmt: skip
    sections = [Global(cluster_name="c", platform="Host"), database]
    path.write_text(render({section.key: section for section in sections}, 3))
    assert listing.gaps([play]) == ""


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
