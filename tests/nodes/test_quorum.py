"""Quorum: more than half of the nodes that are not suspended."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.leading.quorum import quorum_of, refusal, suspending
from confd.model.states import NodeState

STATES = st.dictionaries(st.integers(11, 30), st.sampled_from(list(NodeState)), max_size=12)


@given(STATES)
def test_more_than_half_of_those_that_count(states: dict[int, NodeState]) -> None:
    """The suspended are not counted, neither as there nor as missing."""
    online = sum(state is NodeState.ONLINE for state in states.values())
    offline = sum(state is NodeState.OFFLINE for state in states.values())
    quorum = quorum_of(states)
    assert quorum.held == (online > offline)
    assert len(quorum.voting) == online + offline
    assert all(states[node] is NodeState.OFFLINE for node in quorum.missing)


@given(STATES)
def test_two_sides_never_both_have_it(states: dict[int, NodeState]) -> None:
    """What one side of a split sees as online is offline for the other one."""
    other = {NodeState.ONLINE: NodeState.OFFLINE, NodeState.OFFLINE: NodeState.ONLINE}
    mirrored = {node: other.get(state, state) for node, state in states.items()}
    assert not (quorum_of(states).held and quorum_of(mirrored).held)


@given(STATES, st.data())
def test_suspending_dead_nodes_only_helps(states: dict[int, NodeState], data: st.DataObject) -> None:
    """And suspending all of them brings it back, as long as one node lives."""
    dead = [node for node, state in states.items() if state is NodeState.OFFLINE]
    some = data.draw(st.sets(st.sampled_from(dead)) if dead else st.just(set()))
    assert quorum_of(suspending(states, some)).held >= quorum_of(states).held
    alive = NodeState.ONLINE in states.values()
    assert quorum_of(suspending(states, dead)).held is alive


def test_it_names_the_missing() -> None:
    """In the words that an administrator reads."""
    states = {11: NodeState.ONLINE, 13: NodeState.OFFLINE, 12: NodeState.OFFLINE, 14: NodeState.SUSPENDED}
    assert str(quorum_of(states)) == "2 of 3 nodes are offline (n12, n13)"


def test_who_lives_is_not_to_be_suspended() -> None:
    """Only who may be dead; why they are not heard is said of the first ones."""
    quorum = quorum_of(dict.fromkeys((12, 13, 14), NodeState.OFFLINE) | {11: NodeState.ONLINE})
    start = "3 of 4 nodes are offline (n12, n13, n14), so no changes are accepted"
    nobody = "; bring n12, n13, n14 back, or suspend those that are dead with node_suspend"
    assert refusal(quorum, (), ["", ""]) == start + nobody
    some = "; bring n14 back, or suspend those that are dead with node_suspend; n12, n13 live and must not be suspended"
    assert refusal(quorum, {11, 12, 13}, ["a", "", "b"]) == f"{start}{some} (a; b)"
    living = "; n12, n13, n14 live and must not be suspended (a; b; c; ...)"
    assert refusal(quorum, {12, 13, 14}, ["a", "b", "c", "d"]) == start + living
