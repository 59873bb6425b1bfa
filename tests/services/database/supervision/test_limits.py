"""Settings that no standby may have smaller than the primary had when it wrote the WAL."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from confd.model.states import DatabaseState
from confd.services.database.record import Wanted
from tests.servers import POSTGRESQL, require
from tests.services.database.rig import NAME, Rig
from tests.services.database.waiting import until
from tests.torture import long

LIMITS = {
    "max_connections": (300, 100),
    "max_worker_processes": (16, 8),
    "max_locks_per_transaction": (128, 64),
    "max_prepared_transactions": (10, 0),
}
RAISED = " ".join(f"-{name}={raised}" for name, (raised, _) in LIMITS.items())


def limits(rig: Rig, node: int) -> list[int]:
    """Return what the server of a node runs with."""
    return [int(value) for name in LIMITS for ((value,),) in [rig.sql(node, f"SHOW {name}")]]


def served(rig: Rig, node: int) -> list[int] | None:
    """Return the same, nothing while it does not serve."""
    try:
        return limits(rig, node)
    except psycopg.Error:
        return None


@pytest.mark.parametrize("version", ["15", "18"])
def test_lowered_limits(make_rig: Callable[..., Rig], version: str) -> None:
    """The primary has lower ones at once; a standby that has seen so with its next start."""
    if version == "15":
        require(POSTGRESQL)
    rig = make_rig(11, 12)
    rig.volume(redundancy=2)
    rig.database(version=version, params=RAISED)
    supervision = rig.supervise()
    rig.define()
    supervision.want(NAME, Wanted.RUNNING)
    rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    supervision.want(NAME, Wanted.STOPPED)
    raised, lowered = ([value[one] for value in LIMITS.values()] for one in (0, 1))

    rig.database(version=version)
    assert supervision.want(NAME, Wanted.RUNNING).state is DatabaseState.RUNNING
    assert [limits(rig, node) for node in (11, 12)] == [lowered, raised]
    until(lambda: rig.sql(12, "SELECT i FROM t") == [(1,)])
    supervision.want(NAME, Wanted.STOPPED)
    supervision.want(NAME, Wanted.RUNNING)
    assert [limits(rig, node) for node in (11, 12)] == [lowered, lowered]


@long
def test_a_primary_with_higher_limits(make_rig: Callable[..., Rig]) -> None:
    """A running standby replays nothing of it any more, and could not take over: it is started anew."""
    rig = make_rig(11, 12)
    rig.volume(redundancy=2)
    rig.database()
    supervision = rig.supervise()
    rig.define()
    supervision.want(NAME, Wanted.RUNNING)
    # As when a standby takes over that still has the limits of before.
    rig.database(params=RAISED)
    rig.keeper(11).leave("fast", 10)
    raised = [value for value, _ in LIMITS.values()]
    until(lambda: served(rig, 11) == raised)
    rig.database()
    rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    until(lambda: served(rig, 12) == raised)
    until(lambda: rig.sql(12, "SELECT count(*) FROM pg_class WHERE relname = 't'") == [(1,)])
