"""Locks: whoever holds them holds them alone, and everybody gets his turn."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from confd.scheduler.locks import Lock, LockTable, exclusive, shared

NAMES = ["all", "db:A", "db:B", "volume:1"]
CLAIMS = st.lists(st.builds(Lock, st.sampled_from(NAMES), st.booleans()), max_size=5)


def excludes(one: list[Lock], other: list[Lock]) -> bool:
    """Tell whether two jobs may not run side by side."""
    return any(a.name == b.name and not (a.shared and b.shared) for a in one for b in other)


class Model(RuleBasedStateMachine):
    """A queue of jobs: one may run when it conflicts with no earlier one that has not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.table = LockTable()
        self.claims: dict[str, list[Lock]] = {}
        self.running: set[str] = set()
        self.numbers = itertools.count()

    def due(self) -> list[str]:
        """Return the jobs that should run, in order of arrival."""
        jobs = list(self.claims)
        return [
            job
            for position, job in enumerate(jobs)
            if not any(excludes(self.claims[job], self.claims[earlier]) for earlier in jobs[:position])
        ]

    @rule(claims=CLAIMS)
    def claim(self, claims: list[Lock]) -> None:
        """A job arrives."""
        job = f"11.{next(self.numbers)}"
        self.claims[job] = claims
        granted = self.table.claim(job, claims)
        assert granted == (job in self.due())
        if granted:
            self.running.add(job)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A job ends, or gives up waiting."""
        job = data.draw(st.sampled_from(list(self.claims)))
        del self.claims[job]
        self.running.discard(job)
        granted = self.table.release(job)
        assert granted == [other for other in self.due() if other not in self.running]
        self.running.update(granted)

    @rule()
    def release_twice(self) -> None:
        """Ending an unknown job, or one a second time, changes nothing."""
        assert self.table.release("11.x") == []

    @invariant()
    def exactly_the_due_jobs_run(self) -> None:
        """No two holders conflict, and nobody waits without a reason."""
        assert self.running == set(self.due())
        for one, other in itertools.combinations(self.running, 2):
            assert not excludes(self.claims[one], self.claims[other])

    @invariant()
    def whoever_waits_waits_for_earlier_jobs(self) -> None:
        """So there is no deadlock: the first of all jobs always runs."""
        order = list(self.claims)
        for job in set(self.claims) - self.running:
            holders = self.table.holders(job)
            assert holders
            assert all(order.index(other) < order.index(job) for other in holders)
        assert not order or order[0] in self.running

    def teardown(self) -> None:
        """Everybody comes to his turn once those before him end."""
        while self.claims:
            job = next(iter(self.claims))
            assert job in self.running
            del self.claims[job]
            self.running.discard(job)
            self.running.update(self.table.release(job))
        assert self.table._queues == {}
        assert self.table._claims == {}
        assert self.table._waiting == {}


TestLocks = Model.TestCase
TestLocks.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_sharers_run_together_and_an_exclusive_claim_is_not_starved() -> None:
    """Sharers that come after a waiting exclusive claim wait for it."""
    table = LockTable()
    assert table.claim("a", [shared("db", "X")])
    assert table.claim("b", [shared("db", "X")])
    assert not table.claim("c", [exclusive("db", "X")])
    assert not table.claim("d", [shared("db", "X")])
    assert table.holders("d") == ["c"]
    assert table.release("a") == []
    assert table.release("b") == ["c"]
    assert table.release("c") == ["d"]


def test_jobs_are_granted_in_order_of_arrival() -> None:
    """Not in the order of the locks that were released."""
    table = LockTable()
    assert table.claim("a", [Lock("x"), Lock("y")])
    assert not table.claim("b", [Lock("y")])
    assert not table.claim("c", [Lock("x")])
    assert table.release("a") == ["b", "c"]


def test_an_object_named_twice_is_claimed_once() -> None:
    """The stricter claim counts."""
    table = LockTable()
    assert table.claim("a", [shared("db", "X"), exclusive("db", "X"), shared("db", "X")])
    assert not table.claim("b", [shared("db", "X")])
    assert table.release("a") == ["b"]


@given(st.booleans())
def test_a_lock_shows_how_it_is_claimed(share: bool) -> None:
    """The job file tells shared claims from exclusive ones."""
    assert str(Lock("db:X", share)) == ("db:X (shared)" if share else "db:X")
