"""What a serving database is given beside its instances, and how its data come to another version."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.states import NodeState
from confd.services.database.observed import Follower, Instance, InstanceState, Role
from confd.services.database.planning.actions import Refresh, Remember, Restrict, StartPrimary, Upgrade
from confd.services.database.planning.planner import plan
from confd.services.database.planning.situation import Situation, Spec
from confd.services.database.planning.upkeep import plan_upkeep
from confd.services.database.record import Record, Wanted

RECORD = Record(
    wanted=Wanted.RUNNING, generation="g", next_generation="h", system_id="1", primary=11, timeline=1,
    copies=(11, 12), settled=True, volume="v",
)  # fmt: skip
PRIMARY = Instance(
    node=11, state=InstanceState.READY, role=Role.PRIMARY, generation="g", system_id="1", timeline=1, kept=(12,),
    followers=(Follower(12, "streaming", "async", "0/1"),),
)  # fmt: skip
STANDBY = msgspec.structs.replace(PRIMARY, node=12, role=Role.STANDBY, followers=(), kept=(), streaming=True)


def situation(primary: Instance = PRIMARY, standby: Instance | None = STANDBY, quota: int = 0, **more) -> Situation:
    """Return a database of two nodes."""
    seen = {11: primary} | ({12: standby} if standby else {})
    states = {11: NodeState.ONLINE, 12: NodeState.ONLINE if standby else NodeState.OFFLINE}
    return Situation(database="DB1", spec=Spec((11, 12), (), 1, quota), record=RECORD, nodes=states, seen=seen, **more)


@given(
    used=st.integers(0, 100), quota=st.integers(0, 100), read_only=st.booleans(), writers=st.integers(0, 2),
    stale=st.sets(st.sampled_from((11, 12))),
)  # fmt: skip
def test_upkeep_ends(used: int, quota: int, read_only: bool, writers: int, stale: set[int]) -> None:
    """After what is planned was done nothing is left: all is fresh, and read-only exactly at the quota."""
    primary = msgspec.structs.replace(
        PRIMARY, used=used, read_only=read_only, writers=writers if read_only else 0, stale=11 in stale
    )
    standby = msgspec.structs.replace(STANDBY, stale=12 in stale)
    for _ in range(3):
        for action in plan_upkeep(situation(primary, standby, quota), primary):
            match action:
                case Refresh(11):
                    primary = msgspec.structs.replace(primary, stale=False)
                case Refresh(12):
                    standby = msgspec.structs.replace(standby, stale=False)
                case Restrict(11, restricted):
                    primary = msgspec.structs.replace(primary, read_only=restricted, writers=0)
    assert not list(plan_upkeep(situation(primary, standby, quota), primary))
    assert not primary.stale
    assert not standby.stale
    assert primary.read_only == (quota > 0 and used >= quota)


def test_upkeep_waits_for_its_node() -> None:
    """A node where something is under way is left alone; the other one is not."""
    stale = msgspec.structs.replace(PRIMARY, stale=True)
    now = situation(stale, msgspec.structs.replace(STANDBY, stale=True), busy={11: Refresh(11)})
    assert list(plan_upkeep(now, stale)) == [Refresh(12)]


@pytest.mark.parametrize("standby", [STANDBY, None])
def test_data_are_upgraded_before_the_primary_starts(standby: Instance | None) -> None:
    """Data of another version are brought along, then taken as the database's, whether all nodes are seen or not."""
    stopped = msgspec.structs.replace(PRIMARY, state=InstanceState.STOPPED, followers=(), kept=(), fits=False)
    still = msgspec.structs.replace(standby, state=InstanceState.STOPPED, fits=False) if standby else None
    assert plan(situation(stopped, still)).actions == (Upgrade(11, "h"),)
    assert plan(situation(stopped, still, busy={11: Upgrade(11, "h")})).actions == ()
    upgraded = msgspec.structs.replace(stopped, generation="h", system_id="2", fits=True)
    (action,) = plan(situation(upgraded, still)).actions
    assert isinstance(action, Remember)
    record = action.record
    assert (record.generation, record.system_id, record.primary, record.copies) == ("h", "2", 11, (11,))
    after = msgspec.structs.replace(situation(upgraded, still), record=record)
    assert [type(one) for one in plan(after).actions] == [StartPrimary]
