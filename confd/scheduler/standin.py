"""Answers while there is no master: what a node's own copy of configuration and history tells, marked with its age."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import msgspec

from confd.cluster.leading.doubt import Doubt
from confd.exaconf import Conf
from confd.model.envelope import Outcome, failure, success
from confd.model.errors import ConfDError, NoMaster
from confd.model.secret import Vault
from confd.model.states import Intent
from confd.scheduler import registry
from confd.scheduler.caller import authorise
from confd.scheduler.context import Context
from confd.scheduler.events import Events
from confd.scheduler.jobfile import JobFile, fold
from confd.scheduler.scheduler import Admission
from confd.scheduler.steps import Beyond, WantsMore
from confd.scheduler.ticket import Ticket
from confd.store.protocol import Store


class Jobs(Protocol):
    """What the method table asks of whoever runs jobs."""

    @property
    def events(self) -> Events:
        """Stage changes."""

    def admit(self, admission: Admission) -> Ticket:
        """Take a job in."""

    def refuse(self, admission: Admission, error: ConfDError) -> Ticket:
        """End a call before it became a job."""

    def plan(self, admission: Admission) -> Outcome:
        """Try a job without effect."""

    def ticket(self, job_id: str) -> Ticket | None:
        """Return the ticket of a job that is on its way."""

    def file(self, job_id: str) -> JobFile | None:
        """Return the job file of any job of the history."""

    def check_unknown(self, job_id: str) -> None:
        """Refuse to say that there is no such job where somebody else may know it.

        :raises NoMaster: who is asked may have an old copy only.
        """


class StandIn:
    """Runs read jobs that need no other node; everything else has to wait for a master.

    :param doubt: how old this node's copy may be, and why.
    """

    def __init__(self, store: Store, conf: Callable[[], Conf], vault: Vault, doubt: Callable[[], Doubt]) -> None:
        self._store, self._conf, self._vault, self._doubt = store, conf, vault, doubt

    @property
    def events(self) -> Events:
        """Refuse: stage changes are the master's."""
        _needs_master("subscribe")

    def admit(self, admission: Admission) -> Ticket:
        """Answer a read job; it is not in the history, for nobody can write that now.

        :raises NoMaster: it changes something, or needs more than this node's copy.
        """
        outcome = self._answer(admission)
        return self._ended(admission, msgspec.structs.replace(outcome, stale=self._doubt().age))

    def refuse(self, admission: Admission, error: ConfDError) -> Ticket:
        """End a call before it became a job."""
        return self._ended(admission, failure(error))

    def plan(self, admission: Admission) -> Outcome:
        """Refuse: a dry run asks nodes."""
        _needs_master("a dry run")

    def ticket(self, job_id: str) -> Ticket | None:
        """Return None: nothing is on its way here.

        :raises NoMaster: the job has not ended; only the next master will know how it does.
        """
        if job_id in self._store.unfinished():
            _needs_master(f"job {job_id}, which has not ended,")
        return None

    def file(self, job_id: str) -> JobFile | None:
        """Return the job file of a job that is known here."""
        return fold(job_id, self._store.job(job_id))

    def check_unknown(self, job_id: str) -> None:
        """Refuse: the last jobs of the master before may not have come here."""
        _needs_master(f"job {job_id[:80]}, which is not known here,")

    def _answer(self, admission: Admission) -> Outcome:
        try:
            job = registry.find(admission.name)
            values = job.read(admission.given)
            authorise(job, admission.caller, self._conf(), values)
        except ConfDError as error:
            return failure(error)
        if job.intent is Intent.MODIFY or admission.start:
            _needs_master(job.name if job.intent is Intent.MODIFY else "job_start")
        ctx = self._context(admission)
        try:
            output = job.function(ctx, **values)
        except WantsMore:
            _needs_master(job.name)
        except ConfDError as error:
            return failure(error)
        return success(output, warnings=(*ctx.warnings, self._doubt().text))

    def _context(self, admission: Admission) -> Context:
        beyond: Any = Beyond()
        return Context(
            admission.job_id, admission.caller, admission.request, self._conf(), self._store.runtime(),
            beyond, beyond, self._store, beyond, self._vault,
        )  # fmt: skip

    @staticmethod
    def _ended(admission: Admission, outcome: Outcome) -> Ticket:
        ticket = Ticket(admission.job_id, None, {}, admission.caller, admission.request)
        ticket.end(outcome)
        return ticket


def _needs_master(what: str) -> NoReturn:
    raise NoMaster(f"{what} needs the master")
