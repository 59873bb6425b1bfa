"""Who takes the place of a lost node, and when the data volume follows."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.exaconf import Database, Volume, VolumeType
from confd.model.errors import InvalidParameter, WrongState
from confd.model.sizes import Bytes
from confd.model.states import NodeState
from confd.services.database.planning.reserves import enlarged, holds_still, is_due, lost_node, noted, replaced
from confd.services.database.planning.situation import Situation, Spec
from confd.services.database.record import Move, Record, Wanted

DATABASE = Database(
    name="d", id="", version="18", mem_size=Bytes(1), nodes=(11, 12, 13, 14), num_active_nodes=2, data_volume="v"
)
VOLUME = Volume(name="v", type=VolumeType.DATA, size=Bytes(1), disk="disk1", nodes=(11, 12), redundancy=2, id=0)
MOVE = Move(12, 13, 1000.0)


def situation(offline: tuple[int, ...] = (), late: tuple[int, ...] = (), **record: object) -> Situation:
    """Make a running database whose primary is n11."""
    states = {node: NodeState.OFFLINE if node in offline else NodeState.ONLINE for node in (11, 12, 13, 14)}
    known = Record(wanted=Wanted.RUNNING, settled=True, primary=11)
    return Situation(
        database="d", spec=Spec((11, 12), (), 2), record=msgspec.structs.replace(known, **record), nodes=states,
        seen={}, late=frozenset(late),
    )  # fmt: skip


def test_a_lost_node_is_replaced() -> None:
    """One that does not answer and does not stream; a dead daemon beside a living server is no loss."""
    assert lost_node(situation((12,), (12,)), DATABASE, VOLUME) == Move(12, 13, 0.0)
    assert lost_node(situation((12,)), DATABASE, VOLUME) is None
    assert lost_node(situation((), (12,)), DATABASE, VOLUME) is None
    assert lost_node(situation((12,), (12,), settled=False), DATABASE, VOLUME) is None
    assert lost_node(situation((12,), (12,), wanted=Wanted.STOPPED), DATABASE, VOLUME) is None


def test_the_primary_is_not_replaced_before_another_one_is_elected() -> None:
    """Without proof that it is dead, it keeps its place."""
    assert lost_node(situation((11,), (11,)), DATABASE, VOLUME) is None


def test_reserve_nodes_with_a_segment_come_first() -> None:
    """A node that has the space already serves at once; offline and suspended ones are left out."""
    housed = msgspec.structs.replace(VOLUME, nodes=(11, 12, 14))
    assert lost_node(situation((12,), (12,)), DATABASE, housed) == Move(12, 14, 0.0)
    assert lost_node(situation((12, 14), (12,)), DATABASE, housed) == Move(12, 13, 0.0)
    assert lost_node(situation((12, 14), (12,), suspended=(13,)), DATABASE, housed) is None


def test_a_move_that_is_tried_again_is_noted_once() -> None:
    """A job that failed is submitted again; since when its node is lost stays."""
    again = msgspec.structs.replace(MOVE, since=MOVE.since + 30)
    assert noted(noted((), MOVE), again) == (MOVE,)


def test_the_volume_follows_after_the_delay() -> None:
    """Only while the lost node is the only one of the volume that is offline; not once it has returned."""
    moved = replaced(DATABASE, 12, 13)
    assert moved.nodes == (11, 13, 12, 14)
    now = situation((12,), (12,))
    assert holds_still(MOVE, now, moved, VOLUME)
    assert not is_due(MOVE, now, moved, VOLUME, 1599.0)
    assert is_due(MOVE, now, moved, VOLUME, 1600.0)
    assert is_due(MOVE, now, msgspec.structs.replace(moved, volume_move_delay=0), VOLUME, 1000.0)
    assert not is_due(MOVE, situation((11, 12), (12,)), moved, VOLUME, 1600.0)
    assert not is_due(MOVE, situation((12,), (12,), wanted=Wanted.STOPPED), moved, VOLUME, 1600.0)
    assert not holds_still(MOVE, situation(), moved, VOLUME)
    assert not holds_still(MOVE, now, moved, msgspec.structs.replace(VOLUME, nodes=(11, 13)))


@given(st.permutations((11, 12, 13, 14)), st.integers(1, 3))
def test_replacing_twice_changes_nothing(order: list[int], active: int) -> None:
    """No node gets lost, and the number of active nodes stays."""
    database = msgspec.structs.replace(DATABASE, nodes=tuple(order), num_active_nodes=active)
    once = replaced(database, order[0], order[-1])
    assert sorted(once.nodes) == sorted(order)
    assert order[-1] in once.active_nodes
    assert replaced(once, order[-1], order[0]) == database


def test_enlarging_takes_what_has_segments() -> None:
    """Reserve nodes of the volume become active; too few of them, or a volume without room, are refused."""
    volume = msgspec.structs.replace(VOLUME, nodes=(11, 12, 14), num_master_nodes=3)
    assert enlarged(DATABASE, volume, 1, ()).active_nodes == (11, 12, 14)
    with pytest.raises(InvalidParameter, match="2 reserve nodes"):
        enlarged(DATABASE, volume, 3, ())
    with pytest.raises(WrongState, match="st_volume_append_node"):
        enlarged(DATABASE, VOLUME, 1, ())
    with pytest.raises(WrongState, match="st_volume_append_node"):
        enlarged(DATABASE, volume, 1, (14,))
