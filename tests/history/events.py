"""What was seen from outside while clients worked and nodes failed, and what the nodes hold in the end."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """How a client sees the end of what it asked for."""

    OK = "ok"
    FAIL = "fail"
    """Refused or undone: it must have no effect, ever."""
    UNKNOWN = "unknown"
    """No answer, or one that leaves it open: it may have an effect, once."""


class Operation(msgspec.Struct, frozen=True):
    """A call of a client: a write of a value that nobody else writes, or a read.

    ``began`` and ``ended`` are seconds of one clock for all clients. ``job_id`` is there once the job was acknowledged.
    ``value`` is what was written or read; None is nothing: not written yet, or deleted. A register that was deleted
    is never written again.
    """

    client: int
    node: int
    register: str
    writes: bool
    value: str | None
    began: float
    ended: float
    outcome: Outcome
    job_id: str = ""
    stale: bool = False


class Job(msgspec.Struct, frozen=True):
    """A job in a node's history; ``ends`` counts the records that end it, ``asks`` is the write it was submitted for."""

    code: int | None
    ends: int
    revision: int | None
    asks: tuple[str, str | None] | None = None


class Revision(msgspec.Struct, frozen=True):
    """A revision in a node's journal: number, job, and what the registers that it changes hold from then on."""

    number: int
    job: str
    values: Mapping[str, str | None]


class Node(msgspec.Struct, frozen=True):
    """What a node holds in the end.

    ``terms``: who led under each term, by its journal and those it set aside. ``configured`` is what must lie on its
    disks by its configuration, ``on_disk`` what does; ``debts`` are settling commands that are not done yet.
    """

    jobs: Mapping[str, Job]
    revisions: tuple[Revision, ...]
    terms: frozenset[tuple[int, int]]
    head: tuple[int, int]
    exaconf: str
    configured: frozenset[str] = frozenset()
    on_disk: frozenset[str] = frozenset()
    debts: frozenset[str] = frozenset()


class History(msgspec.Struct, frozen=True):
    """Everything that was recorded. ``initial``: what registers held before."""

    operations: tuple[Operation, ...]
    nodes: Mapping[int, Node]
    initial: Mapping[str, str] = {}
