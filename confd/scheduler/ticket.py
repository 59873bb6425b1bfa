"""A job on its way: what the scheduler holds of it in memory until it ended."""

from __future__ import annotations

import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

import structlog

from confd.model.envelope import Outcome
from confd.model.errors import NoMaster
from confd.model.states import Stage
from confd.scheduler.caller import Caller
from confd.scheduler.registry import Job, Values

log = structlog.get_logger("scheduler")


class Ticket:
    """One admitted job: ``done`` gets the outcome, ``durable`` is done when the id may be given out."""

    __slots__ = ("caller", "done", "durable", "id", "job", "request", "stages", "values")

    def __init__(self, job_id: str, job: Job | None, values: Values, caller: Caller, request: dict[str, Any]) -> None:
        self.id, self.job, self.values, self.caller, self.request = job_id, job, values, caller, request
        self.done: Future[Outcome] = Future()
        self.durable: Future[Any] | None = None
        self.stages: dict[Stage, float] = {Stage.SUBMITTED: time.time()}

    def reach(self, stage: Stage) -> None:
        """Note that the job reached a stage now."""
        self.stages[stage] = time.time()

    def end(self, outcome: Outcome) -> None:
        """Tell how the job ended; too late when it was left to another master meanwhile."""
        with suppress(InvalidStateError):
            self.done.set_result(outcome)

    def leave(self, why: Exception | None = None) -> None:
        """Tell whoever waits that this master does not go on with the job; fine when it ended already.

        :param why: what came in between, for the log.
        """
        if why is not None:
            log.warning("job_left", job_id=self.id, error=str(why))
        with suppress(InvalidStateError):
            self.done.set_exception(NoMaster(f"this master is going down; the next one goes on with job {self.id}"))
