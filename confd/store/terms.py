"""Terms of mastership: a round, and the node that leads in it, so no two nodes ever lead under the same one. Pure.

Who makes a term need not know of all that were made: a node that is cut off may take over, and another one, too. Their
terms differ in the node; when they meet, the higher one counts. Written in decimals a term ends with its node: 400012
is round 4 of n12.
"""

from __future__ import annotations

from typing import Final

NODES: Final = 100_000
"""Ids of nodes are below this."""


def next_term(highest: int, node: int, ordered: float = 0.0) -> int:
    """Return a term of a node, in a round after that of the highest term that is known.

    :param ordered: when somebody told the node to lead, UTC seconds. Of two orders that do not know of each other the
        later one counts then, as far as clocks are right; nothing else depends on them.
    """
    return max(round_of(highest) + 1, int(ordered)) * NODES + node


def round_of(term: int) -> int:
    """Return the round of a term; it grows from master to master."""
    return term // NODES


def node_of(term: int) -> int:
    """Return the node that leads under a term."""
    return term % NODES
