"""Who may be suspended, resumed, removed or stopped."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from confd.cluster.leading.quorum import quorum_of, suspending
from confd.exaconf import Node
from confd.exaconf.nodes import DISABLED, SUSPENDED
from confd.model.errors import NoQuorum, WrongState
from confd.model.states import NodeState
from confd.services.nodes.standing import (
    Suspension,
    check_remove,
    check_resume,
    check_suspend,
    left_after_stop,
    returned,
)

MASTER = 11
OTHERS = st.dictionaries(st.integers(12, 19), st.sampled_from(list(NodeState)), max_size=7)


def nodes_of(states: dict[int, NodeState]) -> dict[int, Node]:
    """Return sections that fit the states."""
    return {
        node: Node(id=node, name=f"n{node}", state=SUSPENDED if state is NodeState.SUSPENDED else "")
        for node, state in states.items()
    }


@given(OTHERS, st.data())
def test_what_is_accepted_keeps_or_brings_a_quorum(others: dict[int, NodeState], data: st.DataObject) -> None:
    """Whatever is suspended: the master stays, who has a quorum keeps it, who has none suspends dead nodes only."""
    states = {MASTER: NodeState.ONLINE, **others}
    chosen = data.draw(st.sets(st.sampled_from(sorted(states)), min_size=1))
    try:
        check_suspend(nodes_of(states), states, chosen, MASTER, False)
    except (WrongState, NoQuorum):
        return
    after = suspending(states, chosen)
    assert after[MASTER] is NodeState.ONLINE
    assert quorum_of(after).held >= quorum_of(states).held
    if not quorum_of(states).held:
        assert all(states[node] is NodeState.OFFLINE for node in chosen)


@given(OTHERS, st.data())
def test_dead_nodes_can_always_be_suspended(others: dict[int, NodeState], data: st.DataObject) -> None:
    """With or without a quorum, one by one or all at once; all of them bring it back."""
    states = {MASTER: NodeState.ONLINE, **others}
    dead = [node for node, state in states.items() if state is NodeState.OFFLINE]
    assume(dead)
    chosen = data.draw(st.sets(st.sampled_from(dead), min_size=1))
    check_suspend(nodes_of(states), states, chosen, MASTER, False)
    assert quorum_of(suspending(states, dead)).held


def test_why_a_node_is_not_suspended() -> None:
    """Each refusal says what to do."""
    states = {11: NodeState.ONLINE, 12: NodeState.ONLINE, 13: NodeState.OFFLINE, 14: NodeState.SUSPENDED}
    nodes = nodes_of(states)
    with pytest.raises(WrongState, match="n14 is suspended already"):
        check_suspend(nodes, states, [14], 11, False)
    check_suspend(nodes, states, [14], 11, True)
    with pytest.raises(WrongState, match="n11, n12 is all that runs"):
        check_suspend(nodes, states, [11, 12], 11, False)
    with pytest.raises(WrongState, match=r"n11 is the master.*master_change"):
        check_suspend(nodes, states, [11], 11, False)
    with pytest.raises(WrongState, match=r"without n12 1 of 2 nodes are offline \(n13\), too few.*suspend n13 as well"):
        check_suspend(nodes, states, [12], 11, False)
    check_suspend(nodes, states, [12, 13], 11, False)
    lost = states | {15: NodeState.OFFLINE}
    with pytest.raises(NoQuorum, match="n12 is online"):
        check_suspend(nodes_of(lost), lost, [12, 13], 11, False)
    alone = {11: NodeState.ONLINE}
    with pytest.raises(WrongState, match="n11 is all that runs"):
        check_suspend(nodes_of(alone), alone, [11], 11, False)


def test_resuming_never_costs_the_quorum() -> None:
    """A node that answers may always be counted again; a silent one only while enough others are there."""
    states = {11: NodeState.ONLINE, 12: NodeState.SUSPENDED}
    nodes = nodes_of(states)
    check_resume(nodes, states | {12: NodeState.ONLINE}, [12])
    with pytest.raises(WrongState, match="start the daemon there"):
        check_resume(nodes, states | {12: NodeState.OFFLINE}, [12])
    with pytest.raises(WrongState, match="n11 is not suspended"):
        check_resume(nodes, states, [11])
    more = {11: NodeState.ONLINE, 13: NodeState.ONLINE, 12: NodeState.SUSPENDED}
    check_resume(nodes_of(more), more | {12: NodeState.OFFLINE}, [12])


def test_who_must_not_be_removed() -> None:
    """The last node, the master, a suspended node without force, and nobody whose loss costs the quorum."""
    states = {11: NodeState.ONLINE, 12: NodeState.ONLINE, 13: NodeState.OFFLINE, 14: NodeState.SUSPENDED}
    nodes = nodes_of(states)
    check_remove(nodes, states, [13], 11, False)
    check_remove(nodes, states, [12, 13], 11, False)
    with pytest.raises(WrongState, match="last node"):
        check_remove(nodes, states, [11, 12, 13, 14], 11, True)
    with pytest.raises(WrongState, match="n11 is the master"):
        check_remove(nodes, states, [11], 11, True)
    with pytest.raises(WrongState, match=r"n14 is suspended.*with force"):
        check_remove(nodes, states, [14], 11, False)
    check_remove(nodes, states, [14], 11, True)
    with pytest.raises(WrongState, match=r"without n12 1 of 2 nodes are offline"):
        check_remove(nodes, states, [12], 11, True)


def test_stopping_nodes_tells_what_is_left() -> None:
    """Nothing is said when enough are left, or when everything is to be stopped."""
    states = dict.fromkeys((11, 12, 13), NodeState.ONLINE)
    assert left_after_stop(states, [12]) == ""
    assert left_after_stop(states, [11, 12, 13]) == ""
    assert left_after_stop(states, [12, 13]).startswith("2 of 3 nodes are offline (n12, n13) now")


def test_who_came_back() -> None:
    """A daemon that joined once the suspension was there; not one that ran all the time, and never a disabled node."""
    node, at = Node(id=12, state=SUSPENDED), Suspension(7)
    assert returned(node, at, 8)
    assert returned(node, at, 7)
    assert not returned(node, at, 6)
    assert not returned(node, at, None)
    assert not returned(node, None, 8)
    assert not returned(Node(id=12, state=DISABLED), at, 8)
    assert not returned(Node(id=12), at, 8)
