"""The way of one modify job: PREPARE, COMMIT, SETTLE.

* PREPARE: the job function checks, edits its draft and runs creating commands. Until COMMIT the job can
  only go back: recorded undos run in reverse.
* COMMIT: one durable record holds outcome and new revision. From there the job only goes forward.
* SETTLE: destroying commands run, the revision reaches all nodes, the job is committed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

import msgspec
import structlog

from confd.cluster.following.agent import Reply, reply_of
from confd.cluster.following.replica import load_conf
from confd.cluster.host import Cluster
from confd.cluster.leading.doubt import Doubt
from confd.cluster.operations import Command
from confd.exaconf import to_stored
from confd.model.envelope import SUCCESS, Outcome
from confd.model.errors import ConfDError, Interrupted, NodeOffline
from confd.model.failpoints import Failpoint, reach
from confd.model.secret import Vault
from confd.model.states import Stage
from confd.scheduler.context import NUMBERS, Context
from confd.scheduler.debts import command_key, debt_key
from confd.scheduler.head import Head
from confd.scheduler.jobfile import JobFile, outcome_of
from confd.scheduler.masking import unseal
from confd.scheduler.registry import Job
from confd.scheduler.steps import Beyond, JournalledSteps, PastStep, ReplayMismatch, as_command, as_step
from confd.scheduler.ticket import Ticket
from confd.store.protocol import Kind, Store, StoreFailed
from confd.store.records import Committed, Finished, Scheduled, Step, Undone

log = structlog.get_logger("pipeline")


class Dispatch(Protocol):
    """How the pipeline reaches nodes."""

    def send(self, job_id: str, number: int, command: Command[Any]) -> Future[Reply]:
        """Run a command on its node under a key; the reply, also for errors."""

    def written(self, revision: int) -> Future[list[int]]:
        """Complete when live nodes have written a revision; with those that did not in time."""

    def share(self) -> None:
        """Return once another node knows what is durable here, so that it can undo what this one has begun.

        :raises StoreFailed: this master is going down.
        """


def _none() -> None:
    return None


class Surroundings(msgspec.Struct, frozen=True):
    """What every job of a master shares. ``doubt`` tells how old answers may be."""

    store: Store
    head: Head
    dispatch: Dispatch
    cluster: Cluster
    vault: Vault
    services: Callable[[type[Any]], Any]
    software: str
    doubt: Callable[[], Doubt | None] = _none

    def context(self, ticket: Ticket, conf: Any, steps: Any) -> Context:
        """Make the context of a job on a base revision."""
        return Context(
            ticket.id, ticket.caller, ticket.request, conf, self.head.records, steps,
            self.cluster, self.store, self.services, self.vault,
        )  # fmt: skip

    def conf_only(self, ticket: Ticket) -> Context:
        """Make the context of a read job that is tried without anything but the configuration."""
        beyond: Any = Beyond()
        return Context(
            ticket.id, ticket.caller, ticket.request, self.head.conf, self.head.records,
            beyond, beyond, beyond, beyond, self.vault,
        )  # fmt: skip


class _Failed(Exception):
    """The job goes back; ``outcome`` is what it ends with."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class Pipeline:
    """Takes one granted job to its end. Runs in a worker thread, up to where only a revision has to reach all nodes."""

    def __init__(self, around: Surroundings, ticket: Ticket, reached: Callable[[Ticket, Stage], None]) -> None:
        assert ticket.job is not None
        self._around, self._ticket, self._reached = around, ticket, reached
        self._job: Job = ticket.job
        self._store, self._head = around.store, around.head

    def run(self, locks: list[str], past: JobFile | None = None) -> Future[Outcome]:
        """Run the job, or go on where an earlier master stopped; what is returned is done when the job has ended."""
        if past is not None and past.finished is not None:
            return self._settle(past.finished, past.finished.revision)
        if past is not None and past.scheduled is not None:
            return self._resume(past, past.scheduled)
        conf = self._head.ordered
        body = Scheduled(conf.revision, locks, self._around.software)
        self._store.append(Kind.SCHEDULED, self._ticket.id, body, lazy=True)
        self._reached(self._ticket, Stage.SCHEDULED)
        reach(Failpoint.SCHEDULED)
        return self._prepare(conf, {})

    def _resume(self, past: JobFile, scheduled: Scheduled) -> Future[Outcome]:
        if past.going_back is not None:
            return self._go_back(past.steps, Outcome(past.going_back.code, past.going_back.message))
        if scheduled.software != self._around.software:
            text = f"the job began under version {scheduled.software} and was undone by version {self._around.software}"
            return self._go_back(past.steps, _interrupted(text))
        conf = load_conf(self._store, self._around.vault, scheduled.base_revision)
        return self._prepare(conf, past.steps)

    def _steps(self, past: dict[int, PastStep]) -> JournalledSteps:
        dispatch = self._around.dispatch
        return JournalledSteps(self._ticket.id, self._store, dispatch.send, past, dispatch.share)

    def _prepare(self, conf: Any, past: dict[int, PastStep]) -> Future[Outcome]:
        steps = self._steps(past)
        ctx = self._around.context(self._ticket, conf, steps)
        try:
            output = self._call(ctx, steps)
            self._reached(self._ticket, Stage.EXECUTED)
            reach(Failpoint.EXECUTED)
            finished, revision = self._commit(ctx, output)
        except _Failed as failed:
            return self._go_back(past, failed.outcome, tuple(ctx.warnings))
        return self._settle(finished, revision)

    def _call(self, ctx: Context, steps: JournalledSteps) -> Any:
        try:
            output = self._job.function(ctx, **self._ticket.values)
            output = msgspec.to_builtins(output, str_keys=True, enc_hook=self._around.vault.seal)
            steps.end()
            return output
        except ReplayMismatch as mismatch:
            text = f"the job could not be continued after a restart and was undone ({mismatch}); submit it again"
            raise _Failed(_interrupted(text)) from None
        except ConfDError as error:
            raise _Failed(Outcome(error.code, error.message)) from None
        except StoreFailed:
            raise
        except Exception as error:
            raise self._defect(error) from None

    def _defect(self, error: Exception) -> _Failed:
        log.error("job_failed", job_id=self._ticket.id, job=self._job.name, exc_info=error)
        reply = reply_of(error)
        return _Failed(Outcome(reply.code, f"{self._job.name} failed inside ConfD: {reply.message}"))

    def _commit(self, ctx: Context, output: Any) -> tuple[Finished, int | None]:
        try:
            finish = self._finishing(ctx, output)
            revision, conf, durable = self._head.commit(self._ticket.id, ctx.conf, finish)
        except ConfDError as error:
            raise _Failed(Outcome(error.code, error.message)) from None
        except Exception as error:
            # What cannot be written as a record is not ordered yet: the job can still go back.
            raise self._defect(error) from None
        reach(Failpoint.ORDERED)
        durable.result()
        reach(Failpoint.FINISHED)
        self._head.publish(conf)
        self._reached(self._ticket, Stage.FINISHED)
        return finish(revision), revision

    def _finishing(self, ctx: Context, output: Any) -> Callable[[int | None], Finished]:
        """Return what makes the durable record."""
        settling = [as_step(command) for command in ctx.settling]
        debts = {debt_key(self._ticket.id, number): msgspec.to_builtins(step) for number, step in enumerate(settling)}
        changes = {
            key: None if section is None else to_stored(section, self._around.vault)
            for key, section in ctx.conf.changes.items()
        }

        def finish(revision: int | None) -> Finished:
            return Finished(
                0, SUCCESS, output, output is not None, revision, changes, ctx.changed_records(revision) | debts,
                settling, ctx.warnings, self._ticket.caller.name,
            )  # fmt: skip

        return finish

    def _settle(self, finished: Finished, revision: int | None) -> Future[Outcome]:
        if revision is None:
            return _ended(self._close(finished, []))
        written = self._around.dispatch.written(revision)
        if finished.settle:
            # Destroying commands are waited for, which is what this thread is for.
            return _ended(self._close(finished, _late(revision, written)))
        ended: Future[Outcome] = Future()

        def close(written: Future[list[int]]) -> None:
            # In the thread that tells: to wake up this one would take longer than what is left to do.
            try:
                ended.set_result(self._close(finished, _late(revision, written)))
            except BaseException as error:
                ended.set_exception(error)

        written.add_done_callback(close)
        return ended

    def _close(self, finished: Finished, warnings: list[str]) -> Outcome:
        """End a job whose revision, if any, is where it can be; blocks only when commands are left."""
        for number, step in enumerate(finished.settle):
            warnings += self._pay(debt_key(self._ticket.id, number), step)
        reach(Failpoint.SETTLED)
        # The outcome and the revision are durable long since; a master that finds this record missing settles again.
        self._store.append(Kind.COMMITTED, self._ticket.id, Committed(warnings), lazy=True)
        reach(Failpoint.COMMITTED)
        self._reached(self._ticket, Stage.COMMITTED)
        outcome = outcome_of(finished, warnings)
        if not self._job.answers_secret:
            return outcome
        # Only who waits for the job is told; its record keeps the secret sealed.
        return msgspec.structs.replace(outcome, output=unseal(outcome.output, self._around.vault))

    def _pay(self, debt: str, step: Step) -> list[str]:
        if debt not in self._head.records:
            return []
        reach(Failpoint.DEBT_DUE)
        reply = self._around.dispatch.send(*command_key(debt), as_command(step)).result()
        reach(Failpoint.DEBT_PAID)
        if reply.code:
            return [f"{step.name} on n{step.node} is not done yet and will be repeated: {reply.message}"]
        self._head.put_record(debt, None)
        return []

    def _go_back(self, past: dict[int, PastStep], outcome: Outcome, warnings: tuple[str, ...] = ()) -> Future[Outcome]:
        steps = self._steps(past)
        undos = steps.undo()
        reach(Failpoint.GOING_BACK)
        debts: dict[str, Any] = {}
        left: list[str] = []
        if undos:
            self._store.append(Kind.UNDONE, self._ticket.id, Undone(0, outcome.code, outcome.message)).result()
            reach(Failpoint.BACK_RECORDED)
        for number, step in undos:
            reach(Failpoint.UNDO_DUE)
            reply = self._around.dispatch.send(self._ticket.id, -number, as_command(step)).result()
            reach(Failpoint.UNDO_DONE)
            if reply.code == NodeOffline.code:
                debts[debt_key(self._ticket.id, -number)] = msgspec.to_builtins(step)
            elif reply.code:
                left.append(f"{step.name} on n{step.node}, which was to undo step {number}, failed: {reply.message}")
            self._store.append(Kind.UNDONE, self._ticket.id, Undone(number, reply.code, reply.message))
        reach(Failpoint.UNDONE)
        finished = Finished(outcome.code, outcome.message, warnings=[*warnings, *left])
        self._finish_failed(finished, debts | _spent_numbers(past))
        return _ended(outcome_of(finished))

    def _finish_failed(self, finished: Finished, records: dict[str, Any]) -> None:
        for key, value in records.items():
            self._head.put_record(key, value)
        self._store.append(Kind.FINISHED, self._ticket.id, finished).result()
        reach(Failpoint.FAILED)
        self._store.append(Kind.COMMITTED, self._ticket.id, Committed(), lazy=True)
        self._reached(self._ticket, Stage.FINISHED)
        self._reached(self._ticket, Stage.COMMITTED)


def _ended(outcome: Outcome) -> Future[Outcome]:
    ended: Future[Outcome] = Future()
    ended.set_result(outcome)
    return ended


def _late(revision: int, written: Future[list[int]]) -> list[str]:
    """Return a warning for each node that has not written a revision, once they all have or took too long."""
    nodes = written.result()
    reach(Failpoint.DISTRIBUTED)
    return [
        f"node n{node} has not taken in revision {revision} yet; it will catch up when it answers" for node in nodes
    ]


def _interrupted(text: str) -> Outcome:
    return Outcome(Interrupted.code, text)


def _spent_numbers(past: dict[int, PastStep]) -> dict[str, Any]:
    """Return the records of series that a failed job took numbers from: a late undo must not meet their next owner."""
    learned = [step.learned for step in past.values() if step.learned is not None]
    return {one.what: one.value + 1 for one in learned if one.what.startswith(NUMBERS)}
