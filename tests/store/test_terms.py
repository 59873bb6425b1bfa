"""Terms of mastership."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from confd.services.nodes.naming import MOST_ID
from confd.store.terms import NODES, next_term, node_of, round_of

KNOWN = st.integers(0, 2**52)
IDS = st.integers(1, MOST_ID)
ORDERED = st.floats(0, 1e10)


@given(KNOWN, IDS, ORDERED)
def test_a_term_is_above_what_is_known_and_of_its_node(highest: int, node: int, ordered: float) -> None:
    """In a later round, so that all that counts from the round goes on, too."""
    term = next_term(highest, node, ordered)
    assert term > highest
    assert round_of(term) > round_of(highest)
    assert node_of(term) == node


@given(KNOWN, KNOWN, IDS, IDS, ORDERED, ORDERED)
def test_no_two_nodes_have_a_term_in_common(
    one: int, other: int, first: int, second: int, early: float, late: float
) -> None:
    """Whatever each of them knows, and whatever their clocks say."""
    assert (next_term(one, first, early) == next_term(other, second, late)) <= (first == second)


@given(KNOWN, st.integers(0, 50), IDS, IDS, st.integers(1_700_000_000, 4_000_000_000))
def test_the_later_of_two_orders_counts(lead: int, behind: int, first: int, second: int, ordered: int) -> None:
    """Neither node knows of the other one's order; what they know is older than both."""
    known = min(lead, (ordered - 100) * NODES)
    assert next_term(known, first, ordered) < next_term(max(known - behind, 0), second, ordered + 1)
