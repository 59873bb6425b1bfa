"""A standby got more of the lost primary's WAL than the one that took over: it rejoins with the copy that it has."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from confd.services.database.keeper.processes import processes_in, wait_gone
from confd.services.database.record import Wanted
from tests.servers import POSTGRESQL, require
from tests.services.database.rig import NAME, Rig
from tests.services.database.supervision.test_failover import begun, has, kill_node, primary, revive, rows
from tests.services.database.waiting import until
from tests.torture import long

LOST, HEIR, AHEAD = 11, 12, 13
UNACKNOWLEDGED = "SET synchronous_commit = local; INSERT INTO written "
STEADY = "-bgwriter_lru_maxpages=0"
"""Nothing is written to the files but at checkpoints."""


@pytest.fixture(params=[pytest.param("15", marks=long), "18"])
def forked(request: pytest.FixtureRequest, make_rig: Callable[..., Rig]) -> Rig:
    """Without a master: the standby that will take over is cut off from its primary, the other one gets more rows."""
    if request.param == "15":
        require(POSTGRESQL)
    rig = begun(make_rig(LOST, HEIR, AHEAD), redundancy=3, version=request.param, params=STEADY)
    rig.sql(LOST, "INSERT INTO written VALUES (1)")
    rig.supervisions[0].close()
    place = rig.layout(HEIR).config / "role.conf"
    place.write_text(place.read_text().replace(str(rig.port), "1"))
    rig.sql(HEIR, "SELECT pg_reload_conf()")
    until(lambda: rig.sql(HEIR, "SELECT count(*) FROM pg_stat_wal_receiver") == [(0,)])
    rig.sql(LOST, UNACKNOWLEDGED + "SELECT generate_series(1000, 1999)")
    until(lambda: len(rows(rig, AHEAD)) == 1001)
    return rig


def cut_power(rig: Rig, node: int) -> None:
    """Kill -9 of all that belongs to a node's instance, before its keeper's death could stop it in order."""
    status = rig.keeper(node).status()
    assert status
    os.kill(status.keeper, signal.SIGSTOP)
    servers = processes_in(rig.data(node))
    for pid in servers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_gone(pid, 10)
    os.kill(status.keeper, signal.SIGKILL)
    # A server does not start while the one that its lock file names is in the table of processes.
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in servers))


def take_over(rig: Rig) -> None:
    """Lose the primary while the other standby is away, and write to its heir."""
    kill_node(rig, LOST)
    rig.cluster.offline.add(AHEAD)
    rig.supervise()
    until(lambda: primary(rig) == HEIR)
    until(lambda: rig.supervisions[-1].observe(NAME).connectible)
    rig.sql(HEIR, UNACKNOWLEDGED + "VALUES (2)")


def rejoined(rig: Rig) -> list[str]:
    """Let the other standby come back; return what was done until commits wait for it. It has all rows, and no others."""
    before = len(rig.cluster.called)
    revive(rig, AHEAD)
    until(lambda: has(rig, AHEAD, {1, 2}), 60)
    until(lambda: AHEAD in rig.supervisions[-1].observe(NAME).record.quorum.standbys)
    assert rows(rig, AHEAD) == {1, 2}
    done = [name.removeprefix("database.") for name, node in rig.cluster.called[before:] if node == AHEAD]
    return [name for name in done if name not in ("observe", "usage")]


def test_what_was_stopped_is_rewound(forked: Rig) -> None:
    """Its files are of a later state than the fork."""
    forked.keeper(AHEAD).leave("fast", 30)
    take_over(forked)
    assert rejoined(forked) == ["rewind", "start_standby"]


def test_what_was_killed_only_loses_wal(forked: Rig) -> None:
    """Its files are of an earlier state than the fork: it starts as it is, and does not replay what it has beyond."""
    cut_power(forked, AHEAD)
    take_over(forked)
    assert rejoined(forked) == ["start_standby"]


@long
def test_what_was_killed_later_is_rewound(forked: Rig) -> None:
    """It had written the later state to its files; pg_rewind alone does not recover a killed standby."""
    for node in (LOST, AHEAD):
        forked.sql(node, "CHECKPOINT")
    cut_power(forked, AHEAD)
    take_over(forked)
    assert rejoined(forked) == ["rewind", "start_standby"]


@long
def test_what_runs_is_stopped_first(forked: Rig) -> None:
    """It has replayed what its new primary does not know."""
    take_over(forked)
    assert rejoined(forked) == ["stop", "rewind", "start_standby"]


@long
@pytest.mark.parametrize("version", ["15", "18"])
def test_a_history_that_was_given_up_is_not_taken_for_the_new_one(make_rig: Callable[..., Rig], version: str) -> None:
    """Who takes over never heard of the last primary, and begins a number that none of its copies has."""
    if version == "15":
        require(POSTGRESQL)
    rig = begun(make_rig(11, 12, 13), redundancy=1, version=version)
    supervision = rig.supervisions[0]
    rig.sql(11, "INSERT INTO written VALUES (1)")
    until(lambda: has(rig, 13, {1}))
    rig.cluster.offline.add(13)
    rig.keeper(13).leave("fast", 30)
    supervision.suspend(NAME, [11])
    until(lambda: primary(rig) == 12)
    supervision.resume(NAME, [11])
    until(lambda: supervision.observe(NAME).connectible)
    rig.sql(12, "INSERT INTO written VALUES (2)")
    until(lambda: has(rig, 11, {1, 2}), 60)
    for node in (11, 12):
        kill_node(rig, node)
    revive(rig, 13)
    until(lambda: "accept_loss" in supervision.observe(NAME).info)
    supervision.want(NAME, Wanted.STOPPED)
    supervision.want(NAME, Wanted.RUNNING, accept_loss=True)
    assert primary(rig) == 13
    assert rig.sql(13, "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)") == [("00000003",)]
    rig.sql(13, "INSERT INTO written VALUES (3)")
    for node in (11, 12):
        revive(rig, node)
    for node in (11, 12):
        until(lambda node=node: has(rig, node, {1, 3}), 60)
        assert rows(rig, node) == {1, 3}
