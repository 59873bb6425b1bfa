"""Which archived WAL is kept."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from confd.services.backup.backup import Backups
from confd.services.backup.target import File
from confd.services.wal.keeping import UNUSED_FOR, Anchor, Log, last_end, leads_on, limit, logs_among, superfluous
from confd.services.wal.segment import SUFFIX, Segment, directory, find, parse
from tests.services.backup.retention.test_retention import backup

NOW = 1e9
DATABASES, GENERATIONS, numbers = st.sampled_from("de"), st.sampled_from("gh"), st.integers(0, 9)
anchors = st.lists(st.builds(Anchor, DATABASES, st.none() | GENERATIONS, st.none() | numbers), max_size=6)
names = st.builds(lambda number, timeline: Segment(number, timeline).name, numbers, st.integers(1, 3))


@st.composite
def files(draw: st.DrawFn) -> File:
    """Draw a file of a volume, mostly WAL."""
    name = draw(names | st.just("00000002.history"))
    path = f"{directory(draw(DATABASES), draw(GENERATIONS))}{name}{SUFFIX}"
    path = draw(st.sampled_from((path, path, path, "d/id_1/level_0/node_0/backup_202601010000")))
    return File(path, 1, 1, NOW - draw(st.sampled_from((0.0, 2 * UNUSED_FOR))))


@given(st.lists(files(), max_size=20, unique_by=lambda file: file.path), anchors, st.booleans())
def test_what_any_restore_needs_stays(held: list[File], known: list[Anchor], busy: bool) -> None:
    """From the end of each backup on, or all of it when an end is not known; nothing else stays for long."""
    limits = [one for log in logs_among(held) if (one := limit(log, known, busy=busy))]
    gone = superfluous(held, limits, NOW)
    for file in held:
        found = find(file.path)
        if found is None:
            assert file.path not in gone
            continue
        database, generation, name = found
        ends = [one.end for one in known if one.database == database and one.generation in (generation, None)]
        segment, old = parse(name), file.modified < NOW - UNUSED_FOR
        if ends:
            dispensable = segment is not None and all(end is not None and segment.number < end for end in ends)
        else:
            dispensable = old and not busy
        assert (file.path in gone) == dispensable


def test_what_leads_on() -> None:
    """A restore may begin with what is usable, and with what may be so once nodes return; not with what is broken."""
    full = backup(1)
    away = msgspec.structs.replace(backup(2), away="n12")
    unknown = msgspec.structs.replace(backup(3, state="torn"), away="n12")
    unreadable, torn = backup(4, state="unreadable"), backup(5, state="torn")
    later, hidden, broken = backup(6, 1, full), backup(7, 1, away), backup(8, 1, torn)
    known = Backups([full, away, unknown, unreadable, torn, later, hidden, broken])
    assert [one for one in known.all if not leads_on(known, one)] == [torn, broken]


@given(anchors)
def test_a_gap_lies_before_the_latest_backup_only(known: list[Anchor]) -> None:
    """Of this data, and as far as it can be read."""
    own = [one.end for one in known if one.database == "d" and one.generation == "g" and one.end is not None]
    assert last_end(known, Log("d", "g")) == max(own, default=0)
