"""Terms that nodes claimed, and what became of them: whether who led last leads, leads on, follows or waits. Pure.

A node that is to be master claims a term, and has others promise to follow it, before it records that it leads. When it
dies or fails in between, those that promised refuse every older master, though there is no newer one. Who led last may
go on under a term above the claimed one, once it is certain that nobody leads under any of those, or ever will.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

import msgspec

from confd.cluster.leading.quorum import quorum_of
from confd.cluster.leading.takeover import Known
from confd.model.naming import names
from confd.model.states import NodeState
from confd.store.terms import node_of


class Claim(msgspec.Struct, frozen=True):
    """A newer term than that of who led last, and the node that claimed it."""

    node: int
    term: int


class Outlook(StrEnum):
    """What is to be done by the node that led last."""

    LEAD = "lead"
    """Lead under its own term: no newer one is known."""
    LEAD_ON = "lead on"
    """Lead under a term above all that were claimed: nobody led under one of them, nor will."""
    FOLLOW = "follow"
    """Follow: another node led, for a journal says so."""
    WAIT = "wait"
    """Ask again: who may lead does not answer, or is about to lead, or too few nodes answer."""


class Situation(msgspec.Struct, frozen=True):
    """What is to be done, the newer terms that are known, and whose answers are lacking."""

    outlook: Outlook
    claims: tuple[Claim, ...] = ()
    lacking: tuple[int, ...] = ()
    led: int = 0
    """The highest newer term of which a journal has records; 0 when there is none."""

    @property
    def claimants(self) -> frozenset[int]:
        """The nodes that claimed newer terms."""
        return frozenset(claim.node for claim in self.claims)

    def text(self, own: int) -> str:
        """Say what keeps the node that led last from leading, and what to do; empty when nothing does."""
        if self.outlook is Outlook.FOLLOW and node_of(self.led) == own:
            return f"n{own} lacks records that it wrote as master; confd --take-over on a node that has them"
        if self.outlook is not Outlook.WAIT:
            return ""
        if not self.lacking:
            return f"{names(sorted(self.claimants - {own}))} is about to be master"
        order = f"or, if that cannot be, confd --take-over on n{own}"
        if silent := sorted(self.claimants & {*self.lacking}):
            return f"{names(silent)} was to be master and does not answer, so it may lead; start its daemon, {order}"
        return (
            f"{names(sorted(self.claimants))} was to be master and is not, but too few nodes answer for n{own} to lead "
            f"on by itself; start {names(self.lacking)}, {order}"
        )


def judge(
    own: int, term: int, known: Mapping[int, Known | None], heard: Iterable[Claim], suspended: Collection[int] = ()
) -> Situation:
    """Tell what the node that led last, under a term, is to do.

    A claim is void when its node says that it does not lead and its journal does not have the term: it recorded none
    and, as it made the claim up for that one time, never will. A removed node has no say. Then nobody leads under a
    term that more than half of the nodes know of, if so many answer: one of them would have a record of it.

    :param known: what all other nodes of the configuration answer; None for those that do not.
    :param heard: newer terms that this node itself was told of.
    :param suspended: nodes that do not count.
    """
    answers = [one for one in known.values() if one is not None]
    told = {*heard, *(Claim(one.master, one.term) for one in answers)}
    claims = tuple(sorted((claim for claim in told if claim.term > term), key=lambda claim: (claim.term, claim.node)))
    if led := max((one.position.term for one in answers if one.position.term > term), default=0):
        return Situation(Outlook.FOLLOW, claims, led=led)
    if not claims:
        return Situation(Outlook.LEAD)
    silent = sorted({claim.node for claim in claims if claim.node in known and known[claim.node] is None})
    if silent or any(one.leads and one.term > term for one in answers):
        return Situation(Outlook.WAIT, claims, tuple(silent))
    states = {
        node: NodeState.OFFLINE if answer is None else NodeState.ONLINE
        for node, answer in known.items() if node not in suspended
    }  # fmt: skip
    quorum = quorum_of({**states, own: NodeState.ONLINE})
    return Situation(Outlook.LEAD_ON, claims) if quorum.held else Situation(Outlook.WAIT, claims, quorum.missing)
