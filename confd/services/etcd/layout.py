"""Where etcd members belong: a pure decision, one step at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from confd.model.states import NodeState

_SIZES: Final = (5, 3, 1)


class Member(msgspec.Struct, frozen=True):
    """A member as etcd lists it: number, node (None when it is none of the cluster's), whether it ever ran."""

    id: int
    node: int | None
    started: bool


class Add(msgspec.Struct, frozen=True):
    """Run a member on a node."""

    node: int


class Remove(msgspec.Struct, frozen=True):
    """Take a member out."""

    member: int


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
    members: Sequence[Member], states: Mapping[int, NodeState], data_nodes: Sequence[int]
) -> Add | Remove | None:
    """Return what to do next, None when all is as it should be.

    A member whose node is gone, or was given up by an administrator (suspended), is taken out once another node can
    take its place, or always when the node is gone. Never is a second one added while one has not come up, for each
    that is missing counts against the majority.

    :param members: what etcd lists.
    :param states: of the configured nodes.
    :param data_nodes: nodes that may run a member, preferred ones first.
    """
    if gone := [one for one in members if one.node is None or one.node not in states]:
        return Remove(gone[0].id) if len(members) > 1 else None
    if unstarted := [one for one in members if not one.started]:
        node = unstarted[0].node
        assert node is not None
        return Add(node) if states[node] is NodeState.ONLINE else Remove(unstarted[0].id)
    taken = {one.node for one in members}
    free = [node for node in data_nodes if node not in taken and states.get(node) is NodeState.ONLINE]
    given_up = [one for one in members if one.node is not None and states[one.node] is NodeState.SUSPENDED]
    if given_up and free and len(members) > 1:
        return Remove(given_up[0].id)
    usable = sum(states.get(node) is not NodeState.SUSPENDED for node in data_nodes)
    if free and len(members) < wanted_members(usable):
        return Add(free[0])
    return None
