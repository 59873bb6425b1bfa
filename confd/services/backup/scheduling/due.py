"""Decides which scheduled backup of a database is started now. Pure: schedules, earlier runs and a moment in.

* A time is run once, and noted before it is run: a crash in between leaves it out.
* At a due time the database has to run, or to be on its way there; else the time is left out.
* While another backup of the database runs, a due one waits, at most a day. Several times of one schedule that pass
  meanwhile are one.
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
    ``waiting`` (0.0 is none). ``last``: the time that was run last, and ``job`` what it was run by.
    """

    timing: str
    handled: float
    waiting: float = 0.0
    last: float = 0.0
    job: str = ""


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
    start = _first(plans, noted)
    if start is not None:
        run = noted[start]
        noted[start] = msgspec.structs.replace(run, waiting=0.0, last=run.waiting)
    return Decision(start, noted)


def next_look(plans: Iterable[Plan], now: float, zone: tzinfo) -> float | None:
    """Return when the next schedule is due."""
    return min(filter(None, (next_run(plan.cron, now, zone) for plan in plans)), default=None)


def _noted(plan: Plan, known: Run | None, readiness: Readiness, now: float, zone: tzinfo) -> Run:
    timing = f"{plan.cron.text} {zone}"
    # A new schedule, or one with new times, has nothing to catch up; so with a clock that was far ahead.
    if known is None or known.timing != timing or known.handled > now + CATCH_UP:
        last, job = (known.last, known.job) if known else (0.0, "")
        return Run(timing=timing, handled=now, last=last, job=job)
    due = _latest(plan.cron, max(known.handled, now - CATCH_UP), now, zone)
    waiting = due or known.waiting
    if not waiting:
        return known
    if not _may_wait(waiting, readiness, now):
        waiting = 0.0
    return msgspec.structs.replace(known, waiting=waiting, handled=due or known.handled)


def _may_wait(waiting: float, readiness: Readiness, now: float) -> bool:
    match readiness:
        case Readiness.STOPPED:
            return False
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


def _first(plans: Mapping[str, Plan], noted: Mapping[str, Run]) -> str | None:
    waiting = [key for key, run in noted.items() if run.waiting]
    return min(waiting, key=lambda key: (plans[key].level, noted[key].waiting, key), default=None)
