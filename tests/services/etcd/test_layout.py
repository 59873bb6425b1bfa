"""Where etcd members belong: steps that never endanger the majority, and come to an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.states import NodeState
from confd.services.etcd.layout import Add, Member, Remove, first_members, next_step, wanted_members

ON, OFF, SUSPENDED = NodeState.ONLINE, NodeState.OFFLINE, NodeState.SUSPENDED
ALL = dict.fromkeys((11, 12, 13, 14), ON)
THREE = [Member(node, node, started=True) for node in (11, 12, 13)]


@pytest.mark.parametrize(("nodes", "members"), [(0, 1), (1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (64, 5)])
def test_members_by_size(nodes: int, members: int) -> None:
    """One, three or five: an even number is no safer."""
    assert wanted_members(nodes) == members


def test_where_the_first_members_run() -> None:
    """On the first nodes that were not given up, also where one is away: that has to be said, not passed over."""
    assert first_members([11, 12, 13, 14], ALL) == [11, 12, 13]
    assert first_members([11, 12, 13, 14], ALL | {12: SUSPENDED, 13: OFF}) == [11, 13, 14]
    assert first_members([11, 12], ALL) == [11]
    assert first_members([11], {11: SUSPENDED}) == []


def test_nothing_to_do() -> None:
    """Enough members, all on nodes that are there; one that is away for a while stays."""
    assert next_step(THREE, ALL, [11, 12, 13, 14]) is None
    assert next_step(THREE, ALL | {12: OFF}, [11, 12, 13, 14]) is None


def test_a_removed_node() -> None:
    """Its member goes, and another node gets one."""
    states = {11: ON, 12: ON, 14: ON}
    assert next_step(THREE, states, [11, 12, 14]) == Remove(13)
    assert next_step(THREE[:2], states, [11, 12, 14]) == Add(14)


def test_a_node_that_was_given_up() -> None:
    """A suspended node's member goes when another node can take its place, and only then."""
    states = ALL | {13: SUSPENDED}
    assert next_step(THREE, states, [11, 12, 13, 14]) == Remove(13)
    assert next_step(THREE[:2], states, [11, 12, 13, 14]) == Add(14)
    assert next_step(THREE, states | {14: OFF}, [11, 12, 13, 14]) is None


def test_a_member_that_never_came_up() -> None:
    """It is run again while its node is there, and taken back when not; nothing else is added meanwhile."""
    members = [*THREE[:2], Member(13, 13, started=False)]
    assert next_step(members, ALL, [11, 12, 13, 14]) == Add(13)
    assert next_step(members, ALL | {13: OFF}, [11, 12, 13, 14]) == Remove(13)


def test_a_cluster_that_grows() -> None:
    """Three nodes where one was: two more members, one after the other."""
    one, states = [Member(11, 11, started=True)], {11: ON, 12: ON, 13: ON}
    assert next_step(one, states, [11, 12, 13]) == Add(12)
    two = [*one, Member(12, 12, started=True)]
    assert next_step(two, states, [11, 12, 13]) == Add(13)


@given(
    st.lists(st.integers(11, 19), unique=True, max_size=5),
    st.dictionaries(st.integers(11, 19), st.sampled_from(NodeState), min_size=1),
)
def test_steps_come_to_an_end(nodes: list[int], states: dict[int, NodeState]) -> None:
    """Whatever is there: a few steps later nothing is left to do, and the last member is never taken out."""
    members = [Member(node, node, started=True) for node in nodes]
    data_nodes = sorted(states)
    for _ in range(20):
        step = next_step(members, states, data_nodes)
        if step is None:
            break
        if isinstance(step, Remove):
            assert len(members) > 1
            members = [one for one in members if one.id != step.member]
        else:
            assert states[step.node] is ON
            assert all(one.node != step.node for one in members)
            members = [*members, Member(step.node, step.node, started=True)]
    else:
        raise AssertionError("it never ends")
