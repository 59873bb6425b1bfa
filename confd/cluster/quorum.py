"""Quorum: more than half of the nodes that are not suspended; and for how long it has been missing."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from confd.model.errors import NoQuorum
from confd.model.states import NodeState


class Doubt(msgspec.Struct, frozen=True):
    """An answer may be out of date: by so many seconds, for this reason (text for people)."""

    age: float
    text: str


def missing(states: Mapping[int, NodeState]) -> tuple[int, ...]:
    """Return the nodes without which there is no quorum; empty while there is one."""
    voting = {node: state for node, state in states.items() if state is not NodeState.SUSPENDED}
    away = tuple(sorted(node for node, state in voting.items() if state is NodeState.OFFLINE))
    return away if 2 * (len(voting) - len(away)) <= len(voting) else ()


def check(states: Mapping[int, NodeState]) -> None:
    """Refuse changes without quorum.

    :raises NoQuorum: names the nodes that are missing.
    """
    if away := missing(states):
        voting = sum(state is not NodeState.SUSPENDED for state in states.values())
        raise NoQuorum(
            f"{len(away)} of {voting} nodes are offline ({_names(away)}), so no changes are accepted; "
            "bring them back or suspend them with node_suspend"
        )


class Quorum:
    """What a master has seen of its quorum."""

    def __init__(self, now: float) -> None:
        self._whole_at = now
        self._away: tuple[int, ...] = ()

    def seen(self, states: Mapping[int, NodeState], now: float) -> None:
        """Take in the states of all nodes at a moment (seconds of any clock)."""
        away = missing(states)
        if not away:
            self._whole_at = now
        self._away = away

    def doubt(self, now: float) -> Doubt | None:
        """Return whether a newer master may exist unknown to this one; None when it cannot."""
        if not self._away:
            return None
        age = now - self._whole_at
        return Doubt(
            age, f"there has been no quorum for {age:.0f} s ({_names(self._away)} offline): it may be out of date"
        )


def _names(nodes: tuple[int, ...]) -> str:
    return ", ".join(f"n{node}" for node in nodes)
