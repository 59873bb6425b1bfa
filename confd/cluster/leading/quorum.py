"""Whether enough nodes are there to accept changes. Pure.

More than half of the nodes that are not suspended must be online. Who is suspended does not count, so suspending dead
nodes brings a quorum back, and suspending nodes that are online can lose it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from confd.model import naming
from confd.model.states import NodeState

_REASONS: Final = 3


class Quorum(msgspec.Struct, frozen=True):
    """Nodes that count, and those of them that are missing."""

    voting: tuple[int, ...]
    missing: tuple[int, ...]

    @property
    def held(self) -> bool:
        """Whether more than half of those that count are there."""
        return 2 * len(self.missing) < len(self.voting)

    def __str__(self) -> str:
        """Say how many are missing, and which."""
        return f"{len(self.missing)} of {len(self.voting)} nodes are offline ({names(self.missing)})"


def quorum_of(states: Mapping[int, NodeState]) -> Quorum:
    """Return who counts and who of them is missing."""
    voting = tuple(sorted(node for node, state in states.items() if state is not NodeState.SUSPENDED))
    return Quorum(voting, tuple(node for node in voting if states[node] is NodeState.OFFLINE))


def suspending(states: Mapping[int, NodeState], nodes: Collection[int]) -> dict[int, NodeState]:
    """Return the states once nodes are suspended."""
    return {node: NodeState.SUSPENDED if node in nodes else state for node, state in states.items()}


def refusal(quorum: Quorum, alive: Collection[int], reasons: Iterable[str]) -> str:
    """Say why no changes are accepted and what to do: who lives is to follow again, not to be suspended.

    :param alive: nodes that certainly live, whether they are heard or not.
    :param reasons: why missing nodes are not heard, as far as known.
    """
    lost = [node for node in quorum.missing if node not in alive]
    living = [node for node in quorum.missing if node in alive]
    text = f"{quorum}, so no changes are accepted"
    if lost:
        text += f"; bring {names(lost)} back, or suspend those that are dead with node_suspend"
    if living:
        text += f"; {names(living)} {'lives' if len(living) == 1 else 'live'} and must not be suspended"
    known = [reason for reason in reasons if reason]
    if known:
        text += f" ({'; '.join(known[:_REASONS])}{'; ...' if len(known) > _REASONS else ''})"
    return text


def names(nodes: Collection[int]) -> str:
    """Return nodes as people read them."""
    return naming.names(sorted(nodes))
