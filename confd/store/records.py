"""Bodies of journal records: what is remembered of a job, step by step.

These shapes are kept for the life of a cluster: fields may be added with a default, never renamed.
Times are UTC seconds. Values of secret parameters and arguments are sealed.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all bodies."""


class Submitted(Body, frozen=True):
    """A job was admitted. ``request`` describes the call: method, protocol, peer, accepting node."""

    name: str
    intent: str
    user: str
    uid: int
    request: dict[str, Any]
    params: dict[str, Any]


class Scheduled(Body, frozen=True):
    """A job was granted its locks and begins, on a base revision, under a software version."""

    base_revision: int
    locks: list[str]
    software: str


class Step(Body, frozen=True):
    """A command as data: operation, node (0 is the master), arguments."""

    name: str
    node: int
    arguments: dict[str, Any]


class CommandSent(Body, frozen=True):
    """A command is about to be sent. ``number`` counts the steps of the job; ``undo`` reverses it."""

    number: int
    step: Step
    undo: Step | None = None


class CommandDone(Body, frozen=True):
    """A command answered: with a result, or with an error (``code`` is not 0)."""

    number: int
    started: float
    result: Any = None
    code: int = 0
    message: str = ""
    output: str = ""


class Learned(Body, frozen=True):
    """Something the job asked from outside (time, ids, random, live state) and what it was told."""

    number: int
    what: str
    value: Any = None


class Finished(Body, frozen=True):
    """The job's outcome, durable in one record: after it the job only goes forward.

    ``changes`` are sections of the new revision (None deletes), ``runtime`` runtime records,
    ``settle`` the destroying commands that run now.
    """

    code: int
    message: str
    result: Any = None
    has_result: bool = False
    revision: int | None = None
    changes: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    settle: list[Step] = []
    warnings: list[str] = []
    user: str = ""


class Undone(Body, frozen=True):
    """The undo of a step ran (or found nothing to do).

    Number 0 comes first and says that the job goes back, with the error it will end with.
    """

    number: int
    code: int = 0
    message: str = ""


class Committed(Body, frozen=True):
    """All live nodes have the revision and all settling commands ran."""

    warnings: list[str] = []


class ReadJob(Body, frozen=True):
    """A read job that was answered before it was journalled."""

    name: str
    user: str
    uid: int
    request: dict[str, Any]
    params: dict[str, Any]
    submitted: float
    revision: int
    code: int
    message: str
    result: Any = None
