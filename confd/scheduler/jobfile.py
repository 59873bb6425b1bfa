"""The job file: everything recorded about one job, put together from its journal records."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from confd.model.envelope import SUCCESS, Outcome
from confd.model.states import Intent, Stage
from confd.scheduler.masking import hide
from confd.scheduler.steps import PastStep
from confd.store.protocol import Kind, Record
from confd.store.records import (
    CommandDone,
    CommandSent,
    Committed,
    Finished,
    Learned,
    ReadJob,
    Scheduled,
    Submitted,
    Undone,
)


class JobFile(msgspec.Struct):
    """One job as far as it got."""

    id: str
    submitted: Submitted
    stages: dict[Stage, float]
    scheduled: Scheduled | None = None
    steps: dict[int, PastStep] = {}
    sent_at: dict[int, float] = {}
    done_at: dict[int, float] = {}
    going_back: Undone | None = None
    finished: Finished | None = None
    ended: bool = False
    late_warnings: list[str] = []

    @property
    def stage(self) -> Stage:
        """The last stage reached."""
        return list(self.stages)[-1]

    @property
    def outcome(self) -> Outcome | None:
        """How the job ended, secrets in its result hidden; None while it has not."""
        done = self.finished
        if done is None or not self.ended:
            return None
        outcome = outcome_of(done, self.late_warnings)
        return msgspec.structs.replace(outcome, output=hide(outcome.output))

    def info(self) -> dict[str, Any]:
        """Return the job file in the form of ``job_info``: secrets hidden, times in UTC."""
        done, start = self.finished, self.scheduled
        return {
            "job_id": self.id,
            "job_name": self.submitted.name,
            "intent": self.submitted.intent,
            "user": self.submitted.user,
            "request": self.submitted.request,
            "params": hide(self.submitted.params),
            "stage": str(self.stage),
            "stages": {str(stage): utc(at) for stage, at in self.stages.items()},
            "base_revision": start.base_revision if start else None,
            "revision": done.revision if done else None,
            "locks": start.locks if start else [],
            "commands": [self._command(number) for number in sorted(self.steps)],
            "progress": None,
            "result": self.outcome.envelope(self.id) if self.outcome else None,
        }

    def _command(self, number: int) -> dict[str, Any]:
        step = self.steps[number]
        if step.learned is not None:
            return {"name": f"learn {step.learned.what}", "node": 0, "result": hide(step.learned.value)}
        assert step.sent is not None
        sent, done = step.sent.step, step.done
        return {
            "name": sent.name,
            "node": sent.node,
            "arguments": hide(sent.arguments),
            "started": utc(done.started if done else self.sent_at[number]),
            "finished": utc(self.done_at[number]) if done else None,
            "result": hide(done.result) if done else None,
            "output": done.output if done else "",
            "error": done.message if done and done.code else None,
            "undone": step.undone,
        }


def fold(job_id: str, records: Sequence[Record]) -> JobFile | None:
    """Put a job file together; None when there are no records."""
    if not records:
        return None
    first = records[0]
    if first.kind is Kind.READ:
        return _read_file(job_id, first)
    file = JobFile(job_id, _decode(first, Submitted), {Stage.SUBMITTED: first.at})
    for record in records[1:]:
        _take_in(file, record)
    return file


def outcome_of(done: Finished, late_warnings: Sequence[str] = ()) -> Outcome:
    """Return the outcome that a finished record and later warnings give."""
    warnings = (*done.warnings, *late_warnings)
    return Outcome(done.code, done.message, done.result, done.has_result, done.revision, warnings)


def utc(at: float) -> str:
    """Return UTC seconds as ISO 8601 text with milliseconds."""
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _take_in(file: JobFile, record: Record) -> None:
    if record.kind is Kind.SCHEDULED:
        file.scheduled = _decode(record, Scheduled)
        file.stages[Stage.SCHEDULED] = record.at
    elif record.kind in (Kind.COMMAND, Kind.RESULT, Kind.LEARNED, Kind.UNDONE):
        _take_in_step(file, record)
    elif record.kind is Kind.FINISHED:
        file.finished = _decode(record, Finished)
        file.stages[Stage.EXECUTED] = record.at
        file.stages[Stage.FINISHED] = record.at
        file.ended = file.submitted.intent == Intent.READ
    elif record.kind is Kind.COMMITTED:
        file.late_warnings = _decode(record, Committed).warnings
        file.stages[Stage.COMMITTED] = record.at
        file.ended = True


def _take_in_step(file: JobFile, record: Record) -> None:
    if record.kind is Kind.COMMAND:
        sent = _decode(record, CommandSent)
        file.steps = {**file.steps, sent.number: PastStep(sent=sent)}
        file.sent_at = {**file.sent_at, sent.number: record.at}
    elif record.kind is Kind.RESULT:
        done = _decode(record, CommandDone)
        file.steps[done.number].done = done
        file.done_at = {**file.done_at, done.number: record.at}
    elif record.kind is Kind.LEARNED:
        learned = _decode(record, Learned)
        file.steps = {**file.steps, learned.number: PastStep(learned=learned)}
    else:
        undone = _decode(record, Undone)
        if undone.number == 0:
            file.going_back = undone
        else:
            # An undo that failed is tried again after a crash, or becomes a debt once more.
            file.steps[undone.number].undone = undone.code == 0


def _read_file(job_id: str, record: Record) -> JobFile:
    body = _decode(record, ReadJob)
    submitted = Submitted(body.name, Intent.READ, body.user, body.uid, body.request, body.params)
    stages = {Stage.SUBMITTED: body.submitted, Stage.FINISHED: record.at}
    done = Finished(body.code, body.message, body.result, body.code == 0 and body.result is not None)
    scheduled = Scheduled(body.revision, [], "")
    return JobFile(job_id, submitted, stages, scheduled, finished=done, ended=True)


def _decode(record: Record, kind: Any) -> Any:
    return msgspec.json.decode(record.body, type=kind)


__all__ = ["SUCCESS", "JobFile", "fold", "outcome_of", "utc"]
