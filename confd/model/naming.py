"""How nodes are named to people."""

from __future__ import annotations

from collections.abc import Iterable


def names(nodes: Iterable[int]) -> str:
    """Return nodes as people read them, in the order given: ``n11, n12``."""
    return ", ".join(f"n{node}" for node in nodes)
