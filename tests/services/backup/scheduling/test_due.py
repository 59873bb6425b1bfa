"""Which scheduled backup is started, and which times are left out."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from confd.services.backup.scheduling.cron import Cron
from confd.services.backup.scheduling.due import (
    CATCH_UP,
    LONGEST_WAIT,
    SNAPSHOT_LEVEL,
    Decision,
    Plan,
    Readiness,
    Run,
    decide,
    refused,
)

UTC = ZoneInfo("UTC")
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
NOON = 20_000 * DAY + 12 * HOUR
HOURLY = Plan(Cron(), 0)
RUNNING, COMING, STOPPED = Readiness


class Clock:
    """Asks for decisions at chosen moments and remembers what was noted, as the service does."""

    def __init__(self, **plans: Plan) -> None:
        self.plans = plans
        self.runs: dict[str, Run] = {}
        self.started: list[tuple[str, float]] = []

    def at(self, now: float, readiness: Readiness = RUNNING, busy: bool = False) -> str | None:
        decided: Decision = decide(self.plans, self.runs, readiness, busy, now, UTC)
        self.runs = decided.runs
        if decided.start is not None:
            self.started.append((decided.start, self.runs[decided.start].last))
        return decided.start


def test_a_time_is_run_once() -> None:
    """A new schedule has nothing to catch up; then each time is run once, however often one looks."""
    clock = Clock(a=HOURLY)
    assert clock.at(NOON + 30 * MINUTE) is None
    assert clock.at(NOON + 59 * MINUTE) is None
    assert clock.at(NOON + HOUR) == "a"
    assert clock.at(NOON + HOUR) is None
    assert clock.at(NOON + HOUR + 1) is None
    assert clock.at(NOON + 2 * HOUR + 5) == "a"
    assert clock.started == [("a", NOON + HOUR), ("a", NOON + 2 * HOUR)]


def test_a_due_one_waits_for_another() -> None:
    """While a backup runs a due one waits, times that pass meanwhile are one; after a day it is given up."""
    clock = Clock(a=HOURLY)
    clock.at(NOON + MINUTE)
    for hour in range(1, 6):
        assert clock.at(NOON + hour * HOUR, busy=True) is None
    assert clock.at(NOON + 5 * HOUR + MINUTE) == "a"
    assert clock.at(NOON + 5 * HOUR + 2 * MINUTE) is None
    waits = Clock(a=Plan(Cron("0", "13", "1", "1"), 0))
    waits.runs = {"a": Run(timing="0 13 1 1 * UTC", handled=NOON, waiting=NOON)}
    assert waits.at(NOON + LONGEST_WAIT - 1, busy=True) is None
    assert waits.runs["a"].waiting
    assert waits.at(NOON + LONGEST_WAIT + 1) is None


def test_missed_times_are_one_and_soon_forgotten() -> None:
    """What passed while nobody looked is caught up for an hour, several times as one; what is older is left out."""
    clock = Clock(often=Plan(Cron("*/10"), 0), rare=Plan(Cron("0", "13"), 0))
    clock.at(NOON)
    assert clock.at(NOON + HOUR + 45 * MINUTE) == "rare"
    assert clock.at(NOON + HOUR + 46 * MINUTE) == "often"
    assert clock.at(NOON + HOUR + 47 * MINUTE) is None
    late = Clock(rare=Plan(Cron("0", "13"), 0))
    late.at(NOON)
    assert late.at(NOON + HOUR + CATCH_UP + 1) is None
    assert late.at(NOON + DAY + HOUR) == "rare"


def test_only_while_the_database_runs() -> None:
    """At a due time a stopped database is left out for good; one that is about to serve again is waited for."""
    clock = Clock(a=HOURLY)
    clock.at(NOON + MINUTE)
    assert clock.at(NOON + HOUR, STOPPED) is None
    assert clock.at(NOON + HOUR + MINUTE) is None
    assert clock.at(NOON + 2 * HOUR, COMING) is None
    assert clock.at(NOON + 2 * HOUR + MINUTE) == "a"


def test_snapshots_and_low_levels_first() -> None:
    """Of several due at once the incremental one runs last, one after another."""
    clock = Clock(daily=Plan(Cron(), 1), weekly=Plan(Cron(), 0), quick=Plan(Cron(), SNAPSHOT_LEVEL))
    clock.at(NOON + MINUTE)
    assert [clock.at(NOON + HOUR + second) for second in range(4)] == ["quick", "weekly", "daily", None]


def test_changed_times_have_nothing_to_catch_up() -> None:
    """A schedule that is changed or enabled anew begins at that moment; the last run is remembered."""
    clock = Clock(a=HOURLY)
    clock.at(NOON)
    clock.at(NOON + HOUR)
    clock.plans = {"a": Plan(Cron("30", "*"), 0)}
    assert clock.at(NOON + HOUR + 31 * MINUTE) is None
    assert clock.runs["a"].last == NOON + HOUR
    clock.plans = {}
    clock.at(NOON + HOUR + 32 * MINUTE)
    assert clock.runs == {}


def test_a_clock_that_was_ahead() -> None:
    """Put back a little, the clock repeats nothing; put back from years ahead, schedules go on."""
    clock = Clock(a=HOURLY)
    clock.at(NOON)
    assert clock.at(NOON + HOUR) == "a"
    assert clock.at(NOON + 59 * MINUTE) is None
    assert clock.at(NOON + HOUR + MINUTE) is None
    clock.at(NOON + 3650 * DAY)
    clock.at(NOON + HOUR + 2 * MINUTE)
    assert clock.at(NOON + 2 * HOUR) == "a"


LOOKS = st.lists(
    st.tuples(st.floats(1, 7200), st.sampled_from(Readiness), *[st.booleans()] * 3), min_size=1, max_size=40
)


@given(LOOKS)
def test_whatever_happens_no_time_is_run_twice(
    looks: list[tuple[float, Readiness, bool, bool, bool]],
) -> None:
    """Over restarts (only the record survives), times are run in order, each once, and only while it is allowed.

    What the cluster refused is run again until it is taken or the next time comes.
    """
    clock, now = Clock(a=HOURLY, b=Plan(Cron("*/20"), 1)), NOON
    taken: list[tuple[str, float]] = []
    for passed, readiness, busy, restart, refuse in looks:
        now += passed
        if restart:
            clock.runs = msgspec.convert(msgspec.to_builtins(clock.runs), dict[str, Run])
        started = clock.at(now, readiness, busy)
        assert started is None or (readiness is RUNNING and not busy)
        if started is not None and refuse:
            clock.runs = clock.runs | {started: refused(clock.runs[started], "no", now)}
            assert clock.at(now + 1) != started or not clock.runs[started].refusals
        elif started is not None:
            taken.append(clock.started[-1])
    for key in ("a", "b"):
        times = [at for name, at in clock.started if name == key]
        assert times == sorted(times)
        assert all(NOON < at <= now + 1 for at in times)
    assert len(taken) == len(set(taken))
