"""What configuration, runtime records and jobs are kept in.

The journal is a sequence of records ordered by ``(term, n)``. The master appends; every node keeps a copy.
Everything else is derived from it: job files, sections of the configuration with all their revisions,
runtime records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import msgspec


class Kind(StrEnum):
    """What a record says. The words are journalled: never reused with another meaning.

    ========== ============= ==============================================================
    kind       key           body
    ========== ============= ==============================================================
    term       node id       ``{}``: this node is master from here on
    submitted  job id        ``Submitted``: name, intent, caller, request, parameters
    scheduled  job id        ``Scheduled``: base revision, locks, software version
    command    job id        ``CommandSent``: number, name, node, arguments, undo
    result     job id        ``CommandDone``: number, result or error, output
    learned    job id        ``Learned``: number, what the job asked for, what it got
    finished   job id        ``Finished``: result or error, new revision, changes, runtime records, settling commands
    undone     job id        ``Undone``: number of the command whose undo ran
    committed  job id        ``Committed``: warnings
    runtime    record key    the runtime record, null when deleted
    read       job id        ``ReadJob``: a whole read job in one record
    ========== ============= ==============================================================
    """

    TERM = "term"
    SUBMITTED = "submitted"
    SCHEDULED = "scheduled"
    COMMAND = "command"
    RESULT = "result"
    LEARNED = "learned"
    FINISHED = "finished"
    UNDONE = "undone"
    COMMITTED = "committed"
    RUNTIME = "runtime"
    READ = "read"


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in the journal; the empty journal is at (0, 0)."""

    term: int = 0
    n: int = 0


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the journal. ``at`` is UTC seconds; ``body`` is JSON."""

    term: int
    n: int
    kind: Kind
    key: str
    at: float
    body: msgspec.Raw

    @property
    def position(self) -> Position:
        """Where the record stands."""
        return Position(self.term, self.n)


class JobRow(msgspec.Struct, frozen=True):
    """The line of a job in the history."""

    id: str
    name: str
    intent: str
    user: str
    stage: str
    submitted: float
    ended: float | None
    code: int | None
    revision: int | None


class JobQuery(msgspec.Struct, frozen=True):
    """Which jobs of the history to list, newest first."""

    names: tuple[str, ...] = ()
    user: str | None = None
    intent: str | None = None
    stage: str | None = None
    since: float | None = None
    until: float | None = None
    limit: int = 100


class RevisionRow(msgspec.Struct, frozen=True):
    """Who made a revision of the configuration, and when."""

    revision: int
    job: str
    user: str
    at: float
    keys: tuple[str, ...]


class Retention(msgspec.Struct, frozen=True):
    """How much of the history is kept; read jobs have an own, shorter retention. Ages in seconds."""

    modify_count: int = 200_000
    modify_age: float = 400 * 86_400.0
    read_count: int = 20_000
    read_age: float = 7 * 86_400.0


class Store(Protocol):
    """Journal and what is derived from it. All methods may be called from any thread.

    ``shared``: whoever leads next has all that is durable here, also when this node is lost.
    """

    shared: bool

    def head(self) -> Position:
        """Return the position of the last record that is durable here."""

    def lead(self, term: int, node: int) -> None:
        """Become the writer: later appends carry ``term``.

        :raises StaleTerm: a higher term is known.
        """

    def resign(self) -> None:
        """Be the writer no longer: appends are refused from here on, those accepted before become durable."""

    def append(
        self, kind: Kind, key: str, body: Any, at: float | None = None, *, lazy: bool = False
    ) -> Future[Position]:
        """Append one record; the future is done when it is durable. Order of calls is order of records.

        ``lazy``: nobody waits for it, so it may become durable a little later, with the next one at the latest.

        The future fails with StoreFailed when this node is not the writer or the journal cannot be written.
        It cannot be cancelled.
        """

    def flush(self) -> None:
        """Return when everything appended so far is durable, also what was appended before this node resigned.

        :raises StoreFailed: something appended is not, or this node is not the writer.
        """

    def copy(self, records: Sequence[Record]) -> None:
        """Take in records of the master (in order, repeats tolerated); durable when this returns.

        A writer that takes in a newer term has resigned.

        :raises StaleTerm: the records are of an older term than one known here.
        :raises Gap: records between the last one here and the first new one are missing; nothing is taken in.
        """

    def read(self, after: Position, limit: int = 1_000) -> list[Record]:
        """Return the records that follow a position, oldest first."""

    def term_at(self, n: int) -> int:
        """Return the term of a record up to the last one, also of one that was pruned; 0 when it is not known here."""

    def pruned(self) -> int:
        """Return the highest ``n`` that pruning removed; a copy behind it needs a snapshot."""

    def watch(self, durable: Callable[[Sequence[Record]], None]) -> None:
        """Call back, in the writing thread and in order, with records that became durable."""

    def sections(self, revision: int | None = None) -> tuple[int, dict[str, Any]]:
        """Return a revision's number and its stored sections; the newest when None."""

    def revisions(self, limit: int = 100) -> list[RevisionRow]:
        """Return the latest revisions, newest first."""

    def runtime(self) -> dict[str, Any]:
        """Return all runtime records."""

    def leader(self) -> tuple[int, int]:
        """Return the highest term of the journal and the node that leads it; (0, 0) when empty."""

    def job(self, job_id: str) -> list[Record]:
        """Return a job's records in order; empty when unknown or pruned."""

    def jobs(self, query: JobQuery) -> list[JobRow]:
        """List jobs of the history."""

    def unfinished(self) -> list[str]:
        """Return ids of jobs that have not reached their last stage, in order of admission."""

    def check_room(self) -> None:
        """Refuse to begin something when there is too little room to record it.

        :raises LimitExceeded: says what to do.
        """

    def when_full(self, tell: Callable[[str], None]) -> None:
        """Call back, in the writing thread, when records that were taken in can be written only once there is room.

        :param tell: gets what to do about it, and an empty text when there is room again.
        """

    def prune(self, retention: Retention) -> int:
        """Forget ended jobs beyond the retention; return how many."""

    def export(self) -> Iterable[bytes]:
        """Give the whole state as chunks for ``restore`` on a node that is far behind."""

    def set_aside(self) -> Path:
        """Keep a copy of the whole state in a file of its own, for people to look into; fine when it is there already.

        It lies beside the journal as ``journal-<term>-<n>.db``, by the last record.
        """

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace everything by an exported state; atomic."""

    def close(self) -> None:
        """Finish what is queued and release the files."""


class StoreFailed(Exception):
    """The journal could not be written, or may not be written by this node; the record is not kept."""


class Gap(Exception):
    """Records that follow the last one here are missing."""


class StaleTerm(StoreFailed):
    """A newer master exists; this writer must step down."""

    def __init__(self, known: int) -> None:
        super().__init__(f"a master with term {known} is known")
        self.known = known
