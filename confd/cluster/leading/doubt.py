"""How old an answer may be that is given without a quorum, or without a master."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from confd.cluster.leading.quorum import names, quorum_of
from confd.model.states import NodeState


class Doubt(msgspec.Struct, frozen=True):
    """An answer may be out of date: by so many seconds, for this reason (text for people)."""

    age: float
    text: str


class Majority:
    """Since when a master lacks its quorum."""

    def __init__(self, now: float) -> None:
        self._held_at = now
        self._missing: tuple[int, ...] = ()

    def seen(self, states: Mapping[int, NodeState], now: float) -> None:
        """Take in the states of all nodes at a moment (seconds of any clock)."""
        quorum = quorum_of(states)
        if quorum.held:
            self._held_at = now
        self._missing = () if quorum.held else quorum.missing

    def doubt(self, now: float) -> Doubt | None:
        """Return whether a newer master may exist unknown to this one; None when it cannot."""
        if not self._missing:
            return None
        age = now - self._held_at
        text = f"there has been no quorum for {age:.0f} s ({names(self._missing)} offline), so this may be out of date"
        return Doubt(age, text)
