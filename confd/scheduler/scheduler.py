"""The scheduler: admits jobs, grants locks, runs each job in a worker thread. Runs on the master."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec
import structlog

from confd.exaconf import diff
from confd.model.envelope import Outcome, failure, success
from confd.model.errors import ConfDError, Internal, Interrupted, NoMaster, NoQuorum, UnknownJob
from confd.model.failpoints import Failpoint, reach
from confd.model.states import Intent, Stage
from confd.scheduler import masking, registry
from confd.scheduler.caller import SYSTEM, Caller, authorise, caller_named
from confd.scheduler.context import Context
from confd.scheduler.events import Events
from confd.scheduler.gate import Gate
from confd.scheduler.jobfile import JobFile, fold
from confd.scheduler.locks import Lock, LockTable
from confd.scheduler.pipeline import Pipeline, Surroundings
from confd.scheduler.reading import Reading
from confd.scheduler.steps import PlannedSteps
from confd.scheduler.ticket import Ticket
from confd.store.protocol import Kind, StoreFailed
from confd.store.records import Submitted

log = structlog.get_logger("scheduler")

_WORKERS = 64
_EVERYTHING = "all"
_REMEMBERED = 10_000


class Admission(msgspec.Struct, frozen=True):
    """A call for a job, from an authenticated caller. ``retried``: the id may be known already."""

    job_id: str
    name: Any
    given: Mapping[str, Any]
    caller: Caller
    request: dict[str, Any]
    start: bool = False
    retried: bool = False


class Scheduler:
    """All jobs of the cluster, from admission to their last stage.

    :param may_change: raises when modify jobs cannot be accepted now (no quorum, disk full).
    :param term: of the master, from which the cursors of events begin.
    """

    def __init__(self, around: Surroundings, may_change: Callable[[], None], term: int = 0) -> None:
        self._around, self._may_change = around, may_change
        self._store, self._head = around.store, around.head
        self._tickets: dict[str, Ticket] = {}
        self._locks, self._mutex = LockTable(), threading.Lock()
        self._waiting: dict[str, Callable[[], None]] = {}
        self._retried: dict[str, None] = {}
        self.gate = Gate()
        self._closed = False
        self._held_up = ""
        self._store.when_full(self._hold_up)
        self._workers = ThreadPoolExecutor(_WORKERS, "job")
        self._reading = Reading(around, self._end_started)
        self.events = Events(term=term)

    def admit(self, admission: Admission) -> Ticket:
        """Take a job in; its ticket. Errors of the request become the outcome, never an exception."""
        if self._is_repeated(admission) and (known := self._known(admission.job_id)) is not None:
            return known
        try:
            job = registry.find(admission.name)
            values = job.read(admission.given)
            authorise(job, admission.caller, self._head.conf, values)
            if job.intent is Intent.MODIFY:
                self._check_may_change(job)
            if job.refuses is not None:
                job.refuses(self._head.records, values)
        except ConfDError as error:
            return self.refuse(admission, error)
        ticket = Ticket(admission.job_id, job, values, admission.caller, admission.request)
        if job.intent is Intent.MODIFY:
            reach(Failpoint.ADMIT)
            self._submit(ticket, wait=admission.start)
            reach(Failpoint.SUBMITTED)
            self._queue(ticket, None)
        elif admission.start:
            self._submit(ticket, wait=True)
            self._reading.start(ticket)
        else:
            self._reading.answer(ticket)
        if self._closed:
            # It came in while this master gave its place away: too late to be told with the others.
            ticket.leave()
        elif self._held_up and ticket.id in self._tickets:
            ticket.hold_up(self._held_up)
        return ticket

    def _check_may_change(self, job: registry.Job) -> None:
        try:
            self._may_change()
        except NoQuorum:
            if not job.without_quorum:
                raise

    def refuse(self, admission: Admission, error: ConfDError) -> Ticket:
        """End a call before it became a job; it has an id and a place in the history like any other."""
        ticket = Ticket(admission.job_id, None, {}, admission.caller, admission.request)
        name, shown = str(admission.name)[:80], masking.hide_given(dict(admission.given), _unsafe(admission))
        outcome = failure(error)
        ticket.durable = self._reading.record(ticket, name, shown, outcome, lazy=not admission.start)
        if not admission.start:
            ticket.end(outcome)
            return ticket
        # Who starts a job is told its id once that is durable, the refusal itself only when that is held up.
        ticket.refused = outcome
        self._tickets[ticket.id] = ticket
        ticket.durable.add_done_callback(lambda recorded: self._end(ticket, outcome))
        if self._held_up:
            ticket.hold_up(self._held_up)
        return ticket

    def plan(self, admission: Admission) -> Outcome:
        """Try a job without effect: what would change and which commands would run."""
        try:
            job = registry.find(admission.name)
            values = job.read(admission.given)
            authorise(job, admission.caller, self._head.conf, values)
            conf, steps = self._head.conf, PlannedSteps()
            ticket = Ticket("", job, values, admission.caller, admission.request)
            ctx = self._around.context(ticket, conf, steps)
            output = job.function(ctx, **values)
        except ConfDError as error:
            return failure(error)
        except Exception as error:
            log.exception("dry_run_failed", job=str(admission.name)[:80])
            return failure(Internal(f"the dry run failed inside ConfD: {type(error).__name__}: {error}"))
        changes = ctx.conf.changes
        commands = [*steps.commands, *ctx.settling]
        planned = {
            "diff": diff(conf.sections, conf.with_changes(changes, conf.revision).sections),
            "commands": [masking.hide(msgspec.to_builtins(command)) for command in commands],
        }
        if job.intent is Intent.READ:
            planned["result"] = output
        return success(planned, warnings=tuple(ctx.warnings))

    def ticket(self, job_id: str) -> Ticket | None:
        """Return the ticket of a job that is on its way."""
        return self._tickets.get(job_id)

    def file(self, job_id: str) -> JobFile | None:
        """Return the job file of any job of the history; None when unknown or pruned."""
        with contextlib.suppress(StoreFailed):
            self._store.flush()
        return fold(job_id, self._store.job(job_id))

    def check_unknown(self, job_id: str) -> None:
        """Refuse to say that there is no such job while a newer master may exist, which may know it.

        :raises NoMaster: ask again.
        """
        if (doubt := self._around.doubt()) is not None:
            raise NoMaster(f"job {job_id[:80]} is not known here, but {doubt.text}; ask again")

    def recover(self) -> None:
        """Go on with the jobs an earlier master left unfinished, in order of admission."""
        for job_id in self._store.unfinished():
            try:
                file = self.file(job_id)
                if file is not None:
                    self._recover(file)
            except Exception:
                # One job that cannot be read must not keep the cluster without a master.
                log.exception("job_not_recovered", job_id=job_id)

    def close(self) -> None:
        """Start and record nothing more; running jobs are left to the next master, and whoever waits is told so."""
        self._closed = True
        self._store.resign()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._reading.close()
        for ticket in self._tickets.copy().values():
            ticket.leave()
        self.events.close()

    def _hold_up(self, why: str) -> None:
        """Tell whoever waits for a job that it cannot be recorded; empty: it can be again."""
        self._held_up = why
        for ticket in self._tickets.copy().values() if why else ():
            ticket.hold_up(why)

    def _is_repeated(self, admission: Admission) -> bool:
        """Tell whether a call may have been here before; a first try that was held up comes after its repetition."""
        if not admission.retried:
            return admission.job_id in self._retried
        self._retried[admission.job_id] = None
        if len(self._retried) > _REMEMBERED:
            del self._retried[next(iter(self._retried))]
        return True

    def _known(self, job_id: str) -> Ticket | None:
        if (ticket := self._tickets.get(job_id)) is not None:
            return ticket
        file = self.file(job_id)
        if file is None or file.outcome is None:
            return None
        ticket = Ticket(job_id, None, {}, SYSTEM, {})
        ticket.end(file.outcome)
        return ticket

    def _submit(self, ticket: Ticket, *, wait: bool) -> None:
        assert ticket.job is not None
        sealed = masking.seal(ticket.values, ticket.job.secrets, self._around.vault)
        body = Submitted(
            ticket.job.name, ticket.job.intent, ticket.caller.name, ticket.caller.uid, ticket.request, sealed
        )
        submitted = ticket.stages[Stage.SUBMITTED]
        # Who runs a job and waits needs no durable id: everything the job does is recorded after this.
        ticket.durable = self._store.append(Kind.SUBMITTED, ticket.id, body, submitted, lazy=not wait)
        self._tickets[ticket.id] = ticket
        self._reached(ticket, Stage.SUBMITTED)

    def _queue(self, ticket: Ticket, past: JobFile | None) -> None:
        assert ticket.job is not None
        locks = () if ticket.job.lockless else self._claims(ticket)
        names = [str(lock) for lock in locks]

        def submit() -> None:
            try:
                self._workers.submit(self._run_modify, ticket, names, past)
            except RuntimeError as closed:
                ticket.leave(closed)

        def start() -> None:
            self.gate.begin(ticket.id, submit)

        with self._mutex:
            granted = self._locks.claim(ticket.id, locks)
            if not granted:
                self._waiting[ticket.id] = start
        if granted:
            start()

    def _claims(self, ticket: Ticket) -> tuple[Lock, ...]:
        assert ticket.job is not None
        try:
            claimed = ticket.job.locks(self._head.ordered, ticket.values)
        except Exception:
            # A defect of the rule; the job itself will say what is wrong with its parameters.
            log.exception("locks_not_named", job_id=ticket.id, job=ticket.job.name)
            return (Lock(_EVERYTHING),)
        return (Lock(_EVERYTHING, shared=True), *claimed)

    def _run_modify(self, ticket: Ticket, locks: list[str], past: JobFile | None) -> None:
        try:
            ended = Pipeline(self._around, ticket, self._reached).run(locks, past)
        except BaseException as error:
            ended = Future()
            ended.set_exception(error)
        ended.add_done_callback(lambda ended: self._end_modify(ticket, ended))

    def _end_modify(self, ticket: Ticket, ended: Future[Outcome]) -> None:
        """Have a job give its locks back, then tell who waits for it; does not block."""
        self.gate.ended(ticket.id)
        self._release(ticket)
        error = ended.exception()
        if error is None:
            self._end(ticket, ended.result())
        else:
            # Only the loss of the journal or of mastership gets here: the job stays for the next master.
            ticket.leave(error)

    def _release(self, ticket: Ticket) -> None:
        with self._mutex:
            granted = [self._waiting.pop(job_id) for job_id in self._locks.release(ticket.id)]
        for start in granted:
            start()

    def _end_started(self, ticket: Ticket, outcome: Outcome) -> None:
        self._reached(ticket, Stage.FINISHED)
        self._end(ticket, outcome)

    def _end(self, ticket: Ticket, outcome: Outcome) -> None:
        self._tickets.pop(ticket.id, None)
        ticket.end(outcome)

    def _recover(self, file: JobFile) -> None:
        job = _job_or_stand_in(file.submitted.name, Intent(file.submitted.intent))
        values = masking.unseal(file.submitted.params, self._around.vault)
        conf = self._head.conf
        name = file.submitted.user
        caller = caller_named(conf, name) if name in conf.users else Caller(name, file.submitted.uid, -1, frozenset())
        ticket = Ticket(file.id, job, values, caller, file.submitted.request)
        ticket.stages = dict(file.stages)
        self._tickets[ticket.id] = ticket
        log.info("job_recovered", job_id=file.id, job=job.name, stage=str(file.stage))
        if job.intent is Intent.MODIFY:
            self._queue(ticket, file)
        else:
            self._reading.start(ticket)

    def _reached(self, ticket: Ticket, stage: Stage) -> None:
        ticket.reach(stage)
        assert ticket.job is not None
        self.events.publish(ticket.id, ticket.job.name, stage)


def _unsafe(admission: Admission) -> frozenset[str]:
    """Name what a refused call must not show: secrets, and what may be a secret under a wrong name."""
    try:
        job = registry.find(admission.name)
    except UnknownJob:
        return frozenset(admission.given)
    return frozenset(admission.given) - (job.parameters.keys() - job.secrets)


def _job_or_stand_in(name: str, intent: Intent) -> registry.Job:
    """Return the job that an unfinished record names; one that only goes back when the software has it no longer."""

    def interrupt(ctx: Context, **values: Any) -> None:
        raise Interrupted(f"this version of ConfD has no job {name!r}; it was undone")

    try:
        return registry.find(name)
    except UnknownJob:
        everything = (lambda conf, values: [Lock(_EVERYTHING)],)
        return registry.Job(
            name, intent, "", "", {}, (), registry.Allow(), (),
            "", False, False, interrupt, everything, None, frozenset(), {},
        )  # fmt: skip
