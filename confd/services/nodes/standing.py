"""Who may be suspended, resumed, removed or stopped, by what it does to the cluster. Pure.

The quorum is never lost by an order that does not say so: what would leave too few nodes for changes is refused, or,
where nodes are stopped, answered with a warning. Nodes that are offline can be suspended as long as a master sits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from confd.cluster.leading.quorum import names, quorum_of, suspending
from confd.exaconf import Node
from confd.model.errors import NoQuorum, WrongState
from confd.model.states import NodeState

_SUSPENSIONS: Final = "node/"


class Suspension(msgspec.Struct, frozen=True):
    """Runtime record of a suspended node: the revision that suspended it.

    A daemon that joined the cluster at it or later was started anew since: its node is taken back into service.
    """

    revision: int


def suspension_key(node: int) -> str:
    """Return the key of the record of a suspended node."""
    return f"{_SUSPENSIONS}{node}"


def returned(node: Node, suspension: Suspension | None, joined_at: int | None) -> bool:
    """Tell whether a suspended node is to be taken back into service, because its daemon was started anew.

    :param joined_at: the revision at which the daemon that answers joined; None when none does.
    """
    if suspension is None or joined_at is None or not node.suspended or node.disabled:
        return False
    return joined_at >= suspension.revision


def check_suspend(
    nodes: Mapping[int, Node], states: Mapping[int, NodeState], chosen: Collection[int], master: int, disable: bool
) -> None:
    """Refuse to suspend what must stay.

    :raises WrongState: a node is suspended already; nobody or too few would be left; the master is among them.
    :raises NoQuorum: nodes that are online are to be suspended while there is no quorum.
    """
    if known := [node for node in chosen if _is_done(nodes[node], disable)]:
        raise WrongState(f"{names(known)} is suspended already; leave it out")
    online = [node for node, state in states.items() if state is NodeState.ONLINE]
    if not set(online) - set(chosen):
        raise WrongState(f"{names(set(online) & set(chosen))} is all that runs; a node must stay in service")
    if master in chosen:
        raise WrongState(f"n{master} is the master; give its place to another node first, with master_change")
    before, after = quorum_of(states), quorum_of(suspending(states, chosen))
    running = [node for node in chosen if states.get(node) is NodeState.ONLINE]
    if not before.held and running:
        raise NoQuorum(f"{before}, so only these can be suspended; {names(running)} is online")
    if before.held and not after.held:
        raise WrongState(
            f"without {names(running)} {after}, too few for changes; suspend {names(after.missing)} as well, or first"
        )


def check_resume(nodes: Mapping[int, Node], states: Mapping[int, NodeState], back: Collection[int]) -> None:
    """Refuse to count nodes again that do not answer, where that costs the quorum.

    :param states: of suspended nodes that answer, ONLINE.
    :raises WrongState: says what to do.
    """
    if wrong := [node for node in back if not nodes[node].suspended]:
        raise WrongState(f"{names(wrong)} is not suspended; node_state shows who is")
    after = quorum_of(states)
    if not after.held:
        silent = [node for node in back if states.get(node) is not NodeState.ONLINE]
        raise WrongState(
            f"with {names(silent)} counted again, {after}: no changes would be accepted; start the daemon there, which "
            "takes the node back into service by itself"
        )


def check_remove(
    nodes: Mapping[int, Node], states: Mapping[int, NodeState], chosen: Collection[int], master: int, force: bool
) -> None:
    """Refuse to remove what must stay.

    :raises WrongState: the last node, the master, a suspended node without force, or too few would be left.
    """
    if not nodes.keys() - set(chosen):
        raise WrongState("the last node of a cluster cannot be removed; delete the cluster instead (c4 rm)")
    if master in chosen:
        raise WrongState(f"n{master} is the master; give its place to another node first, with master_change")
    if not force and (asleep := [node for node in chosen if nodes[node].suspended]):
        raise WrongState(
            f"{names(asleep)} is suspended; take it back into service with node_resume first, or remove it with force"
        )
    before = quorum_of(states)
    after = quorum_of({node: state for node, state in states.items() if node not in chosen})
    if before.held and not after.held:
        raise WrongState(f"without {names(chosen)} {after}, too few for changes; bring them back or suspend them first")


def left_after_stop(states: Mapping[int, NodeState], chosen: Collection[int]) -> str:
    """Say what is left of the quorum once nodes are stopped; empty when it is enough, or when all are stopped."""
    after = quorum_of({node: _stopped(state) if node in chosen else state for node, state in states.items()})
    if after.held or len(after.missing) == len(after.voting):
        return ""
    return f"{after} now, so no changes are accepted until one of them is started or suspended with node_suspend"


def _is_done(node: Node, disable: bool) -> bool:
    return node.disabled or (node.suspended and not disable)


def _stopped(state: NodeState) -> NodeState:
    return NodeState.OFFLINE if state is NodeState.ONLINE else state
