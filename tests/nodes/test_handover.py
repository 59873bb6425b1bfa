"""A hand-over that is under way, as the journal tells."""

from __future__ import annotations

from pathlib import Path

from confd.cluster.leading.handover import RECORD, HandOver, pending
from confd.store.protocol import Kind
from confd.store.sqlite import SqliteStore
from confd.store.terms import next_term

TERM = next_term(0, 11)


def test_a_hand_over_is_over_when_another_node_won_its_round(tmp_path: Path) -> None:
    """With etcd the node that mastership was given to may die, and one of a lower id win."""
    store = SqliteStore(tmp_path / "journal.db")
    store.lead(TERM, 11)
    given = HandOver(13, next_term(TERM, 13), "11.7")
    store.append(Kind.RUNTIME, RECORD, {"to": given.to, "term": given.term, "job": given.job}).result()
    assert pending(store) == given
    won = next_term(TERM, 12)
    assert won < given.term
    store.lead(won, 12)
    assert pending(store) is None
    store.close()
