"""What a job asks from outside its function: commands on nodes, and things it learns.

A job in PREPARE may be run again from its beginning after a crash. So everything it gets from outside
comes through one of these and is recorded in order; the second run is told what the first one was told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import msgspec

from confd.cluster.following.agent import Reply
from confd.cluster.operations import Command
from confd.model.errors import error_from
from confd.model.failpoints import Failpoint, reach
from confd.store.protocol import Kind, Store
from confd.store.records import CommandDone, CommandSent, Learned, Step

Sender = Callable[[str, int, Command[Any]], "Future[Reply]"]
"""Sends a command under a key (job id, number) to its node; never raises, errors are replies."""


class Steps(Protocol):
    """How a job's commands run and how it learns."""

    def run(self, commands: Sequence[tuple[Command[Any], Command[Any] | None]]) -> list[Any]:
        """Run commands side by side, each with its undo; return their results in order."""

    def learn(self, what: str, ask: Callable[[], Any]) -> Any:
        """Return what ``ask`` says, or what it said when the job ran before."""


class ReplayMismatch(Exception):
    """The job asked for something else than was recorded; it cannot be continued."""


class WantsMore(BaseException):
    """A read job that was tried at once needs more than the configuration: nodes, history, services.

    Not an ``Exception``: a job that handles any error must not handle this one.
    """


class Beyond:
    """Stands for everything that a job tried at once must not touch."""

    def __getattr__(self, name: str) -> Any:
        raise WantsMore

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse."""
        raise WantsMore


class LiveSteps:
    """For read jobs: ask and forget. Commands go out under no key."""

    def __init__(self, send: Sender, job_id: str) -> None:
        self._send, self._job_id = send, job_id

    def run(self, commands: Sequence[tuple[Command[Any], Command[Any] | None]]) -> list[Any]:
        """Run commands side by side without a record."""
        sent = [(command, self._send("", 0, command)) for command, _ in commands]
        return [_result(command, done.result()) for command, done in sent]

    def learn(self, what: str, ask: Callable[[], Any]) -> Any:
        """Ask."""
        return ask()


class PlannedSteps:
    """For a dry run: changing commands are listed instead of sent."""

    def __init__(self) -> None:
        self.commands: list[Command[Any]] = []

    def run(self, commands: Sequence[tuple[Command[Any], Command[Any] | None]]) -> list[Any]:
        """List the commands and return what each would probably give."""
        self.commands.extend(command for command, _ in commands)
        return [_planned(command) for command, _ in commands]

    def learn(self, what: str, ask: Callable[[], Any]) -> Any:
        """Ask."""
        return ask()


class PastStep(msgspec.Struct):
    """A step of an earlier run of the same job."""

    sent: CommandSent | None = None
    done: CommandDone | None = None
    learned: Learned | None = None
    undone: bool = False


class JournalledSteps:
    """For modify jobs: a command is durable before it is sent, its result before the next one.

    :param share: returns once another node knows what is durable here: without this one it can undo what was sent.
    """

    def __init__(
        self, job_id: str, store: Store, send: Sender, past: dict[int, PastStep], share: Callable[[], None]
    ) -> None:
        self._job_id, self._store, self._send, self._share = job_id, store, send, share
        self._past, self._number = past, 0

    def run(self, commands: Sequence[tuple[Command[Any], Command[Any] | None]]) -> list[Any]:
        """Record, send, record; a step of an earlier run is joined or answered from the record."""
        begun = [self._begin(command, undo) for command, undo in commands]
        if any(record is None for _, record in begun):
            self._store.flush()
            reach(Failpoint.COMMAND_RECORDED)
            self._share()
        running = [
            self._resume(number, command, known) for (number, known), (command, _) in zip(begun, commands, strict=True)
        ]
        results = [_Settled(command, wait()) for wait, (command, _) in zip(running, commands, strict=True)]
        return [settled.result() for settled in results]

    def learn(self, what: str, ask: Callable[[], Any]) -> Any:
        """Ask and record, or answer from the record."""
        self._number += 1
        past = self._past.get(self._number)
        if past is not None:
            if past.learned is None or past.learned.what != what:
                raise ReplayMismatch(f"step {self._number}: asked for {what}, recorded is {_describe(past)}")
            return past.learned.value
        # The first run gets the value in the form in which a second one would get it.
        learned = Learned(self._number, what, msgspec.json.decode(msgspec.json.encode(ask())))
        self._store.append(Kind.LEARNED, self._job_id, learned, lazy=True)
        reach(Failpoint.LEARNED)
        self._past[self._number] = PastStep(learned=learned)
        return learned.value

    def end(self) -> None:
        """Check that the job asked for everything that was recorded.

        :raises ReplayMismatch: it ended earlier than the first time.
        """
        if any(number > self._number for number in self._past):
            raise ReplayMismatch(f"it ended after step {self._number}, recorded are {max(self._past)}")

    def _begin(self, command: Command[Any], undo: Command[Any] | None) -> tuple[int, PastStep | None]:
        self._number += 1
        past = self._past.get(self._number)
        if past is None:
            sent = CommandSent(self._number, as_step(command), as_step(undo) if undo else None)
            self._store.append(Kind.COMMAND, self._job_id, sent)
            self._past[self._number] = PastStep(sent=sent)
            return self._number, None
        if past.sent is None or past.sent.step != as_step(command):
            raise ReplayMismatch(f"step {self._number}: wants {command.name}, recorded is {_describe(past)}")
        return self._number, past

    def _resume(self, number: int, command: Command[Any], known: PastStep | None) -> Callable[[], Reply]:
        if known is not None and known.done is not None:
            done = known.done
            return lambda: Reply(done.result, done.code, done.message, done.output)
        started = time.time()
        answer = self._send(self._job_id, number, command)
        reach(Failpoint.COMMAND_SENT)

        def wait() -> Reply:
            reply = answer.result()
            reach(Failpoint.COMMAND_ANSWERED)
            done = CommandDone(number, started, reply.result, reply.code, reply.message, reply.output)
            self._store.append(Kind.RESULT, self._job_id, done, lazy=True)
            reach(Failpoint.RESULT_RECORDED)
            return reply

        return wait

    def undo(self) -> list[tuple[int, Step]]:
        """Return the undos of everything begun, latest first, without those that ran already."""
        open_undos = [
            (number, past.sent.undo)
            for number, past in self._past.items()
            if past.sent is not None and past.sent.undo is not None and not past.undone
        ]
        return sorted(open_undos, key=lambda pair: -pair[0])


class _Settled:
    """A command with its reply; asking for the result raises what the command raised."""

    def __init__(self, command: Command[Any], reply: Reply) -> None:
        self._command, self._reply = command, reply

    def result(self) -> Any:
        return _result(self._command, self._reply)


def as_step(command: Command[Any]) -> Step:
    """Return a command as it is journalled."""
    return Step(command.name, command.node, command.arguments)


def as_command(step: Step) -> Command[Any]:
    """Return a journalled command as it is sent."""
    return Command(step.name, step.node, step.arguments)


def _planned(command: Command[Any]) -> Any:
    planned = command.operation.planned(command.arguments)
    return planned if planned is None else command.operation.result(msgspec.to_builtins(planned))


def _result(command: Command[Any], reply: Reply) -> Any:
    if reply.code:
        raise error_from(reply.code, reply.message)
    return command.operation.result(reply.result)


def _describe(past: PastStep) -> str:
    if past.sent is not None:
        return past.sent.step.name
    return past.learned.what if past.learned else "nothing"
