"""Where etcd members belong: steps that never endanger the majority, and come to an end."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.states import NodeState
from confd.services.etcd.layout import Add, Member, Promote, Remove, first_members, host_of, next_step, wanted_members

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
    assert next_step(THREE, states, [11, 12, 13, 14]) == Remove(13, heir=14)
    assert next_step(THREE[:2], states, [11, 12, 13, 14]) == Add(14)
    assert next_step(THREE, states, [11, 12, 13, 14], {14}) is None
    assert next_step(THREE, states | {14: OFF}, [11, 12, 13, 14]) is None


def test_a_member_that_never_came_up() -> None:
    """It is run again while its node is there and can run it, and taken back when not; nothing else is added meanwhile."""
    members = [*THREE[:2], Member(13, 13, started=False, learner=True)]
    assert next_step(members, ALL, [11, 12, 13, 14]) == Add(13)
    assert next_step(members, ALL, [11, 12, 13, 14], {13}) == Remove(13)
    assert next_step(members, ALL | {13: OFF}, [11, 12, 13, 14]) == Remove(13)
    assert next_step(THREE[:2], ALL, [11, 12, 13, 14], {13}) == Add(14)


def test_a_member_gets_its_vote_once_it_runs() -> None:
    """Until then nothing else is added; it goes when its node does."""
    members = [*THREE[:2], Member(13, 13, started=True, learner=True)]
    assert next_step(members, ALL, [11, 12, 13, 14]) == Promote(13)
    assert next_step(members, ALL | {13: SUSPENDED}, [11, 12, 13, 14]) == Remove(13)


def test_a_cluster_that_grows() -> None:
    """Three nodes where one was: two more members, one after the other."""
    one, states = [Member(11, 11, started=True)], {11: ON, 12: ON, 13: ON}
    assert next_step(one, states, [11, 12, 13]) == Add(12)
    two = [*one, Member(12, 12, started=True)]
    assert next_step(two, states, [11, 12, 13]) == Add(13)


def test_a_member_that_lost_its_data() -> None:
    """It is taken out and made anew, unless it is the last one; one that has not begun has nothing to lose."""
    assert next_step(THREE, ALL, [11, 12, 13], lost={13}) == Remove(13)
    assert next_step(THREE[:2], ALL, [11, 12, 13], lost={13}) == Add(13)
    assert next_step([*THREE[:2], Member(13, 13, started=False, learner=True)], ALL, [11, 12, 13], lost={13}) == Add(13)
    assert next_step(THREE[:1], {11: ON}, [11], lost={11}) is None


MEMBERS = st.lists(
    st.builds(Member, st.just(0), st.integers(11, 19), started=st.booleans(), learner=st.booleans()),
    unique_by=lambda one: one.node,
    max_size=5,
).map(lambda members: [msgspec.structs.replace(one, id=100 + (one.node or 0)) for one in members])


@given(
    MEMBERS,
    st.dictionaries(st.integers(11, 19), st.sampled_from(NodeState), min_size=1),
    st.sets(st.integers(11, 19)),
    st.sets(st.integers(11, 19)),
    st.data(),
)
def test_steps_come_to_an_end(
    members: list[Member], states: dict[int, NodeState], broken: set[int], lost: set[int], data: st.DataObject
) -> None:
    """Whatever is there: some steps later nothing is left to do. The last voter is never taken out.

    No node that cannot run a member is given one, or costs another one its place. No member without data stays.
    """
    data_nodes = sorted(states)
    lost = {node for node in lost if states.get(node) is ON}
    members = [Member(1, None, started=True), *members]
    unfit: set[int] = set()
    tried: set[int] = set()
    for _ in range(60):
        step = next_step(members, states, data_nodes, unfit, lost)
        if (asked := host_of(step)) is not None and asked in broken:
            assert asked not in unfit
            unfit.add(asked)
            continue
        if step is None:
            assert len(members) == 1 or not any(one.started and one.node in lost for one in members)
            break
        if isinstance(step, Remove):
            assert any(one.started and not one.learner for one in members if one.id != step.member)
            members = [one for one in members if one.id != step.member]
        elif isinstance(step, Promote):
            members = [msgspec.structs.replace(one, learner=False) if one.id == step.member else one for one in members]
        else:
            assert states[step.node] is ON
            others = [one for one in members if one.node != step.node]
            if len(others) == len(members):
                assert all(one.started and not one.learner for one in members)
            started = step.node in tried or data.draw(st.booleans())
            tried.add(step.node)
            if started:
                lost.discard(step.node)
            members = [*others, Member(step.node, step.node, started=started, learner=True)]
        unfit.clear()
    else:
        raise AssertionError("it never ends")
