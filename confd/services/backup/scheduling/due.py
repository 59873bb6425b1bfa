"""Decides which scheduled backup of a database is started now. Pure: schedules, earlier runs and a moment in.

* A time is run once, and noted before it is run: a crash in between leaves it out.
* At a due time the database has to run, or to be on its way there; else the time is left out.
* While another backup of the database runs, a due one waits, at most a day. Several times of one schedule that pass
  meanwhile are one.
* One that the cluster refused (a node away, no quorum) is tried again, less and less often, until the next time of its
  schedule takes its place.
* Times that passed while nobody looked (no master) are caught up for an hour, several as one.
* Of several that are due, snapshots go first, then lower levels: what an incremental backup may build on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import tzinfo
from enum import StrEnum
from typing import Final

import msgspec

from confd.services.backup.scheduling.cron import Cron, next_run

CATCH_UP: Final = 3600.0
LONGEST_WAIT: Final = 86400.0
SNAPSHOT_LEVEL: Final = -1
FIRST_REST: Final = 60.0
LONGEST_REST: Final = 1800.0
"""Seconds until a refused run is tried again: at first, and at most."""


class Readiness(StrEnum):
    """Whether a database can be backed up; COMING: it is wanted running and does not serve at the moment."""

    RUNNING = "running"
    COMING = "coming"
    STOPPED = "stopped"


class Plan(msgspec.Struct, frozen=True):
    """An enabled schedule: ``level`` of its backups, or SNAPSHOT_LEVEL."""

    cron: Cron
    level: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a schedule's runs.

    ``timing``: for which fields and zone it holds. Up to ``handled`` every time was dealt with, except for
    ``waiting`` (0.0 is none). ``last``: the time that was run last, ``job`` what it was run by, ``result`` how that
    ended, as far as it is known; ``backup`` is its path while it is being taken.
    ``refusals``: how often the cluster has refused the one that waits, which is not tried before ``rest``.
    """

    timing: str
    handled: float
    waiting: float = 0.0
    last: float = 0.0
    job: str = ""
    result: str = ""
    backup: str = ""
    refusals: int = 0
    rest: float = 0.0


class Decision(msgspec.Struct, frozen=True):
    """The schedule to start now, if any, and what is to be noted before."""

    start: str | None
    runs: dict[str, Run]


def decide(
    plans: Mapping[str, Plan],
    runs: Mapping[str, Run],
    readiness: Readiness,
    busy: bool,
    now: float,
    zone: tzinfo,
) -> Decision:
    """Decide for one database.

    :param plans: its enabled schedules by key.
    :param runs: what was noted last, by key.
    :param busy: a backup or restore runs, or is about to.
    """
    noted = {key: _noted(plan, runs.get(key), readiness, now, zone) for key, plan in plans.items()}
    if busy or readiness is not Readiness.RUNNING:
        return Decision(None, noted)
    start = _first(plans, noted, now)
    if start is not None:
        run = noted[start]
        noted[start] = msgspec.structs.replace(
            run, waiting=0.0, rest=0.0, last=run.waiting, job="", result="", backup=""
        )
    return Decision(start, noted)


def again(run: Run, result: str) -> Run:
    """Return the run with what was started last waiting once more, because it met another operation."""
    return msgspec.structs.replace(run, waiting=run.waiting or run.last, result=result)


def refused(run: Run, result: str, now: float) -> Run:
    """Return the run with what was started last waiting until the cluster may be well again."""
    if run.waiting:
        # The next time of the schedule has come meanwhile.
        return msgspec.structs.replace(run, result=result)
    rest = min(FIRST_REST * 2.0 ** min(run.refusals, 9), LONGEST_REST)
    return msgspec.structs.replace(run, waiting=run.last, result=result, refusals=run.refusals + 1, rest=now + rest)


def rested(run: Run) -> Run:
    """Return the run with a refused one ready at once: the cluster has changed."""
    return msgspec.structs.replace(run, rest=0.0)


def next_look(plans: Iterable[Plan], now: float, zone: tzinfo) -> float | None:
    """Return when the next schedule is due."""
    return min(filter(None, (next_run(plan.cron, now, zone) for plan in plans)), default=None)


def _noted(plan: Plan, known: Run | None, readiness: Readiness, now: float, zone: tzinfo) -> Run:
    timing = f"{plan.cron.text} {zone}"
    # A new schedule, or one with new times, has nothing to catch up; so with a clock that was far ahead.
    if known is None or known.timing != timing or known.handled > now + CATCH_UP:
        last, job, result = (known.last, known.job, known.result) if known else (0.0, "", "")
        return Run(timing=timing, handled=now, last=last, job=job, result=result)
    due = _latest(plan.cron, max(known.handled, now - CATCH_UP), now, zone)
    waiting = due or known.waiting
    if not waiting:
        return known
    refusals, rest = (0, 0.0) if due else (known.refusals, known.rest)
    if not _may_wait(waiting, readiness, now, refusals):
        waiting, refusals, rest = 0.0, 0, 0.0
    return msgspec.structs.replace(known, waiting=waiting, handled=due or known.handled, refusals=refusals, rest=rest)


def _may_wait(waiting: float, readiness: Readiness, now: float, refusals: int) -> bool:
    match readiness:
        case Readiness.STOPPED:
            return False
        case _ if refusals:
            return True
        case Readiness.COMING:
            return now - waiting <= CATCH_UP
        case Readiness.RUNNING:
            return now - waiting <= LONGEST_WAIT


def _latest(cron: Cron, after: float, now: float, zone: tzinfo) -> float:
    """Return the latest time up to now, 0.0 when there is none."""
    latest = 0.0
    while (at := next_run(cron, latest or after, zone)) is not None and at <= now:
        latest = at
    return latest


def _first(plans: Mapping[str, Plan], noted: Mapping[str, Run], now: float) -> str | None:
    waiting = [key for key, run in noted.items() if run.waiting and run.rest <= now]
    return min(waiting, key=lambda key: (plans[key].level, noted[key].waiting, key), default=None)
