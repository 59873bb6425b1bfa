"""What administrators are told: whether the database serves, and why commits or starts wait."""

from __future__ import annotations

import msgspec

from confd.model.states import DatabaseState, NodeState
from confd.services.database.observed import Follower, Instance, InstanceState, Role
from confd.services.database.planning.situation import Situation, Spec
from confd.services.database.record import Quorum, Record, Wanted
from confd.services.database.supervision.observation import observation

RECORD = Record(
    wanted=Wanted.RUNNING, settled=True, generation="g", system_id="s", primary=11, timeline=1, volume="v",
    quorum=Quorum((12, 13), 1),
)  # fmt: skip


def instance(node: int, role: Role = Role.STANDBY, **more: object) -> Instance:
    """A ready instance of the database."""
    made = Instance(
        node=node, state=InstanceState.READY, role=role, generation="g", owner="db", system_id="s", timeline=1
    )
    return msgspec.structs.replace(made, **more)


def situation(*seen: Instance) -> Situation:
    """Three nodes; those that are not seen are offline."""
    there = {one.node: one for one in seen}
    states = {node: NodeState.ONLINE if node in there else NodeState.OFFLINE for node in (11, 12, 13)}
    return Situation(database="db", spec=Spec((11, 12, 13), (), 2), record=RECORD, nodes=states, seen=there)


def test_primary_beside_a_dead_daemon_serves() -> None:
    """Nobody can ask it, but a standby receives from it: the database runs and takes connections."""
    now = situation(instance(12, streaming=True, follows=11), instance(13))
    seen = observation(now)
    assert (seen.state, seen.connectible, seen.missing) == (DatabaseState.RUNNING, True, (11,))
    for standby in (instance(12), instance(12, streaming=True, follows=13), instance(12, follows=11)):
        assert not observation(situation(standby)).connectible
    promoting = msgspec.structs.replace(now, record=msgspec.structs.replace(RECORD, promoting=True))
    assert not observation(promoting).connectible


def test_commits_that_wait_are_explained() -> None:
    """Who is waited for, who does not follow, and what ends it: few seconds, or nodes that come back."""
    primary = instance(11, Role.PRIMARY, synchronous="ANY 1 (n12, n13)")
    assert (
        "Commits wait"
        not in observation(
            situation(msgspec.structs.replace(primary, followers=(Follower(12, "streaming", "quorum", "0/1"),)))
        ).info
    )
    cut_off = observation(situation(primary)).info
    assert "Commits wait for 1 of n12, n13; n12, n13 does not follow" in cut_off
    assert "more than half of the nodes" in cut_off
    alone = observation(situation(primary, instance(12))).info
    assert "a few seconds" in alone
    assert "Commits wait" not in observation(situation(msgspec.structs.replace(primary, synchronous=""))).info


def test_lapsed_instance_is_explained() -> None:
    """Why a primary does not run although nobody stopped it."""
    now = situation(instance(11, Role.PRIMARY, lapsed=True))
    assert "lease" not in observation(now).info
    now = situation(instance(11, Role.PRIMARY, lapsed=True, state=InstanceState.STOPPED))
    assert "n11 stopped its instance because it could not renew its lease" in observation(now).info
