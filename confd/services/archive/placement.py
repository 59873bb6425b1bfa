"""Which share the next part of a file goes to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from confd.services.archive.layout import Share

_LOCAL_ADVANTAGE = 2


def rank(
    shares: Sequence[Share], free: Mapping[int, Mapping[int, int]], local: int | None = None, full: Collection[int] = ()
) -> list[int]:
    """Return the shares that the next part can go to, the best one first.

    As many copies as possible come first. Among equals the share with most space left is taken, so that all fill up
    alike; but one with a copy on the writer's own node is preferred as long as it has half as much as the emptiest one.

    Invariants: every share returned has space on each of its nodes that can be written; none that has is left out.

    :param free: bytes left by node and share, of the nodes that can be written.
    :param local: the writer's own node.
    :param full: shares not to be taken.
    """
    space = {number: _space(number, share, free) for number, share in enumerate(shares) if number not in full}
    usable = [number for number, left in space.items() if left > 0]

    def worth(number: int) -> tuple[int, int, int]:
        nodes = shares[number].nodes
        advantage = _LOCAL_ADVANTAGE if local in nodes and local in free else 1
        return -sum(node in free for node in nodes), -space[number] * advantage, number

    return sorted(usable, key=worth)


def room(shares: Sequence[Share], free: Mapping[int, Mapping[int, int]]) -> int:
    """Return how many bytes can still be written."""
    return sum(_space(number, share, free) for number, share in enumerate(shares))


def _space(number: int, share: Share, free: Mapping[int, Mapping[int, int]]) -> int:
    return min((free[node].get(number, 0) for node in share.nodes if node in free), default=0)
