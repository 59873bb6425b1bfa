"""A hand-over of mastership as it stands in the journal: from this record on the old term appends nothing."""

from __future__ import annotations

from typing import Final

import msgspec

from confd.store.protocol import Store
from confd.store.terms import round_of

RECORD: Final = "cluster/hand_over"
"""Runtime record of a hand-over that is under way, or that the present master has to tell its job about."""


class HandOver(msgspec.Struct, frozen=True):
    """To whom mastership is given, under which term, by order of which job."""

    to: int
    term: int
    job: str


def pending(store: Store) -> HandOver | None:
    """Return the hand-over that this node's journal ends with: nobody has led since, as far as is known here."""
    told = store.runtime().get(RECORD)
    if told is None:
        return None
    known = msgspec.convert(told, HandOver)
    # With etcd another node may have won the round in which mastership was given to this one.
    return known if round_of(known.term) > round_of(store.leader()[0]) else None
