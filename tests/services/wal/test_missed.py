"""The end of a timeline comes to the archive though PostgreSQL does not archive it soon."""

from __future__ import annotations

from pathlib import Path

from confd.services.wal.missed import add_missed, read_ends
from confd.services.wal.segment import Segment
from confd.services.wal.spool import waiting

HISTORY = "1\t0/6000000\tno recovery target specified\n\n2\t0/7000028\tno recovery target specified\n"


def test_the_ends_of_timelines() -> None:
    """A history tells the segment in which each timeline ended."""
    assert read_ends(HISTORY) == {1: 6, 2: 7}
    assert read_ends("") == {}


def test_only_finished_segments_that_nobody_archives_are_added(tmp_path: Path) -> None:
    """Not those that PostgreSQL knows of, nor the unfinished end of a timeline, nor anything of the present one."""
    wal, spool = tmp_path / "pg_wal", tmp_path / "wal" / "g"
    (wal / "archive_status").mkdir(parents=True)
    add_missed(wal, spool)
    spool.mkdir(parents=True)
    add_missed(wal, spool)
    assert waiting(spool) == []
    for number, timeline in ((4, 1), (5, 1), (6, 1), (6, 2), (7, 2), (7, 3), (8, 3)):
        (wal / Segment(number, timeline).name).write_bytes(bytes([number, timeline]))
    (wal / "00000002.history").write_text(HISTORY.partition("\n")[0])
    (wal / "00000003.history").write_text(HISTORY)
    (wal / "archive_status" / f"{Segment(4, 1).name}.done").touch()
    (wal / "archive_status" / f"{Segment(6, 2).name}.ready").touch()
    for _ in range(2):
        add_missed(wal, spool)
        assert waiting(spool) == [Segment(5, 1).name]
    assert (spool / Segment(5, 1).name).read_bytes() == bytes([5, 1])
    (spool / Segment(5, 1).name).unlink()
    add_missed(wal, spool, [Segment(5, 1).name])
    assert waiting(spool) == []
