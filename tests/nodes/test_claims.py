"""Claims: a master leads on when nothing came of them, and never over one that leads or was followed by most nodes."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.leading.claims import Claim, Outlook, judge
from confd.cluster.leading.takeover import Known
from confd.store.protocol import Position
from confd.store.terms import next_term, node_of
from tests.torture import TORTURE

TERM = next_term(0, 11)
FAILED = next_term(TERM, 12)


def knows(node: int, last: int = TERM, bound: tuple[int, int] = (11, TERM), leads: bool = False) -> Known:
    """Return what a node answers whose journal ends under a term."""
    return Known(node, Position(last, 5), bound[1], leads, bound[0])


def test_a_claim_of_which_nothing_came_is_void() -> None:
    """Its node says that it does not lead, and has no record of it."""
    known = {12: knows(12), 13: knows(13, bound=(12, FAILED))}
    found = judge(11, TERM, known, [])
    assert (found.outlook, found.claims, found.text(11)) == (Outlook.LEAD_ON, (Claim(12, FAILED),), "")


def test_without_a_claim_the_master_leads() -> None:
    """Alone, too, as it always did: it accepts nothing without the others."""
    assert judge(11, TERM, {12: None, 13: None}, [Claim(11, TERM)]).outlook is Outlook.LEAD


def test_a_record_under_a_newer_term_counts() -> None:
    """Whether who led under it answers or not."""
    found = judge(11, TERM, {12: None, 13: knows(13, FAILED, (12, FAILED))}, [])
    assert (found.outlook, found.led) == (Outlook.FOLLOW, FAILED)


def test_who_lost_what_it_wrote_says_so() -> None:
    """Another node has records of a term of its own that it does not know."""
    own = next_term(FAILED, 11)
    found = judge(11, TERM, {12: knows(12, own, (11, own))}, [])
    assert found.text(11) == "n11 lacks records that it wrote as master; confd --take-over on a node that has them"


def test_who_claimed_is_waited_for() -> None:
    """It may lead where nobody looks; so may who is about to."""
    known = {12: None, 13: knows(13, bound=(12, FAILED))}
    found = judge(11, TERM, known, [])
    assert (found.outlook, found.lacking) == (Outlook.WAIT, (12,))
    found = judge(11, TERM, known | {12: knows(12, bound=(12, FAILED), leads=True)}, [])
    assert (found.outlook, found.text(11)) == (Outlook.WAIT, "n12 is about to be master")


def test_more_than_half_must_answer() -> None:
    """Of those that are not suspended: a claim of which they do not know was not followed by most."""
    known = {12: knows(12), 13: None, 14: None, 15: None}
    found = judge(11, TERM, known, [Claim(12, FAILED)])
    assert (found.outlook, found.lacking) == (Outlook.WAIT, (13, 14, 15))
    assert found.text(11).startswith("n12 was to be master and is not, but too few nodes answer for n11 to lead on")
    assert judge(11, TERM, known, [Claim(12, FAILED)], suspended=(14, 15)).outlook is Outlook.LEAD_ON


def test_a_removed_node_is_not_waited_for() -> None:
    """Who removed it said that it does not come back."""
    assert judge(11, TERM, {13: knows(13, bound=(12, FAILED))}, []).outlook is Outlook.LEAD_ON


class Peer:
    """A node: its journal, and what it forgets when it dies."""

    def __init__(self, node: int) -> None:
        self.node, self.up = node, True
        self.journal: tuple[tuple[int, int], ...] = ()
        self.bound = (0, 0)
        self.leading = 0

    @property
    def last(self) -> int:
        """The term of its last record."""
        return self.journal[-1][0] if self.journal else 0

    def start(self) -> None:
        """Know what the journal says."""
        self.up, self.bound = True, (node_of(self.last), self.last)

    def die(self) -> None:
        """Forget what is not in the journal."""
        self.up, self.leading = False, 0

    def hear(self, node: int, term: int) -> bool:
        """Follow a master, unless a newer one is known."""
        if term < self.bound[1]:
            return False
        if node != self.node:
            self.leading = 0
        self.bound = (node, term)
        return True

    def answer(self) -> Known:
        """Say what is known here."""
        return Known(self.node, Position(self.last, len(self.journal)), self.bound[1], self.leading > 0, self.bound[0])


class Cluster:
    """Nodes, any of which dies, is cut off and is told to take over at any moment, as dice say."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.peers = {node: Peer(node) for node in range(11, 11 + dice.choice([2, 3, 3, 4, 5]))}
        self.parts = dict.fromkeys(self.peers, True)
        """On which side of the network a node is."""
        self.records, self.clock = 0, 10.0
        self.committed: list[tuple[int, int]] = []
        self.outlooks: Counter[Outlook] = Counter()
        for peer in self.peers.values():
            peer.journal, peer.bound = ((TERM, 0),), (11, TERM)
        self.peers[11].leading = TERM

    def step(self) -> None:
        """Have something happen."""
        dice = self.dice
        own = dice.choice([*self.peers.values()])
        if dice.random() < 0.1:
            self.parts = {node: dice.random() < 0.5 for node in self.peers}
        near = [
            peer for peer in self.peers.values() if peer is not own and self.parts[peer.node] == self.parts[own.node]
        ]
        others = [peer for peer in near if peer.up and dice.random() < 0.8]
        death = dice.choice(["", "promised", "promised", "recorded"])
        if not own.up:
            own.start()
        elif dice.random() < 0.15:
            own.die()
        elif own.leading and dice.random() < 0.5:
            self.commit(own, others)
        elif node_of(own.last) == own.node:
            self.look(own, others, death)
        elif dice.random() < 0.3:
            self.clock += 1
            self.take(own, others, death, self.clock)

    def most(self, count: int) -> bool:
        """Tell whether so many are more than half."""
        return 2 * count > len(self.peers)

    def record(self, term: int) -> tuple[int, int]:
        """Return a new record."""
        self.records += 1
        return (term, self.records)

    def take(self, own: Peer, others: list[Peer], death: str, ordered: float) -> None:
        """Take over: the longest journal, promises, the record."""
        answers = [peer.answer() for peer in others]
        newest = max([own.last, *(one.position.term for one in answers)])
        if any(one.leads and one.term >= newest for one in answers):
            return
        best = max([own, *others], key=lambda peer: (peer.last, len(peer.journal))).journal
        if best[: len(own.journal)] != own.journal:
            return
        own.journal = best
        term = next_term(max([own.bound[1], newest, *(one.term for one in answers)]), own.node, ordered)
        own.hear(own.node, term)
        for peer in others:
            peer.hear(own.node, term)
        if death == "promised":
            own.die()
            return
        own.journal += (self.record(term),)
        own.leading = term
        if death == "recorded":
            own.die()

    def look(self, own: Peer, others: list[Peer], death: str) -> None:
        """Who led last finds out what it is to do; what this module promises holds then."""
        term, before = own.last, own.journal
        known: dict[int, Known | None] = {node: None for node in self.peers if node != own.node}
        known |= {peer.node: peer.answer() for peer in others}
        found = judge(own.node, term, known, [Claim(*own.bound)])
        self.outlooks[found.outlook] += 1
        if found.outlook is Outlook.LEAD and not own.leading:
            assert own.hear(own.node, term)
            own.leading = term
        elif found.outlook is Outlook.FOLLOW:
            own.leading = 0
            own.hear(node_of(found.led), found.led)
        elif found.outlook is Outlook.LEAD_ON:
            for peer in self.peers.values():
                followed = sum(one.up and one.bound == (peer.node, peer.leading) for one in self.peers.values())
                assert peer is own or peer.leading <= term or not self.most(followed)
            assert all(made <= term for made, _ in self.committed)
            own.leading = 0
            self.take(own, others, death, 0.0)
            assert own.journal[: len(before)] == before
            assert own.bound[1] > found.claims[-1].term

    def commit(self, own: Peer, others: list[Peer]) -> None:
        """A master tells its journal to who is there, and commits something when they are more than half."""
        heard = [peer for peer in others if peer.hear(own.node, own.leading)]
        told = [peer for peer in heard if peer.last < own.leading or own.journal[: len(peer.journal)] == peer.journal]
        if self.most(len(told) + 1):
            own.journal += (made := self.record(own.leading),)
            self.committed.append(made)
        for peer in told:
            peer.journal = own.journal

    def heal(self) -> None:
        """All nodes are there again: one leads, without an administrator, and nobody beside it."""
        for peer in self.peers.values():
            if not peer.up:
                peer.start()
        for peer in sorted(self.peers.values(), key=lambda peer: peer.last, reverse=True):
            others = [other for other in self.peers.values() if other is not peer]
            if node_of(peer.last) == peer.node:
                self.look(peer, others, "")
            if peer.leading:
                self.commit(peer, others)
        assert {peer.leading for peer in self.peers.values()} == {0, max(peer.last for peer in self.peers.values())}


@pytest.mark.parametrize("seed", range(4))
def test_nobody_leads_on_over_a_master(seed: int) -> None:
    """Not over one that most nodes follow, nor without what most nodes wrote; and in the end one leads in any case."""
    outlooks: Counter[Outlook] = Counter()
    for number in range(20_000 if TORTURE else 1_500):
        made = Cluster(random.Random(f"{seed} {number}"))
        for _ in range(made.dice.randrange(40)):
            made.step()
        made.heal()
        outlooks += made.outlooks
    assert min(outlooks[outlook] for outlook in Outlook) > 50


@given(st.permutations([knows(12), knows(13, bound=(14, FAILED + 2)), knows(14), knows(15, bound=(12, FAILED))]))
def test_the_newest_claim_comes_last(answers: list[Known]) -> None:
    """The term to lead under is above it."""
    found = judge(11, TERM, {one.node: one for one in answers}, [])
    assert found.claims == (Claim(12, FAILED), Claim(14, FAILED + 2))
