"""A job on its way: what the scheduler holds of it in memory until it ended."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any

from confd.model.envelope import Outcome
from confd.model.states import Stage
from confd.scheduler.caller import Caller
from confd.scheduler.registry import Job, Values


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
