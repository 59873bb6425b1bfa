"""A lease that is gone proves that what it bound is stopped, whatever clocks, networks, daemons and the store do."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.leases.lapse import Absence, Look, follow, hold_of, missing, name_of, proves
from confd.cluster.leases.lease import MARGIN_SECONDS, TTL_SECONDS

ERA = "e"
STOPS_WITHIN = 0.45
STEP = 0.05


def look(at: float, revision: int = 10, held: frozenset[int] = frozenset(), mark: int = 5, era: str = ERA) -> Look:
    """What the store said between a moment and a tenth of a second later."""
    return Look(at, at + 0.1, era, revision, held, {12: mark})


def seen(*looks: Look) -> Absence | None:
    """What is known of n12 after some looks."""
    absences: dict[int, Absence] = {}
    for one in looks:
        absences = follow(absences, one)
    return absences.get(12)


def test_gone_for_longer_than_the_margin() -> None:
    """One look proves nothing; two that are the margin apart do, from answer to question."""
    assert not proves(seen(look(0)), name_of(ERA, 5))
    assert not proves(seen(look(0), look(MARGIN_SECONDS)), name_of(ERA, 5))
    assert proves(seen(look(0), look(MARGIN_SECONDS + 0.1)), name_of(ERA, 5))
    assert proves(seen(look(0), look(0.5), look(MARGIN_SECONDS + 0.1)), name_of(ERA, 3))


def test_what_ends_an_absence() -> None:
    """A lease that is there, another one made in between, a store with another history or an older state."""
    late = MARGIN_SECONDS + 0.2
    for between in (look(0.5, held=frozenset({12})), look(0.5, mark=8), look(0.5, era="f"), look(0.5, revision=9)):
        assert not proves(seen(look(0), between, look(late)), name_of(ERA, 5))


def test_what_the_store_does_not_know_proves_nothing() -> None:
    """A hold of another era, one younger than the node's last mark, no hold at all, a node without mark."""
    absence = seen(look(0), look(5))
    for name in (name_of("f", 5), name_of(ERA, 6), "", "5", f"{ERA}/", f"{ERA}/x"):
        assert not proves(absence, name)
    assert not proves(None, name_of(ERA, 5))
    assert follow({}, msgspec.structs.replace(look(0), marks={})) == {}


@given(st.text(alphabet="abc/"), st.integers(1, 2**63))
def test_names_are_read_back(era: str, mark: int) -> None:
    """Era and mark come back from the name of a hold."""
    assert hold_of(name_of(era, mark)) == ((era, mark) if era else ("", 0))


def test_a_lease_is_missing_once_it_was_seen_to_be() -> None:
    """For the margin where there was one, of whatever hold or era; at once where there never was any."""
    look = Look(5.0, 5.1, "e", 9, frozenset({11}), {11: 3, 12: 4})
    assert not missing(None, None, 12)
    assert not missing(look, None, 11)
    assert not missing(look, Absence(4.5, "e", 4, 9, 5.0), 12)
    assert missing(look, Absence(4.0, "e", 4, 9, 5.0), 12)
    assert missing(look, None, 13)


class World:
    """One node that renews and may be frozen or restarted, a store that restarts, a master that looks."""

    def __init__(self, dice: random.Random) -> None:
        self.dice, self.t = dice, 0.0
        self.node, self.store, self.master = (dice.uniform(0.95, 1.05) for _ in range(3))
        self.slow = dice.choice((0.05, 0.5, 2.0))
        self.revisions = itertools.count(1)
        self.revision, self.mark, self.lease, self.expires = 0, 0, 0, 0.0
        self.name, self.deadline, self.stopped = "", 0.0, None
        self.absences: dict[int, Absence] = {}

    def delay(self) -> float:
        return self.dice.random() ** 3 * self.slow

    def pause(self, seconds: float) -> Iterator[None]:
        until = self.t + seconds
        while self.t < until:
            yield

    @property
    def held(self) -> bool:
        return self.lease != 0 and self.t < self.expires

    def renewing(self) -> Iterator[None]:
        """The daemon: begins a hold, renews it, and now and then is frozen or begins anew."""
        while True:
            asked, own = self.t * self.node, next(self.revisions)
            yield from self.pause(self.delay())
            self.lease = self.mark = self.revision = own
            self.expires = self.t + TTL_SECONDS / self.store
            while True:
                yield from self.pause(self.delay())
                self.hand_over(name_of(ERA, own), asked + TTL_SECONDS)
                yield from self.pause(0.5)
                if self.dice.random() < 0.1:
                    yield from self.pause(self.dice.choice((1.0, 3.0, 4.0, 8.0)))
                if self.dice.random() < 0.05:
                    break
                asked = self.t * self.node
                yield from self.pause(self.delay())
                if not (self.held and self.lease == own):
                    break
                self.expires = self.t + TTL_SECONDS / self.store
                yield from self.pause(self.delay())
                if not (self.held and self.lease == own):
                    break

    def hand_over(self, name: str, deadline: float) -> None:
        """The keeper: whose deadline has passed stops, whatever it hears afterwards."""
        self.keep()
        if self.stopped is None:
            self.name, self.deadline = name, max(self.deadline, deadline)

    def keep(self) -> None:
        if self.name and self.stopped is None and self.t * self.node >= self.deadline:
            self.stopped = self.t + self.dice.random() * STOPS_WITHIN

    def restarting(self) -> Iterator[None]:
        """The store counts leases from the beginning when it starts again."""
        while True:
            yield from self.pause(self.dice.uniform(2, 20))
            if self.held:
                self.expires = self.t + TTL_SECONDS / self.store

    def looking(self) -> Iterator[None]:
        while True:
            asked = self.t * self.master
            yield from self.pause(self.delay())
            held = frozenset({12} if self.held else ())
            revision, marks = self.revision, {12: self.mark} if self.mark else {}
            yield from self.pause(self.delay())
            self.absences = follow(self.absences, Look(asked, self.t * self.master, ERA, revision, held, marks))
            yield from self.pause(self.dice.choice((0.25, 0.25, 1.0, 6.0)))

    def run(self, seconds: float) -> bool:
        """Let time pass; whether the end of the instance was proven. Fails when it was and it had not ended."""
        parts = [self.renewing(), self.restarting(), self.looking()]
        while self.t < seconds:
            for part in parts:
                next(part)
            self.keep()
            if self.name and proves(self.absences.get(12), self.name):
                assert self.stopped is not None and self.stopped <= self.t, "proven, and it took writes"
                return True
            self.t += STEP
        return False


@given(st.integers(0, 2**32))
def test_nothing_takes_writes_that_is_proven_to_be_stopped(seed: int) -> None:
    """Clocks of unequal speed, slow and late messages, frozen and restarted daemons, a store that restarts."""
    World(random.Random(seed)).run(60.0)


def test_the_simulation_proves_something() -> None:
    """Not only never wrongly, but also when it is so."""
    assert sum(World(random.Random(seed)).run(60.0) for seed in range(20)) > 5
