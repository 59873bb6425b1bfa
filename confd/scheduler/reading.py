"""Read jobs: answered at once where the configuration is enough, else in threads of their own; all are recorded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from confd.model.envelope import Outcome, failure, success
from confd.model.errors import ConfDError, Internal
from confd.model.states import Stage
from confd.scheduler import masking
from confd.scheduler.context import Context
from confd.scheduler.pipeline import Surroundings
from confd.scheduler.steps import LiveSteps, WantsMore
from confd.scheduler.ticket import Ticket
from confd.store.protocol import Kind
from confd.store.records import Finished, ReadJob

log = structlog.get_logger("scheduler")

_READERS = 16
_WAITERS = 256


class Reading:
    """Runs read jobs; those that may wait for long do not keep others waiting.

    :param ended: called when a started read job has its outcome, which is durable then.
    """

    def __init__(self, around: Surroundings, ended: Callable[[Ticket, Outcome], None]) -> None:
        self._around, self._ended = around, ended
        self._store, self._head = around.store, around.head
        self._asking: set[str] = set()
        self._open: set[Ticket] = set()
        self._readers = ThreadPoolExecutor(_READERS, "read")
        self._waiters = ThreadPoolExecutor(_WAITERS, "wait")

    def answer(self, ticket: Ticket) -> None:
        """Answer a caller who waits: here and now if nothing but the configuration is wanted."""
        assert ticket.job is not None
        if ticket.job.name in self._asking or not self._answer_at_once(ticket):
            self._submit(ticket, self._answer)

    def start(self, ticket: Ticket) -> None:
        """Run a job whose caller asks for the outcome later; its admission is recorded already."""
        self._submit(ticket, self._run_started)

    def close(self) -> None:
        """Answer nothing more; whoever waits is told so."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._waiters.shutdown(wait=False, cancel_futures=True)
        for ticket in self._open.copy():
            ticket.leave()

    def record(self, ticket: Ticket, name: str, params: dict[str, Any], outcome: Outcome, *, lazy: bool) -> Any:
        """Append a call that changes nothing to the history, as one record with all of it."""
        result = outcome.output if outcome.has_output else None
        body = ReadJob(
            name, ticket.caller.name, ticket.caller.uid, ticket.request, params,
            ticket.stages[Stage.SUBMITTED], self._head.conf.revision, outcome.code, outcome.message, result,
        )  # fmt: skip
        return self._store.append(Kind.READ, ticket.id, body, lazy=lazy)

    def _submit(self, ticket: Ticket, run: Callable[[Ticket], None]) -> None:
        assert ticket.job is not None
        self._open.add(ticket)
        try:
            (self._waiters if ticket.job.waits else self._readers).submit(self._run, ticket, run)
        except RuntimeError as closed:
            self._open.discard(ticket)
            ticket.leave(closed)

    def _run(self, ticket: Ticket, run: Callable[[Ticket], None]) -> None:
        try:
            run(ticket)
        finally:
            self._open.discard(ticket)

    def _answer_at_once(self, ticket: Ticket) -> bool:
        """Answer a job that wants nothing but the configuration; False when it has to wait for something."""
        assert ticket.job is not None
        try:
            outcome = self._outcome(ticket, self._around.conf_only(ticket))
        except WantsMore:
            self._asking.add(ticket.job.name)
            return False
        self._end(ticket, outcome)
        return True

    def _answer(self, ticket: Ticket) -> None:
        self._end(ticket, self._outcome(ticket, self._live(ticket)))

    def _run_started(self, ticket: Ticket) -> None:
        outcome = self._outcome(ticket, self._live(ticket))
        try:
            self._store.append(Kind.FINISHED, ticket.id, _finished(outcome)).result()
        except Exception as error:
            ticket.leave(error)
            return
        self._ended(ticket, outcome)

    def _end(self, ticket: Ticket, outcome: Outcome) -> None:
        assert ticket.job is not None
        ticket.end(outcome)
        params = masking.hide_given(ticket.values, ticket.job.secrets)
        self.record(ticket, ticket.job.name, params, outcome, lazy=True)

    def _live(self, ticket: Ticket) -> Context:
        return self._around.context(ticket, self._head.conf, LiveSteps(self._around.dispatch.send, ticket.id))

    def _outcome(self, ticket: Ticket, ctx: Context) -> Outcome:
        assert ticket.job is not None
        try:
            output = ticket.job.function(ctx, **ticket.values)
        except WantsMore:
            raise
        except ConfDError as error:
            return failure(error)
        except Exception as error:
            log.exception("job_failed", job_id=ticket.id, job=ticket.job.name)
            return failure(Internal(f"{ticket.job.name} failed inside ConfD: {type(error).__name__}: {error}"))
        if (doubt := self._around.doubt()) is not None:
            return success(output, warnings=(*ctx.warnings, doubt.text), stale=doubt.age)
        return success(output, warnings=tuple(ctx.warnings))


def _finished(outcome: Outcome) -> Finished:
    return Finished(outcome.code, outcome.message, outcome.output, outcome.has_output, warnings=list(outcome.warnings))
