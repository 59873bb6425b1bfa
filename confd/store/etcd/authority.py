"""What etcd holds of a cluster, and the one way to add to it.

An append is one transaction that compares the term and the head, so an older master can never write, and of two
attempts of the same append only one takes effect. That is how an unknown outcome is resolved: the same transaction
is sent again until etcd answers, before anything else is.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from confd.model.failpoints import Failpoint, reach
from confd.store.etcd import large
from confd.store.etcd.client import (
    Answer,
    Comparison,
    EtcdClient,
    KeyValue,
    Step,
    delete,
    modified_at,
    prefix_end,
    put,
    read,
    value_is,
)
from confd.store.etcd.errors import EtcdError, EtcdFull, EtcdUncertain, EtcdUnreachable
from confd.store.etcd.folding import MOST_BYTES, MOST_STEPS, Folded, Jobs, parts
from confd.store.etcd.keys import Keys
from confd.store.etcd.values import Bulk, Head, Term, decode_records, encode_records
from confd.store.protocol import Position, Record, StaleTerm, StoreFailed

log = structlog.get_logger("etcd")

PATIENCE_SECONDS: Final = 30.0
_LAST_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 0.1
_TRY_SECONDS: Final = 5.0
_LOG_PAGE: Final = 32


class Authority:
    """The records of one cluster in etcd; one thread at a time appends.

    :param patience: seconds for which an append is tried again when etcd gives no certain answer.
    """

    def __init__(
        self, client: EtcdClient, keys: Keys, cluster: str = "", patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.client, self.keys = client, keys
        self._cluster, self._patience, self._clock = cluster, patience, clock
        self._full_patience = math.inf
        self._given_up = threading.Event()
        self._leading, self._term = 0, b""
        self._head, self._head_at = Head(0, 0, "", 0), 0
        self._jobs = Jobs()
        self.full = ""
        """What to do while etcd refuses to write because it is out of space; empty while it takes records."""
        self.when_full: Callable[[str], None] = lambda full: None
        """Called by the thread that appends with ``full`` when that changes."""

    @property
    def position(self) -> Position:
        """Where the records end, as this writer knows."""
        return Position(self._head.term, self._head.n)

    def read_head(self, timeout: float = _TRY_SECONDS) -> tuple[Term, Head]:
        """Ask etcd for the term and the last record; zeros when it holds nothing of this cluster.

        :raises StoreFailed: the prefix belongs to another cluster.
        """
        term, head, _ = self._ask_head(timeout)
        return term, head

    def begin(self, term: int, node: int) -> None:
        """Become the one who appends, under a term that is raised when it is newer than etcd's.

        :raises StaleTerm: etcd knows a newer one, or another node under this one.
        """
        self._given_up.clear()
        wanted = msgspec.json.encode(Term(term, node))
        while True:
            known, head, rows = self._ask_head(_TRY_SECONDS)
            if known.term > term or (known.term == term and known.node != node):
                raise StaleTerm(known.term)
            there = rows[0]
            same = modified_at(self.keys.term, there.modified if there else 0)
            steps = [put(self.keys.term, wanted), put(self.keys.cluster, self._cluster.encode())]
            if known.term == term or self._sure([same], steps).held:
                break
        self._leading, self._term = term, wanted
        self._head, self._head_at = head, rows[1].modified if rows[1] else 0
        self._spread()

    def know_jobs(self, intents: dict[str, str]) -> None:
        """Say which jobs are not over, and what each intends."""
        self._jobs = Jobs(intents)

    def parts(self, records: Sequence[Record]) -> Iterator[Folded]:
        """Cut records into what ``append`` takes."""
        return parts(self.keys, records, self._jobs)

    def append(self, part: Folded) -> None:
        """Append records as one transaction; they are in etcd when this returns.

        :raises StaleTerm: there is a newer master.
        :raises StoreFailed: they are not in etcd, or it is not known (etcd does not answer for long, or ``give_up``);
            then only ``begin`` can find out.
        """
        last = part.records[-1]
        self._check_follows(part.records[0])
        revision = self._head.revision if part.revision is None else part.revision
        head = Head(last.term, last.n, secrets.token_hex(8), revision)
        puts = dict(part.puts)
        bulky = len(puts) > MOST_STEPS or sum(len(value or b"") for value in puts.values()) > MOST_BYTES
        if bulky:
            puts = {self.keys.bulk: msgspec.msgpack.encode(Bulk(part.puts))}
        puts[self.keys.log(last.n)] = encode_records(part.records)
        steps = [step for step, _ in self._stored(puts, last.n, head.writer)]
        steps += [delete(start := self.keys.job(job), prefix_end(start)) for job in part.ended]
        self._switch([*steps, put(self.keys.head, msgspec.json.encode(head))], head)
        if bulky:
            self._spread()

    def hurry(self) -> None:
        """Try only for a moment more: the store is to be closed."""
        self._patience, self._full_patience = min(self._patience, _LAST_SECONDS), _LAST_SECONDS

    def need_room(self) -> None:
        """Fail at once when etcd is out of space: nobody depends on what is appended yet."""
        self._full_patience = 0.0

    def give_up(self) -> None:
        """Stop trying: appends under way end with StoreFailed."""
        self._given_up.set()

    def records_after(self, n: int) -> list[Record]:
        """Read records that follow a number from etcd's log, some at a time; empty when it holds none of them."""
        rows, _ = self.client.range(self.keys.log(n + 1), prefix_end(self.keys.logs), _LOG_PAGE)
        return [record for row in rows for record in decode_records(self.value(row)) if record.n > n]

    def value(self, row: KeyValue, revision: int = 0) -> bytes:
        """Return the value of a key, from wherever its parts lie."""
        return large.load(self.client, self.keys, row.value, revision)

    def record(self, key: str) -> Any:
        """Return a runtime record as etcd holds it now, None when it has none.

        :raises EtcdError: etcd does not answer.
        """
        row = self.client.get(self.keys.record(key))
        return None if row is None else msgspec.json.decode(self.value(row))

    def trim(self, upto: int) -> int:
        """Forget log records before one that every node has; how many keys went.

        That one stays: a node whose journal ends there compares it with its own.
        """
        upto = min(upto, self._head.n) - 1
        steps = [delete(self.keys.logs, self.keys.log(upto + 1))]
        before = large.everything(self.client, self.keys.logs, self.keys.log(upto + 1), keys_only=True)
        if before and self._sure([value_is(self.keys.term, self._term)], steps).held:
            self._sweep(int(before[-1].key[len(self.keys.logs) :]))
        return len(before)

    def seed(self, puts: Mapping[bytes, bytes], head: Head) -> None:
        """Replace everything that etcd holds of this cluster, under the present term; not for a running master."""
        fence = value_is(self.keys.term, self._term)
        for start in (self.keys.logs, self.keys.sections, self.keys.runtime, self.keys.jobs, self.keys.chunks):
            self._must(fence, [delete(start, prefix_end(start))])
        self._must(fence, [delete(key) for key in (self.keys.head, self.keys.revision, self.keys.bulk)])
        for some in large.packed(self._stored(puts, head.n, head.writer), MOST_STEPS, MOST_BYTES):
            self._must(fence, some)
        # The head last: without it nothing of this counts.
        self._must(fence, [put(self.keys.head, msgspec.json.encode(head))])
        self._head = head

    def _check_follows(self, record: Record) -> None:
        if record.term != self._leading:
            raise StaleTerm(self._leading)
        if record.n != self._head.n + 1:
            raise StoreFailed(f"record {record.n} does not follow {self._head.n}, where etcd's records end")

    def _must(self, fence: Comparison, steps: list[Step]) -> None:
        if not self._sure([fence], steps).held:
            raise StaleTerm(self.read_head()[0].term)

    def _stored(self, puts: Mapping[bytes, bytes | None], n: int, writer: str) -> Iterator[tuple[Step, int]]:
        """Give the steps that set keys, with their sizes; parts of a large value are written before its step."""
        for slot, (key, data) in enumerate(puts.items()):
            if data is None:
                yield delete(key), 0
            elif large.is_large(data):
                kept, pieces = large.cut(self.keys, n, f"{writer}-{slot}", data)
                for piece in pieces:
                    self._must(value_is(self.keys.term, self._term), [piece])
                yield put(key, kept), len(kept)
            else:
                yield put(key, large.whole(data)), len(data)

    def _switch(self, steps: list[Step], head: Head) -> None:
        keys = self.keys
        compare = [value_is(keys.term, self._term), modified_at(keys.head, self._head_at)]
        answer = self._sure(compare, steps, [read(keys.term), read(keys.head)])
        at = answer.revision
        if not answer.held:
            term, there = _read_rows(answer)
            known = _decoded(there, Head, Head(0, 0, "", 0))
            if known.writer != head.writer:
                if term is None or term.value != self._term:
                    raise StaleTerm(_decoded(term, Term, Term(0, 0)).term)
                what = "somebody else added to them" if known.n > self._head.n else "an old backup of it was restored"
                raise StoreFailed(f"etcd's records end at {known.n}, not at {self._head.n}: {what}")
            # An earlier attempt took effect, though its answer was lost.
            at = there.modified if there else 0
        self._head, self._head_at = head, at

    def _sure(self, compare: list[Comparison], steps: list[Step], otherwise: Sequence[Step] = ()) -> Answer:
        """Send a transaction until its outcome is certain.

        :raises StoreFailed: etcd refuses it, or gave no certain answer in time.
        """
        started, trouble = self._clock(), EtcdError()
        while True:
            try:
                answer = self.client.txn(compare, steps, otherwise, timeout=_TRY_SECONDS)
            except EtcdFull as error:
                trouble = error
                self._set_full(str(error))
            except (EtcdUncertain, EtcdUnreachable) as error:
                log.warning("etcd_gives_no_answer", error=str(error))
                trouble = error
            except EtcdError as error:
                raise StoreFailed(str(error)) from error
            else:
                self._set_full("")
                return answer
            if self._is_enough(started, trouble) or self._given_up.wait(_RETRY_SECONDS):
                if isinstance(trouble, EtcdFull):
                    raise StoreFailed(str(trouble)) from trouble
                raise StoreFailed(f"it is not known whether etcd took the last records: {trouble}") from trouble

    def _set_full(self, full: str) -> None:
        if full != self.full:
            log.warning("etcd_full" if full else "etcd_has_room", error=full)
            self.full = full
            self.when_full(full)

    def _is_enough(self, started: float, trouble: EtcdError) -> bool:
        # Without space nobody else could write either: who waits loses nothing, and goes on once there is some.
        patience = self._full_patience if isinstance(trouble, EtcdFull) else self._patience
        return self._clock() - started >= patience

    def _spread(self) -> None:
        """Bring changes that were too many for their own transaction to their keys."""
        row = self.client.get(self.keys.bulk)
        if row is None:
            return
        changes = msgspec.msgpack.decode(self.value(row), type=Bulk).changes
        fence = value_is(self.keys.term, self._term)
        steps = self._stored(changes, self._head.n, f"{self._head.writer}-bulk")
        for some in large.packed(steps, MOST_STEPS, MOST_BYTES):
            reach(Failpoint.SPREAD_DUE)
            self._must(fence, some)
        self._must(fence, [delete(self.keys.bulk)])

    def _sweep(self, before: int) -> None:
        """Delete parts of large values of trimmed records that nothing points at any more."""
        keys = self.keys
        rows = large.everything(self.client, keys.chunks, keys.chunks_before(before + 1), keys_only=True)
        if not rows:
            return
        used = {
            keys.chunk(where.n, where.slot)
            for start in (keys.sections, keys.runtime, keys.jobs)
            for row in large.everything(self.client, start, prefix_end(start))
            if (where := large.pointer(row.value)) is not None
        }
        left = {row.key[: row.key.rindex(b"/") + 1] for row in rows} - used
        steps = ((delete(start, prefix_end(start)), 0) for start in sorted(left))
        for some in large.packed(steps, MOST_STEPS, MOST_BYTES):
            self._must(value_is(keys.term, self._term), some)

    def _ask_head(self, timeout: float) -> tuple[Term, Head, tuple[KeyValue | None, KeyValue | None]]:
        keys = self.keys
        try:
            answer = self.client.txn([], [read(keys.term), read(keys.head), read(keys.cluster)], timeout=timeout)
        except EtcdError as error:
            raise StoreFailed(str(error)) from error
        owner = answer.reads[2][0].value.decode() if answer.reads[2] else ""
        if owner and self._cluster and owner != self._cluster:
            raise StoreFailed(f"etcd's keys below {keys.prefix.decode()} belong to another cluster ({owner})")
        rows = _read_rows(answer)
        return _decoded(rows[0], Term, Term(0, 0)), _decoded(rows[1], Head, Head(0, 0, "", 0)), rows


def _read_rows(answer: Answer) -> tuple[KeyValue | None, KeyValue | None]:
    first, second = (rows[0] if rows else None for rows in answer.reads[:2])
    return first, second


def _decoded(row: KeyValue | None, kind: type[Any], default: Any) -> Any:
    return default if row is None else msgspec.json.decode(row.value, type=kind)
