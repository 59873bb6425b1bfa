"""Jobs that services of the master submit: as the system, and in the history like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confd.cluster.counter import Counter
from confd.cluster.host import Submission
from confd.model.errors import LimitExceeded, NoMaster
from confd.scheduler.caller import SYSTEM
from confd.scheduler.scheduler import Admission, Scheduler
from confd.store.protocol import StoreFailed

_REQUEST: Final = {"method": "job_start", "protocol": "internal", "peer": "service"}


class Submitting:
    """Gives jobs an id of this node's counter and hands them to the scheduler."""

    def __init__(self, node: int, counter: Counter, scheduler: Scheduler) -> None:
        self._node, self._counter, self._scheduler = node, counter, scheduler

    def submit(self, job: str, params: Mapping[str, Any]) -> Submission:
        """Submit a job; it is durable when this returns.

        :raises NoMaster: this master is going down.
        :raises LimitExceeded: the disk is full.
        """
        request = {**_REQUEST, "node": self._node}
        ticket = self._scheduler.admit(Admission(self._next_id(), job, params, SYSTEM, request, start=True))
        if ticket.durable is not None:
            try:
                ticket.durable.result()
            except StoreFailed as error:
                raise NoMaster(f"this master is going down; {job} was not submitted: {error}") from None
        return Submission(ticket.id, ticket.done)

    def _next_id(self) -> str:
        try:
            return f"{self._node}.{self._counter.next()}"
        except OSError as error:
            text = f"this node cannot write the counter of its job ids ({error}); free some space"
            raise LimitExceeded(text) from None
