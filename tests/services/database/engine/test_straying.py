"""What is cut from the WAL of a standby, on files as PostgreSQL names them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from confd.services.database.engine.data import MARKER
from confd.services.database.engine.straying import cut, read_history, strays
from confd.services.database.observed import History, Point, lsn

SIZE = 1024
HISTORY = History(4, (Point(1, "0/800"), Point(3, "0/D00")))
"""Timeline 2 is none of it."""


def standby(data: Path, settled: Point, files: tuple[str, ...]) -> Path:
    """Make what is looked at of a killed standby; return its WAL."""
    wal = data / "pg_wal"
    for directory in (data / "global", wal, wal / "summaries"):
        directory.mkdir(parents=True)
    control = bytearray(512)
    struct.pack_into("=QI", control, 136, lsn(settled.position), settled.timeline)
    struct.pack_into("=I", control, 228, SIZE)
    (data / "global" / "pg_control").write_bytes(control)
    (data / MARKER).write_text('{"database": "db", "generation": "g"}')
    (data / "PG_VERSION").write_text("18\n")
    (data / "standby.signal").touch()
    for name in files:
        (wal / name).write_bytes(b"w" * SIZE)
    return wal


def segment(timeline: int, number: int) -> str:
    """Name a WAL file."""
    return f"{timeline:08X}{0:08X}{number:08X}"


def test_only_what_is_beyond_goes(tmp_path: Path) -> None:
    """The file with the fork keeps its size, and what comes before the fork."""
    whole = (segment(1, 0), segment(1, 1), segment(3, 2), segment(4, 3), segment(4, 4))
    gone = (segment(1, 2), segment(2, 1), segment(2, 7), segment(3, 4), "00000002.history")
    summaries = {
        "0000000100000000000004000000000000000800.summary": True,
        "0000000100000000000007000000000000000801.summary": False,
        "0000000200000000000007000000000000000800.summary": False,
        "000000040000000000000D000000000000002000.summary": True,
    }
    kept = ("00000003.history", "00000004.history")
    wal = standby(tmp_path, Point(1, "0/700"), (*whole, *gone, *kept, segment(3, 3)))
    for name in summaries:
        (wal / "summaries" / name).touch()
    for _ in range(2):
        cut(tmp_path, HISTORY)
        assert {one.name for one in wal.iterdir()} == {*whole, *kept, segment(3, 3), "summaries"}
        assert all((wal / name).read_bytes() == b"w" * SIZE for name in (*whole, *kept))
        assert (wal / segment(3, 3)).read_bytes() == b"w" * 0x100 + b"\0" * (SIZE - 0x100)
        assert {one.name for one in (wal / "summaries").iterdir()} == {one for one, stays in summaries.items() if stays}


@pytest.mark.parametrize("settled", [Point(1, "0/801"), Point(2, "0/600"), Point(3, "0/D01")])
def test_what_strayed_keeps_its_wal(tmp_path: Path, settled: Point) -> None:
    """Its files need it, to be rewound."""
    wal = standby(tmp_path, settled, (segment(1, 2), segment(2, 2), segment(3, 4)))
    assert strays(tmp_path, HISTORY)
    cut(tmp_path, HISTORY)
    assert len(list(wal.iterdir())) == 4


def test_an_order_that_comes_late_cuts_nothing(tmp_path: Path) -> None:
    """It knows nothing of the timeline that the standby has followed since."""
    wal = standby(tmp_path, Point(1, "0/700"), (segment(1, 2), segment(5, 3)))
    cut(tmp_path, HISTORY)
    assert len(list(wal.iterdir())) == 3


def test_a_copy_that_was_never_consistent_keeps_its_wal(tmp_path: Path) -> None:
    """How far its files go is told by the WAL only."""
    wal = standby(tmp_path, Point(1, "0/700"), (segment(1, 2),))
    (tmp_path / "backup_label").write_text("BACKUP METHOD: streamed\n")
    cut(tmp_path, HISTORY)
    assert (wal / segment(1, 2)).exists()
    (tmp_path / "backup_label").write_text("BACKUP METHOD: pg_rewind\n")
    cut(tmp_path, HISTORY)
    assert not (wal / segment(1, 2)).exists()


def test_history_is_read_as_postgresql_writes_it(tmp_path: Path) -> None:
    """The first timeline has none; of another one without its file nothing is known."""
    (tmp_path / "pg_wal").mkdir()
    assert read_history(tmp_path, 1) == History(1)
    assert read_history(tmp_path, 3) is None
    lines = "1\t0/4001D58\tno recovery target specified\n\n2\t1A/5000000\tno recovery target specified\n"
    (tmp_path / "pg_wal" / "00000003.history").write_text(lines)
    assert read_history(tmp_path, 3) == History(3, (Point(1, "0/4001D58"), Point(2, "1A/5000000")))
