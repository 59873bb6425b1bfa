"""The promises of the Store protocol; every implementation passes them.

A subclass gives ``open``: open the store that lies at a place, made when there is none.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from confd.model.states import Intent, Stage
from confd.store.protocol import (
    Gap,
    JobQuery,
    Kind,
    Position,
    Record,
    Retention,
    RevisionRow,
    StaleTerm,
    Store,
    StoreFailed,
)
from confd.store.records import (
    CommandDone,
    CommandSent,
    Committed,
    Finished,
    Learned,
    ReadJob,
    Scheduled,
    Step,
    Submitted,
    Undone,
)

NOW = 1_800_000_000.0
DAY = 86_400.0
EVERYTHING = Retention(modify_count=0, modify_age=0.0, read_count=0, read_age=0.0)


def submit(store: Store, job: str, name: str = "user_create", user: str = "admin", at: float = NOW) -> None:
    """Record that a job was admitted."""
    intent = Intent.READ if name.endswith("_list") else Intent.MODIFY
    store.append(Kind.SUBMITTED, job, Submitted(name, intent, user, 1000, {}, {}), at)


def finish(store: Store, job: str, revision: int | None = None, at: float = NOW, **more: Any) -> None:
    """Record a job's outcome."""
    store.append(Kind.FINISHED, job, Finished(0, "Success", revision=revision, user="admin", **more), at)


def commit(store: Store, job: str, at: float = NOW) -> None:
    """Record that a job is over."""
    store.append(Kind.COMMITTED, job, Committed(), at)


def read_job(store: Store, job: str, name: str = "db_list", at: float = NOW) -> None:
    """Record a whole read job."""
    body = ReadJob(name, "admin", 1000, {}, {}, at, 1, 0, "Success", [])
    store.append(Kind.READ, job, body, at)


def whole_job(store: Store, job: str, revision: int, at: float = NOW, **changes: Any) -> None:
    """Record a modify job from submission to its end."""
    submit(store, job, at=at)
    store.append(Kind.SCHEDULED, job, Scheduled(revision - 1, [], "1"), at)
    step = Step("x.make", 11, {})
    store.append(Kind.COMMAND, job, CommandSent(1, step, step), at)
    store.append(Kind.RESULT, job, CommandDone(1, at, "made"), at)
    store.append(Kind.LEARNED, job, Learned(2, "time", at), at)
    finish(store, job, revision, at, changes=changes)
    commit(store, job, at)


def everything(store: Store) -> dict[str, Any]:
    """Return all that can be asked of a store, to compare two."""
    records: list[Record] = []
    while more := store.read(records[-1].position if records else Position(), 100):
        records += more
    rows = store.jobs(JobQuery(limit=10_000))
    revisions = store.revisions(10_000)
    return {
        "head": store.head(),
        "records": [(*msgspec.structs.astuple(record)[:5], bytes(record.body)) for record in records],
        "jobs": rows,
        "files": {row.id: len(store.job(row.id)) for row in rows},
        "unfinished": store.unfinished(),
        "revisions": revisions,
        "sections": {row.revision: store.sections(row.revision) for row in revisions},
        "newest": store.sections(),
        "runtime": store.runtime(),
        "leader": store.leader(),
        "pruned": store.pruned(),
    }


class StoreContract(ABC):
    """Tests of one implementation."""

    program: ClassVar[str]
    """Python that opens the store at ``place`` as ``store``, for tests in a process of their own."""

    most_batches: ClassVar[int] = 4
    """In how many commits four hundred records that wait together are written."""

    large_records: ClassVar[int] = 8
    """How many records of two megabytes a test writes."""

    @abstractmethod
    def open(self, place: Path, clock: Callable[[], float] = lambda: NOW) -> Store:
        """Open the store at a place."""

    @pytest.fixture
    def opened(self) -> Iterator[Callable[[Path], Store]]:
        """Open stores that are closed after the test."""
        with contextlib.ExitStack() as stack:

            def open_one(place: Path) -> Store:
                store = self.open(place)
                stack.callback(store.close)
                return store

            yield open_one

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Give the place of the store under test."""
        return tmp_path / "one"

    @pytest.fixture
    def store(self, opened: Callable[[Path], Store], place: Path) -> Store:
        """Give an empty store whose writer is node 11 under term 1."""
        store = opened(place)
        store.lead(1, 11)
        return store

    @pytest.fixture
    def other(self, opened: Callable[[Path], Store], tmp_path: Path) -> Store:
        """Give an empty store of another node."""
        return opened(tmp_path / "two")

    # order and durability

    def test_an_empty_store_begins_at_zero(self, other: Store) -> None:
        """Nothing was recorded, pruned or led."""
        assert (other.head(), other.pruned(), other.leader(), other.unfinished()) == (Position(), 0, (0, 0), [])
        assert (other.sections(), other.revisions(), other.runtime(), other.read(Position())) == ((0, {}), [], {}, [])

    def test_records_have_the_order_of_the_calls_and_gapless_numbers(self, store: Store) -> None:
        """Number after number, each future told its own position."""
        futures = [store.append(Kind.RUNTIME, f"k{i}", i) for i in range(1_500)]
        assert [future.result() for future in futures] == [Position(1, n) for n in range(2, 1_502)]
        assert [record.key for record in store.read(Position(1, 1), 2_000)] == [f"k{i}" for i in range(1_500)]
        assert store.head() == Position(1, 1_501)

    def test_a_record_keeps_what_it_was_given(self, store: Store) -> None:
        """Kind, key, time and body come back; without a time the clock's is taken."""
        store.append(Kind.RUNTIME, "a/b", {"x": [1, None, "é\n"]}, 12.5)
        store.append(Kind.RUNTIME, "c", None)
        store.flush()
        first, second = store.read(Position(1, 1))
        assert (first.kind, first.key, first.at, msgspec.json.decode(first.body)) == (
            Kind.RUNTIME, "a/b", 12.5, {"x": [1, None, "é\n"]},
        )  # fmt: skip
        assert (second.at, first.position) == (NOW, Position(1, 2))

    def test_what_is_acknowledged_is_there_after_reopening(
        self, place: Path, store: Store, opened: Callable[[Path], Store]
    ) -> None:
        """A done future means durable, also for somebody who opens the file beside the writer."""
        done = store.append(Kind.RUNTIME, "k", 1).result()
        assert opened(place).head() == done

    def test_flush_returns_when_everything_is_durable(
        self, place: Path, store: Store, opened: Callable[[Path], Store]
    ) -> None:
        """No future has to be waited for one by one."""
        futures = [store.append(Kind.RUNTIME, f"k{i}", i) for i in range(100)]
        store.flush()
        assert all(future.done() for future in futures)
        assert len(opened(place).runtime()) == 100

    def test_lazy_records_become_durable_too(self, place: Path, store: Store, opened: Callable[[Path], Store]) -> None:
        """By themselves, with the next record at the latest, at once when asked to flush; the order stays."""
        assert store.append(Kind.RUNTIME, "a", 1, lazy=True).result(30) == Position(1, 2)
        lazy = [store.append(Kind.RUNTIME, f"b{i}", i, lazy=True) for i in range(50)]
        assert store.append(Kind.RUNTIME, "c", 1).result(30) == Position(1, 53)
        assert all(future.done() for future in lazy)
        last = store.append(Kind.RUNTIME, "d", 1, lazy=True)
        store.flush()
        assert last.done()
        assert opened(place).head() == Position(1, 54)

    def test_close_makes_queued_records_durable(self, tmp_path: Path, opened: Callable[[Path], Store]) -> None:
        """What was accepted before the end is kept."""
        store = self.open(tmp_path / "x")
        store.lead(1, 11)
        futures = [store.append(Kind.RUNTIME, f"k{i}", i) for i in range(100)]
        store.close()
        assert all(future.exception() is None for future in futures)
        assert opened(tmp_path / "x").head() == Position(1, 101)

    def test_appending_after_close_fails_at_once(self, tmp_path: Path) -> None:
        """Nobody waits for ever for a store that is closed."""
        store = self.open(tmp_path / "x")
        store.lead(1, 11)
        store.close()
        with pytest.raises(StoreFailed):
            store.append(Kind.RUNTIME, "k", 1).result()

    def test_appends_of_many_threads_keep_the_order_of_each(self, store: Store) -> None:
        """Numbers are given once, and nobody's records overtake each other."""
        positions: dict[str, list[Position]] = {}

        def work(name: str) -> None:
            futures = [store.append(Kind.RUNTIME, f"{name}/{i}", i) for i in range(200)]
            positions[name] = [future.result() for future in futures]

        threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(own == sorted(own) for own in positions.values())
        assert sorted(p.n for own in positions.values() for p in own) == list(range(2, 2 + 16 * 200))
        stored = [record.key for record in store.read(Position(1, 1), 10_000)]
        for name in positions:
            assert [key for key in stored if key.startswith(f"{name}/")] == [f"{name}/{i}" for i in range(200)]

    def test_appends_that_wait_together_are_written_together(self, store: Store) -> None:
        """A group commit: watchers see far fewer batches than records."""
        batches: list[int] = []
        gate = threading.Event()

        def watch(records: Sequence[Record]) -> None:
            batches.append(len(records))
            gate.wait(30)

        store.watch(watch)
        store.append(Kind.RUNTIME, "first", 0)
        futures = [store.append(Kind.RUNTIME, f"k{i}", i) for i in range(400)]
        gate.set()
        for future in futures:
            future.result()
        assert sum(batches) == 401
        assert len(batches) <= self.most_batches

    def test_a_future_cannot_be_cancelled(self, store: Store) -> None:
        """Somebody who gives up waiting neither loses the record nor stops the writer."""
        future = store.append(Kind.RUNTIME, "k", 1)
        assert not future.cancel()
        with contextlib.suppress(CancelledError):
            assert future.result() == Position(1, 2)
        assert store.append(Kind.RUNTIME, "l", 1).result() == Position(1, 3)

    def test_a_body_that_is_no_json_is_refused_without_a_trace(self, store: Store) -> None:
        """The caller gets the error, the next record the next number."""
        with pytest.raises((TypeError, ValueError)):
            store.append(Kind.RUNTIME, "k", object())
        assert store.append(Kind.RUNTIME, "l", 1).result() == Position(1, 2)

    # terms

    def test_only_the_writer_appends(self, other: Store) -> None:
        """A store that does not lead refuses, through the future."""
        future = other.append(Kind.RUNTIME, "k", 1)
        with pytest.raises(StoreFailed, match="not the master"):
            future.result()
        with pytest.raises(StoreFailed):
            other.flush()
        assert other.head() == Position()

    def test_leading_is_recorded(self, store: Store) -> None:
        """A new term is a record that names the node; leading again under it adds nothing."""
        store.lead(1, 11)
        assert [(record.kind, record.key) for record in store.read(Position())] == [(Kind.TERM, "11")]
        assert store.leader() == (1, 11)
        store.lead(5, 11)
        assert (store.leader(), store.head()) == ((5, 11), Position(5, 2))

    def test_leading_goes_on_after_reopening(self, tmp_path: Path, opened: Callable[[Path], Store]) -> None:
        """The same node under the same term continues the numbers."""
        first = self.open(tmp_path / "x")
        first.lead(3, 11)
        first.append(Kind.RUNTIME, "k", 1)
        first.close()
        second = opened(tmp_path / "x")
        second.lead(3, 11)
        assert second.append(Kind.RUNTIME, "k", 2).result() == Position(3, 3)

    def test_an_older_term_and_another_node_under_the_same_term_are_refused(self, store: Store) -> None:
        """There is one writer per term, and terms only grow."""
        store.lead(4, 11)
        for term, node in ((3, 11), (4, 12)):
            with pytest.raises(StaleTerm) as caught:
                store.lead(term, node)
            assert caught.value.known == 4
        assert store.append(Kind.RUNTIME, "k", 1).result().term == 4

    def test_who_resigned_appends_no_more(self, store: Store) -> None:
        """What was accepted before becomes durable, what comes after is refused."""
        before = store.append(Kind.RUNTIME, "k", 1)
        store.resign()
        after = store.append(Kind.RUNTIME, "l", 1)
        assert before.result() == Position(1, 2)
        with pytest.raises(StoreFailed):
            after.result()
        with pytest.raises(StoreFailed):
            store.flush()
        assert list(store.runtime()) == ["k"]

    # copies

    def fill(self, store: Store) -> list[Record]:
        """Record some of everything."""
        whole_job(store, "11.1", 1, a={"v": 1}, b={"v": 1})
        whole_job(store, "11.2", 2, a=None, c={"v": 2})
        submit(store, "11.3", "db_create", "root")
        finish(store, "11.3", runtime={"db/X": {"wanted": "running"}})
        read_job(store, "12.1")
        store.append(Kind.RUNTIME, "numbers/volume", 7)
        submit(store, "13.1")
        store.append(Kind.UNDONE, "13.1", Undone(0, 301, "no"))
        store.flush()
        return store.read(Position(), 1_000)

    def test_a_copy_is_equal_in_everything(self, store: Store, other: Store) -> None:
        """Whatever was derived from the records is derived from their copies."""
        other.copy(self.fill(store))
        assert everything(other) == everything(store)

    def test_repeats_and_overlaps_are_tolerated(self, store: Store, other: Store) -> None:
        """A master that lost the answer sends again; nothing is taken in twice."""
        records = self.fill(store)
        seen: list[int] = []
        other.watch(lambda new: seen.extend(record.n for record in new))
        other.copy(records[:4])
        other.copy(records[:4])
        other.copy(records[2:7])
        other.copy([records[7], records[7], *records[8:]])
        other.copy([])
        assert everything(other) == everything(store)
        assert seen == [record.n for record in records]

    def test_a_gap_is_refused(self, store: Store, other: Store) -> None:
        """Records that do not follow what is here are not taken in, nor those behind them."""
        records = self.fill(store)
        other.copy(records[:3])
        for gapped in (records[4:], [records[3], records[5]]):
            with pytest.raises(Gap):
                other.copy(gapped)
        assert other.head() == records[2].position

    def test_records_of_an_older_term_are_refused(self, store: Store, other: Store) -> None:
        """A master that was replaced cannot add to a journal that knows its successor."""
        records = self.fill(store)
        other.copy(records)
        other.lead(2, 12)
        end = other.head()
        with pytest.raises(StaleTerm) as caught:
            other.copy([*records, msgspec.structs.replace(records[-1], n=end.n + 1)])
        assert caught.value.known == 2
        assert (other.head(), end.term) == (end, 2)

    def test_a_writer_that_takes_in_a_newer_term_has_resigned(self, store: Store, other: Store) -> None:
        """Two writers never add to one journal."""
        other.copy(store.read(Position()))
        other.lead(2, 12)
        store.copy(other.read(Position()))
        with pytest.raises(StoreFailed):
            store.append(Kind.RUNTIME, "k", 1).result()
        assert store.leader() == (2, 12)
        other.append(Kind.RUNTIME, "k", 2).result()
        store.copy(other.read(Position()))
        assert everything(store) == everything(other)
        store.lead(3, 11)
        assert store.append(Kind.RUNTIME, "k", 3).result() == Position(3, 5)

    def test_a_copy_survives_reopening(self, store: Store, tmp_path: Path, opened: Callable[[Path], Store]) -> None:
        """Copied records are durable when ``copy`` returns."""
        records = self.fill(store)
        copy = opened(tmp_path / "copy")
        copy.copy(records)
        assert everything(opened(tmp_path / "copy")) == everything(store)

    def test_reading_pages_through_the_journal(self, store: Store) -> None:
        """``after`` is left out, ``limit`` holds, the end is empty."""
        for number in range(10):
            store.append(Kind.RUNTIME, f"k{number}", number)
        store.flush()
        assert [record.n for record in store.read(Position(1, 3), 4)] == [4, 5, 6, 7]
        assert store.read(store.head()) == []

    def test_watchers_see_records_once_and_in_order(self, store: Store) -> None:
        """From the moment of watching on, after they are durable."""
        store.append(Kind.RUNTIME, "before", 0).result()
        seen: list[int] = []
        durable: list[bool] = []

        def watch(records: Sequence[Record]) -> None:
            seen.extend(record.n for record in records)
            durable.append(store.head() == records[-1].position)

        store.watch(watch)
        futures = [store.append(Kind.RUNTIME, f"k{i}", i) for i in range(300)]
        futures[-1].result()
        assert seen == list(range(3, 303))
        assert all(durable)

    # derived state

    def test_sections_are_known_at_every_revision(self, store: Store) -> None:
        """A section holds from the revision that set it until the one that deletes it."""
        whole_job(store, "11.1", 1, a={"v": 1}, b={"v": 1})
        whole_job(store, "11.2", 2, a={"v": 2})
        whole_job(store, "11.3", 3, a=None)
        whole_job(store, "11.4", 4, a={"v": 4})
        store.flush()
        assert store.sections(0) == (0, {})
        assert store.sections(1) == (1, {"a": {"v": 1}, "b": {"v": 1}})
        assert store.sections(2) == (2, {"a": {"v": 2}, "b": {"v": 1}})
        assert store.sections(3) == (3, {"b": {"v": 1}})
        assert store.sections() == (4, {"a": {"v": 4}, "b": {"v": 1}})

    def test_revisions_tell_who_changed_what_when(self, store: Store) -> None:
        """Newest first, as many as asked for."""
        whole_job(store, "11.1", 1, NOW, a={"v": 1}, b={})
        whole_job(store, "11.2", 2, NOW + 1, a=None)
        store.flush()
        first = RevisionRow(1, "11.1", "admin", NOW, ("a", "b"))
        second = RevisionRow(2, "11.2", "admin", NOW + 1, ("a",))
        assert store.revisions() == [second, first]
        assert store.revisions(1) == [second]

    def test_runtime_records_are_set_and_deleted(self, store: Store) -> None:
        """By records of their own and with a job's outcome; None deletes, also what was never there."""
        store.append(Kind.RUNTIME, "a", {"x": 1})
        store.append(Kind.RUNTIME, "b", 0)
        store.append(Kind.RUNTIME, "never", None)
        submit(store, "11.1")
        finish(store, "11.1", runtime={"b": None, "c": [1]})
        store.flush()
        assert store.runtime() == {"a": {"x": 1}, "c": [1]}
        store.append(Kind.RUNTIME, "a", None).result()
        assert store.runtime() == {"c": [1]}

    def test_the_line_of_a_job_follows_its_stages(self, store: Store) -> None:
        """Stage, end, code and revision are those of the last record."""

        def line() -> tuple[Any, ...]:
            store.flush()
            (row,) = store.jobs(JobQuery())
            return row.stage, row.ended, row.code, row.revision

        submit(store, "11.1", at=NOW)
        assert line() == (Stage.SUBMITTED, None, None, None)
        store.append(Kind.SCHEDULED, "11.1", Scheduled(0, [], "1"))
        assert line() == (Stage.SCHEDULED, None, None, None)
        finish(store, "11.1", 1, changes={"a": {}})
        assert line() == (Stage.FINISHED, None, 0, 1)
        commit(store, "11.1", NOW + 9)
        assert line() == (Stage.COMMITTED, NOW + 9, 0, 1)

    def test_a_read_job_ends_when_it_is_finished(self, store: Store) -> None:
        """It has no stage after that, whether it is one record or two."""
        submit(store, "11.1", "db_list")
        finish(store, "11.1", at=NOW + 1)
        read_job(store, "11.2", at=NOW)
        store.flush()
        assert [(row.id, row.intent, row.stage) for row in store.jobs(JobQuery())] == [
            ("11.2", "read", "finished"), ("11.1", "read", "finished"),
        ]  # fmt: skip
        assert store.unfinished() == []

    def test_a_job_gives_its_own_records(self, store: Store) -> None:
        """In order, none of other jobs between them, none for an unknown id."""
        submit(store, "11.1")
        submit(store, "11.11")
        store.append(Kind.SCHEDULED, "11.1", Scheduled(0, [], "1"))
        store.append(Kind.RUNTIME, "11.1x", 1)
        commit(store, "11.1")
        store.flush()
        assert [record.kind for record in store.job("11.1")] == [Kind.SUBMITTED, Kind.SCHEDULED, Kind.COMMITTED]
        assert store.job("11.2") == []

    def test_jobs_are_found_by_name_user_intent_stage_and_time(self, store: Store) -> None:
        """Conditions hold together; newest first; the limit holds."""
        for number, (name, user) in enumerate([("a", "ann"), ("b", "bob"), ("a", "bob"), ("x_list", "ann")]):
            submit(store, f"11.{number}", name, user, NOW + number)
        finish(store, "11.0")
        store.flush()

        def found(**wanted: Any) -> list[str]:
            return [row.id for row in store.jobs(JobQuery(**wanted))]

        assert found() == ["11.3", "11.2", "11.1", "11.0"]
        assert found(limit=2) == ["11.3", "11.2"]
        assert found(names=("a", "x_list")) == ["11.3", "11.2", "11.0"]
        assert found(names=("a",), user="bob") == ["11.2"]
        assert found(intent="read") == ["11.3"]
        assert found(stage="finished") == ["11.0"]
        assert found(since=NOW + 1, until=NOW + 2) == ["11.2", "11.1"]
        assert found(user="' OR 1=1 --") == []

    def test_unfinished_jobs_come_in_order_of_admission(self, store: Store) -> None:
        """A modify job until it is committed, a read job until it is finished."""
        for job in ("13.9", "11.2", "12.1"):
            submit(store, job)
        submit(store, "11.3", "db_list")
        finish(store, "13.9")
        finish(store, "11.2")
        commit(store, "11.2")
        finish(store, "11.3")
        store.flush()
        assert store.unfinished() == ["13.9", "12.1"]

    # pruning

    def test_jobs_beyond_an_age_are_forgotten(self, store: Store) -> None:
        """Modify and read jobs by their own ages, measured from their end; others stay whole."""
        whole_job(store, "11.1", 1, NOW - 10 * DAY, a={"v": 1})
        whole_job(store, "11.2", 2, NOW - 2 * DAY, a={"v": 2})
        read_job(store, "11.3", at=NOW - 2 * DAY)
        read_job(store, "11.4", at=NOW)
        submit(store, "11.5", at=NOW - 100 * DAY)
        store.flush()
        assert store.prune(Retention(modify_age=5 * DAY, read_age=DAY)) == 2
        assert [row.id for row in store.jobs(JobQuery())] == ["11.5", "11.4", "11.2"]
        assert (store.job("11.1"), len(store.job("11.2")), store.unfinished()) == ([], 7, ["11.5"])
        assert store.pruned() == 16
        assert store.sections(1) == (1, {"a": {"v": 1}})
        assert len(store.revisions()) == 2

    def test_jobs_beyond_a_count_are_forgotten(self, store: Store) -> None:
        """The newest stay."""
        for number in range(1, 11):
            whole_job(store, f"11.{number}", number)
            read_job(store, f"12.{number}")
        store.flush()
        assert store.prune(Retention(modify_count=3, read_count=2)) == 15
        kept = {row.id for row in store.jobs(JobQuery())}
        assert kept == {"11.8", "11.9", "11.10", "12.9", "12.10"}
        assert store.prune(Retention(modify_count=3, read_count=2)) == 0

    def test_the_newest_record_is_never_forgotten(self, store: Store, place: Path, tmp_path: Path) -> None:
        """A reopened store goes on with the next number, so no number is given twice."""
        own = self.open(tmp_path / "own", lambda: NOW + 1_000 * DAY)
        own.lead(1, 11)
        whole_job(own, "11.1", 1, a={})
        read_job(own, "11.2")
        own.flush()
        head = own.head()
        assert own.prune(EVERYTHING) == 1
        own.close()
        again = self.open(tmp_path / "own")
        try:
            assert again.head() == head
            again.lead(1, 11)
            assert again.append(Kind.RUNTIME, "k", 1).result() == Position(1, head.n + 1)
        finally:
            again.close()

    def test_the_term_of_a_record_is_known_when_it_is_pruned(self, tmp_path: Path) -> None:
        """All that records ever had."""
        own = self.open(tmp_path / "own", lambda: NOW + 1_000 * DAY)
        for term in (1, 2, 4):
            own.lead(term, 11)
            read_job(own, f"11.{term}")
            read_job(own, f"12.{term}")
            own.flush()
        assert own.prune(EVERYTHING) == 5
        assert [own.term_at(n) for n in range(10)] == [0, 1, 1, 1, 2, 2, 2, 4, 4, 4]
        own.close()

    # snapshots

    def test_a_snapshot_is_equal_in_everything(self, store: Store, other: Store) -> None:
        """Also after pruning, and whatever the other store held before."""
        for number in range(1, 700):
            read_job(store, f"12.{number}", at=NOW - 30 * DAY)
        self.fill(store)
        store.prune(Retention())
        other.lead(9, 12)
        whole_job(other, "12.99", 1, z={})
        other.flush()
        other.restore(store.export())
        assert everything(other) == everything(store)
        assert store.pruned() == 700

    def test_a_store_goes_on_after_a_snapshot(self, store: Store, other: Store) -> None:
        """Copies follow it without a gap."""
        self.fill(store)
        other.restore(list(store.export()))
        store.append(Kind.RUNTIME, "after", 1).result()
        other.copy(store.read(other.head()))
        assert everything(other) == everything(store)

    def test_a_damaged_snapshot_changes_nothing(self, store: Store, other: Store) -> None:
        """All or nothing."""
        self.fill(store)
        other.copy(store.read(Position(), 5))
        before = everything(other)
        chunks = list(store.export())
        for damaged in ([*chunks, b"\xc1"], [chunks[0], b"garbage"], [msgspec.msgpack.encode(("nonsense", [[1]]))]):
            with pytest.raises((ValueError, msgspec.DecodeError)):
                other.restore(damaged)
        assert everything(other) == before

    def test_large_records_leave_chunks_small(self, store: Store) -> None:
        """A chunk fits into one frame between nodes, whatever clients sent."""
        for number in range(self.large_records):
            store.append(Kind.RUNTIME, f"k{number}", "x" * 2_000_000)
        store.flush()
        assert max(map(len, store.export())) < 8_000_000

    # crashes

    def test_kill_loses_nothing_that_was_acknowledged(self, tmp_path: Path) -> None:
        """A process that is killed while it appends has kept every record that it told of."""
        place = tmp_path / "killed"
        for seed in range(3):
            told = self._kill_after(place, 150 + 173 * seed)
            store = self.open(place)
            try:
                assert store.head().n >= told
                records = store.read(Position(), 100_000)
                assert [record.n for record in records] == list(range(1, len(records) + 1))
                assert len(store.runtime()) == len(records) - 1
            finally:
                store.close()

    def _kill_after(self, place: Path, lines: int) -> int:
        code = f"""
import sys
from pathlib import Path
from confd.store.protocol import Kind
place = Path({str(place)!r})
{self.program}
store.lead(1, 11)
waiting = []
for number in range(10**9):
    waiting.append(store.append(Kind.RUNTIME, f"k{{store.head().n}}/{{number}}", number))
    if len(waiting) == 20:
        print(waiting.pop(0).result().n, flush=True)
"""
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = 0
        for _ in range(lines):
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines()
        process.stdout.close()
        process.wait()
        # A line that was cut off by the kill told nothing.
        return max([told, *(int(line) for line in rest[:-1])])
