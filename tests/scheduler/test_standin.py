"""While there is no master a node answers what its own copy tells, and says how old that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from confd.cluster.following.replica import load_conf
from confd.cluster.leading.doubt import Doubt
from confd.model.errors import NoMaster
from confd.scheduler.caller import SYSTEM, Caller
from confd.scheduler.context import Context
from confd.scheduler.registry import MODIFY, READ, Allow, Job, job
from confd.scheduler.scheduler import Admission
from confd.scheduler.standin import StandIn
from confd.store.sqlite import SqliteStore
from tests.scheduler.world import World

ROOT = Allow(users=("root",))


@pytest.fixture
def stand_in(world: World, jobs: dict[str, Job]) -> Iterator[StandIn]:
    """Give a node whose master is gone."""

    @job(READ, allow=ROOT)
    def names(ctx: Context) -> list[str]:
        """Read the configuration."""
        return sorted(ctx.conf.users)

    @job(READ, allow=ROOT)
    def history(ctx: Context) -> int:
        """Read the history."""
        return len(ctx.store.revisions())

    @job(READ, allow=ROOT)
    def nodes(ctx: Context) -> int:
        """Look at nodes."""
        return len(ctx.cluster.node_states())

    @job(MODIFY, allow=ROOT)
    def change(ctx: Context) -> None:
        """Change something."""

    store = SqliteStore(world.root / "journal.db")
    yield StandIn(store, lambda: load_conf(store, world.vault), world.vault, lambda: Doubt(12.34, "old"))
    store.close()


def admission(name: str, caller: Caller = SYSTEM, **more: Any) -> Admission:
    """Return a call."""
    return Admission("12.1", name, more.pop("given", {}), caller, {}, **more)


@pytest.mark.parametrize(("name", "output"), [("names", ["ann"]), ("history", 1)])
def test_configuration_and_history_are_read(stand_in: StandIn, name: str, output: Any) -> None:
    """The envelope carries the age as a number and a warning for people."""
    envelope = stand_in.admit(admission(name)).done.result().envelope("12.1")
    assert envelope["result_output"] == output
    assert envelope["result_stale"] == 12.3
    assert envelope["result_warnings"] == ["old"]


@pytest.mark.parametrize("call", [admission("nodes"), admission("change"), admission("names", start=True)])
def test_everything_else_waits_for_a_master(stand_in: StandIn, call: Admission) -> None:
    """What asks nodes, changes something, or has to be kept in the history."""
    with pytest.raises(NoMaster, match="needs the master"):
        stand_in.admit(call)


def test_rights_and_parameters_are_checked(stand_in: StandIn) -> None:
    """As a master does."""
    stranger = Caller("bob", 7, 7, frozenset())
    assert stand_in.admit(admission("names", stranger)).done.result().name == "PERMISSION_DENIED"
    assert stand_in.admit(admission("nmaes")).done.result().name == "UNKNOWN_JOB"
    assert stand_in.admit(admission("names", given={"x": 1})).done.result().name == "UNKNOWN_PARAMETER"


def test_jobs_of_the_history(stand_in: StandIn) -> None:
    """A job that ended is told of; plans and events are the master's."""
    assert stand_in.ticket("11.0") is None
    assert stand_in.file("99.1") is None
    with pytest.raises(NoMaster, match=r"job 99\.1, which is not known here, needs the master"):
        stand_in.check_unknown("99.1")
    with pytest.raises(NoMaster):
        stand_in.plan(admission("names"))
    with pytest.raises(NoMaster):
        _ = stand_in.events
