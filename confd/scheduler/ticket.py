"""A job on its way: what the scheduler holds of it in memory until it ended."""

from __future__ import annotations

import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

import structlog

from confd.model.envelope import Outcome, failure
from confd.model.errors import LimitExceeded, NoMaster
from confd.model.states import Stage
from confd.scheduler.caller import Caller
from confd.scheduler.registry import Job, Values

log = structlog.get_logger("scheduler")


class Ticket:
    """One admitted job.

    ``done`` gets the outcome. ``answer`` is what whoever waits is told: the outcome, or earlier that the job is held
    up. ``durable`` is done when the id may be given out. ``refused`` is the outcome of a call that became no job.
    """

    __slots__ = ("answer", "caller", "done", "durable", "id", "job", "refused", "request", "stages", "values")

    def __init__(self, job_id: str, job: Job | None, values: Values, caller: Caller, request: dict[str, Any]) -> None:
        self.id, self.job, self.values, self.caller, self.request = job_id, job, values, caller, request
        self.done: Future[Outcome] = Future()
        self.answer: Future[Outcome] = Future()
        self.durable: Future[Any] | None = None
        self.refused: Outcome | None = None
        self.stages: dict[Stage, float] = {Stage.SUBMITTED: time.time()}

    def reach(self, stage: Stage) -> None:
        """Note that the job reached a stage now."""
        self.stages[stage] = time.time()

    def end(self, outcome: Outcome) -> None:
        """Tell how the job ended; too late when it was left to another master meanwhile."""
        for future in (self.done, self.answer):
            with suppress(InvalidStateError):
                future.set_result(outcome)

    def hold_up(self, why: str) -> None:
        """Tell whoever waits that the job goes on only when something has changed; fine when it ended already."""
        text = f"{why}; job {self.id} is held up and goes on by itself then, job_wait waits for it"
        with suppress(InvalidStateError):
            self.answer.set_result(self.refused or failure(LimitExceeded(text)))

    def leave(self, why: BaseException | None = None) -> None:
        """Tell whoever waits that this master does not go on with the job; fine when it ended already.

        :param why: what came in between, for the log.
        """
        if why is not None:
            log.warning("job_left", job_id=self.id, error=str(why))
        error = NoMaster(f"this master is going down; the next one goes on with job {self.id}")
        for future in (self.done, self.answer):
            with suppress(InvalidStateError):
                future.set_exception(error)
