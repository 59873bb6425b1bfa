"""Which node is to be master, and how the master of now gives its place to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from confd.cluster.host import Master
from confd.cluster.leading.handover import RECORD
from confd.cluster.operations import master_operation
from confd.exaconf import Node
from confd.model.errors import NodeError
from confd.model.states import NodeState

AFFINITIES: Final = "cluster/affinities"
"""Runtime record: affinities that differ from the configured ones for the time being, by node id as text."""

_LAST: Final = 1_000_000


class Giving:
    """The sitting master's way out; made by the daemon.

    :param node: the sitting master.
    :param give: gives mastership to a node for a job (its id); raises, for the master itself never goes on after it.
    """

    def __init__(self, node: int, give: Callable[[int, str], None]) -> None:
        self.node, self.give = node, give


@master_operation("nodes.give_mastership", planned=lambda nid, job: None)
def give_mastership(master: Master, nid: int, job: str) -> None:
    """Have a node lead; ends there, when it does.

    The job that asks goes on under the new master, which runs this again and finds itself to be the one.

    :raises NodeError: it was tried for this job, and another node leads.
    """
    giving = master.service(Giving)
    if giving.node == nid:
        return
    told = master.cluster.record(RECORD)
    if told and told["job"] == job:
        raise NodeError(f"n{nid} did not become master, n{giving.node} is master now; see the log of n{nid}")
    giving.give(nid, job)


def choose(nodes: Iterable[Node], states: Mapping[int, NodeState], sitting: int) -> int | None:
    """Return the candidate that is to lead: online, of the lowest affinity; the sitting master only if it is alone."""
    online = [node for node in nodes if states.get(node.id) is NodeState.ONLINE]
    return min(online, key=lambda node: (node.id == sitting, node.affinity, node.id)).id if online else None


def preferred(nodes: Iterable[Node], states: Mapping[int, NodeState]) -> int | None:
    """Return the node that is to lead by its configured affinity: the lowest of those that are online."""
    online = [node for node in nodes if states.get(node.id) is NodeState.ONLINE]
    return min(online, key=lambda node: (node.affinity, node.id)).id if online else None


def set_back(nodes: Iterable[Node], candidates: Iterable[int], chosen: int) -> dict[str, int]:
    """Return temporary affinities that prefer the chosen node, then the other candidates, then all others."""
    wanted = set(candidates)
    return {
        str(node.id): 0 if node.id == chosen else node.affinity + (1 if node.id in wanted else _LAST) for node in nodes
    }


def affinities(nodes: Iterable[Node], records: Mapping[str, Any]) -> dict[int, int]:
    """Return the affinity of each node as it counts now; lower is preferred."""
    temporary = records.get(AFFINITIES) or {}
    return {node.id: temporary.get(str(node.id), node.affinity) for node in nodes}
