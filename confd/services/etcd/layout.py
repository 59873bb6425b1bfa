"""Where etcd members belong: a pure decision, one step at a time."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Final

import msgspec

from confd.model.states import NodeState

_SIZES: Final = (5, 3, 1)


class Member(msgspec.Struct, frozen=True):
    """A member as etcd lists it: number, node (None when it is none of ours), whether it ever ran, or only learns."""

    id: int
    node: int | None
    started: bool
    learner: bool = False


class Add(msgspec.Struct, frozen=True):
    """Run a member on a node."""

    node: int


class Promote(msgspec.Struct, frozen=True):
    """Give a member a vote, once it has what the others have."""

    member: int


class Remove(msgspec.Struct, frozen=True):
    """Take a member out; ``heir`` is the node that takes its place, where it goes only for that."""

    member: int
    heir: int | None = None


Step = Add | Promote | Remove


def host_of(step: Step | None) -> int | None:
    """Return the node that has to be able to run a member before a step is taken."""
    if isinstance(step, Add):
        return step.node
    return step.heir if isinstance(step, Remove) else None


def wanted_members(nodes: int) -> int:
    """Return how many members a cluster of so many data nodes has: five, three or one."""
    return next(size for size in _SIZES if size <= max(1, nodes))


def first_members(data_nodes: Sequence[int], states: Mapping[int, NodeState]) -> list[int]:
    """Return the nodes on which a cluster begins to run members of its own: the first of those that are in service.

    :param data_nodes: nodes that may run a member, preferred ones first.
    """
    usable = [node for node in data_nodes if states.get(node) is not NodeState.SUSPENDED]
    return usable[: wanted_members(len(usable))]


def next_step(
    members: Sequence[Member],
    states: Mapping[int, NodeState],
    data_nodes: Sequence[int],
    unfit: Container[int] = (),
    lost: Container[int] = (),
) -> Step | None:
    """Return what to do next, None when all is as it should be.

    A member whose node is gone, or was given up by an administrator (suspended), is taken out once another node can
    take its place, or always when the node is gone. A new member learns first, and counts for the majority only once
    it has come up. Never is a second one added while one has not, and never the last one that votes taken out.

    :param members: what etcd lists.
    :param states: of the configured nodes.
    :param data_nodes: nodes that may run a member, preferred ones first.
    :param unfit: nodes that are known to be unable to run one now.
    :param lost: nodes that are there and have not what their member that was started kept: it is made anew.
    """
    there = [one for one in members if one.node in states]
    voters = [one for one in members if one.started and not one.learner]
    spent = [one for one in members if one not in there or (one.started and one.node in lost)]
    if over := [one for one in spent if [one] != voters]:
        return Remove(over[0].id)
    if coming := [one for one in there if one.learner or not one.started]:
        return _bring_up(coming[0], states, unfit)
    taken = {one.node for one in members}
    free = [
        node for node in data_nodes
        if node not in taken and node not in unfit and states.get(node) is NodeState.ONLINE
    ]  # fmt: skip
    given_up = [one for one in there if one.node is not None and states[one.node] is NodeState.SUSPENDED]
    if given_up and free and len(members) > 1:
        return Remove(given_up[0].id, heir=free[0])
    usable = sum(states.get(node) is not NodeState.SUSPENDED for node in data_nodes)
    if free and len(members) < wanted_members(usable):
        return Add(free[0])
    return None


def _bring_up(member: Member, states: Mapping[int, NodeState], unfit: Container[int]) -> Step:
    node = member.node
    assert node is not None
    if states[node] is not NodeState.ONLINE:
        return Remove(member.id)
    if member.started:
        return Promote(member.id)
    return Remove(member.id) if node in unfit else Add(node)
