"""The embedded store when writing fails: nothing half written, nothing accepted afterwards."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from confd.store.protocol import JobQuery, Kind, Position, Record, Retention, StoreFailed
from confd.store.records import Committed, Finished, Submitted
from confd.store.reserve import RESERVE_BYTES
from confd.store.sqlite import SqliteStore


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of its own with 16 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, leave: int) -> None:
    """Use the disk up but for some bytes."""
    stat = os.statvfs(disk)
    with (disk / "filler").open("ab") as file:
        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, stat.f_bavail * stat.f_frsize - leave)


def test_a_full_disk_spends_the_reserve_then_fails_cleanly(small_disk: Path) -> None:
    """Running jobs end from the reserve; after it the first error is final and nothing is half written."""
    failures: list[Exception] = []
    store = SqliteStore(small_disk / "journal.db", failures.append)
    store.lead(1, 11)
    reserve = small_disk / "journal.reserve"
    assert reserve.stat().st_size == RESERVE_BYTES
    fill(small_disk, 256 * 1024)
    acknowledged = 0
    error: BaseException | None = None
    for number in range(1_000):
        job = f"11.{number}"
        store.append(Kind.SUBMITTED, job, Submitted("x", "modify", "u", 1, {}, {"text": "x" * 20_000}))
        store.append(Kind.FINISHED, job, Finished(0, "", revision=number + 1, changes={"a": {"v": number}}))
        error = store.append(Kind.COMMITTED, job, Committed()).exception()
        if error is not None:
            break
        acknowledged = number + 1
        spent = not reserve.exists()
        assert spent or acknowledged * 20_000 < 4_000_000
    assert isinstance(error, StoreFailed)
    assert not reserve.exists()
    assert acknowledged * 20_000 > 1_000_000
    assert len(failures) == 1
    with pytest.raises(StoreFailed):
        store.append(Kind.RUNTIME, "k", 1).result()
    with pytest.raises(StoreFailed):
        store.flush()
    assert store.head().n >= 1 + 3 * acknowledged
    store.close()
    (small_disk / "filler").unlink()
    again = SqliteStore(small_disk / "journal.db")
    try:
        assert again.head().n >= 1 + 3 * acknowledged
        ended = [row for row in again.jobs(JobQuery(limit=10_000)) if row.ended is not None]
        assert len(ended) >= acknowledged
        revision, sections = again.sections()
        assert sections == {"a": {"v": revision - 1}}
        assert len(again.read(Position(), 10_000)) == again.head().n
        check = sqlite3.connect(small_disk / "journal.db").execute("PRAGMA integrity_check").fetchone()
        assert check == ("ok",)
        again.lead(1, 11)
        again.append(Kind.RUNTIME, "k", 1).result()
        assert reserve.exists()
    finally:
        again.close()


def test_a_copy_on_a_full_disk_may_be_repeated(small_disk: Path, tmp_path: Path) -> None:
    """A follower whose disk is full takes in nothing of a batch, and all of it once there is room."""
    with contextlib.closing(SqliteStore(tmp_path / "master.db")) as master:
        master.lead(1, 11)
        for number in range(60):
            master.append(Kind.RUNTIME, f"k{number}", "x" * 50_000)
        master.flush()
        records = master.read(Position(), 1_000)
    failures: list[Exception] = []
    with contextlib.closing(SqliteStore(small_disk / "journal.db", failures.append)) as store:
        fill(small_disk, 256 * 1024)
        with pytest.raises(StoreFailed):
            store.copy(records)
        assert (store.head(), store.runtime()) == (Position(), {})
        (small_disk / "filler").unlink()
        for start in range(0, len(records), 20):
            store.copy(records[start : start + 20])
        assert store.head() == records[-1].position
        assert failures == []


def test_a_start_on_a_full_disk_only_lacks_the_reserve(small_disk: Path) -> None:
    """What is recorded can still be read; pruning makes the reserve when there is room."""
    with contextlib.closing(SqliteStore(small_disk / "journal.db")) as store:
        store.lead(1, 11)
    (small_disk / "journal.reserve").unlink()
    fill(small_disk, 128 * 1024)
    with contextlib.closing(SqliteStore(small_disk / "journal.db")) as store:
        assert store.leader() == (1, 11)
        assert not (small_disk / "journal.reserve").exists()
        (small_disk / "filler").unlink()
        store.prune(Retention())
        assert (small_disk / "journal.reserve").stat().st_size == RESERVE_BYTES


def test_a_watcher_that_fails_ends_the_store(tmp_path: Path) -> None:
    """A part that cannot follow the journal must not go on from an older state."""
    failures: list[Exception] = []

    def fail(records: Sequence[Record]) -> None:
        raise ValueError("cannot follow")

    with contextlib.closing(SqliteStore(tmp_path / "journal.db", failures.append)) as store:
        store.lead(1, 11)
        store.watch(fail)
        with pytest.raises(StoreFailed, match="cannot follow"):
            store.append(Kind.RUNTIME, "k", 1).result()
        assert [str(failure) for failure in failures] == ["cannot follow"]
        assert isinstance(store.append(Kind.RUNTIME, "k", 1).exception(), StoreFailed)


def test_an_interrupted_reserve_is_completed(tmp_path: Path) -> None:
    """A crash between making and allocating the file leaves no reserve that is none."""
    (tmp_path / "journal.reserve").touch()
    SqliteStore(tmp_path / "journal.db").close()
    assert (tmp_path / "journal.reserve").stat().st_size == RESERVE_BYTES
