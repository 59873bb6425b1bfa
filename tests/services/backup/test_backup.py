"""Names, chains and lists of backups."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from confd.model.errors import InvalidParameter
from confd.services.backup.backup import Backup, Backups, Content, Status
from confd.services.backup.catalogue import read_backups, write_status
from confd.services.backup.listing import describe_backups, format_minute
from confd.services.backup.location import Location, find, parse_id, parse_path, parse_set, stamp_of, time_of
from tests.services.backup.directory import DirectoryTarget

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_ '-]{0,20}[a-z]", fullmatch=True)
LOCATIONS = st.builds(
    Location,
    NAMES,
    st.integers(0, 10**9 - 1),
    st.integers(0, 9),
    st.integers(0, 99),
    st.floats(0, 4e9).map(stamp_of),
)


def status(location: Location, **changes: object) -> Status:
    """Return a status as it is written."""
    settings: dict[str, object] = {
        "database": location.database, "active_nodes": 1, "postgresql": "18.4", "generation": "g", "system_id": "7",
        "timeline": 1, "began": time_of(location.stamp), "ended": 1.0, "data": Content(3, "", 9), "manifest": Content(2, "", 2),
    }  # fmt: skip
    return Status(**(settings | changes))  # type: ignore[arg-type]


def backup(bid: int, level: int, base: Backup | None = None, database: str = "DB1", **changes: object) -> Backup:
    """Return a complete backup on volume 1."""
    location = Location(database, bid, level, 0, stamp_of(60.0 * bid))
    made = status(location, base=base.path if base else None, **changes)
    return Backup(volume=1, volume_name="A", location=location, status=made, used=1 << 20, files=(location.path,))


def put(target: DirectoryTarget, location: Location, **changes: object) -> None:
    """Write the three files of a backup."""
    for path, content in ((location.path, b"abc"), (location.metadata, b"{}")):
        with target.create(path) as writer:
            writer.write(content)
            writer.commit()
    write_status(target, location, status(location, **changes))


@given(LOCATIONS, st.integers(0, 99999))
def test_names_are_read_as_they_are_written(location: Location, volume: int) -> None:
    """Ids, paths, sets and file names give the location again, whatever the database is called."""
    assert parse_id(location.id(volume)) == (volume, location)
    assert parse_path(location.path) == location
    assert parse_set(f"{volume} {location.set}") == (volume, location.database, location.bid, location.level)
    assert parse_set(location.set) == (None, location.database, location.bid, location.level)
    for path, kind, version in (
        (location.path, "backup", 0),
        (location.metadata, "metadata", 0),
        (location.status(), "status", 0),
        (location.status(7), "status", 7),
    ):
        found = find(path)
        assert found
        assert (found.location, found.kind, found.version) == (location, kind, version)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "DB1/id_1/level_0/node_0/backup_202001010000 DB1",
        "1 DB1/id_1/level_0/node_0/backup_202001010000",
        "1 DB1/id_1/level_0/node_0/backup_202001010000 DB2",
        "1 DB1/id_1/level_10/node_0/backup_202001010000 DB1",
        "1 ../id_1/level_0/node_0/backup_2020 DB1",
        "x DB1/id_1/level_0/node_0/backup_202001010000 DB1",
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    """The message shows what was given and the form."""
    with pytest.raises(InvalidParameter, match="level_<l>"):
        parse_id(text)


def test_other_files_of_a_volume_are_no_backups(tmp_path: Path) -> None:
    """Files without the prefix, and whatever else lies there, are not listed; broken ones are not usable."""
    target = DirectoryTarget(tmp_path)
    whole = Location("DB1", 1, 0, 0, "202001010000")
    put(target, whole)
    headless = Location("DB1", 2, 0, 0, "202001020000")
    for path in ("readme", "DB1/id_1/level_0/readme", "backup_202001010000", headless.path, headless.metadata):
        with target.create(path) as writer:
            writer.write(b"abc")
            writer.commit()
    cut = Location("DB1", 3, 0, 0, "202001030000")
    put(target, cut)
    (target.root / "files" / cut.path).write_bytes(b"ab")
    wild = Location("DB2", 1, 0, 0, "202001030000")
    put(target, wild)
    (target.root / "files" / wild.status()).write_bytes(b"what")
    backups = read_backups(target)
    assert {one.location: backups.usable(one) for one in backups.all} == {
        whole: True, headless: False, cut: False, wild: False,
    }  # fmt: skip
    assert [one.location for one in read_backups(target, "DB2").all] == [wild]


def test_a_status_is_replaced_in_one_step(tmp_path: Path) -> None:
    """The higher version counts while both are there, and is alone afterwards."""
    target = DirectoryTarget(tmp_path)
    place = Location("DB1", 1, 0, 0, "202001010000")
    put(target, place)
    with target.create(place.status(1)) as writer:
        writer.write(b'{"cut')
        writer.abort()
    write_status(target, place, status(place, expires=5.0), version=1)
    (one,) = read_backups(target).all
    assert (one.expires, one.version) == (5.0, 1)
    assert one.files == (place.path, place.metadata, place.status(1))


def test_chains() -> None:
    """A backup needs its bases; without one of them it is unusable, and so is what builds on it."""
    full, other = backup(1, 0), backup(5, 0)
    one = backup(2, 1, full)
    two = backup(3, 2, one)
    sibling = backup(4, 1, full)
    every = Backups([two, other, one, full, sibling])
    assert every.chain(two) == (full, one, two)
    assert every.chain(other) == (other,)
    assert set(every.dependants(full)) == {one, two, sibling}
    assert every.dependants(two) == ()
    assert every.bases(two) == (full, one)
    headless = Backups([full, two])
    assert not headless.usable(two)
    assert headless.usable(full)
    assert Backups([]).next_bid("DB1") == 1
    assert every.next_bid("DB1") == 6


def test_a_chain_that_bites_its_tail_ends() -> None:
    """Damaged statuses do not make anything run for ever."""
    one = backup(1, 1)
    loop = Backups([backup(1, 1, one)])
    assert not loop.usable(loop.all[0])
    assert len(loop.bases(loop.all[0])) <= 10
    assert loop.dependants(loop.all[0]) == loop.all


def test_what_a_new_backup_builds_on() -> None:
    """The newest usable one of a lower level of the same data; restored data goes on from what it was restored from."""
    full, late = backup(1, 0), backup(6, 0, generation="other")
    one = backup(2, 1, full)
    two = backup(3, 2, one)
    every = Backups([full, one, two, late])

    def base(level: int, generation: str = "g", **more: object) -> Backup | None:
        return every.base_for("DB1", level, generation, str(more.get("system", "7")), tuple(more.get("lineage", ())))  # type: ignore[arg-type]

    assert base(0) is None
    assert base(1) == full
    assert base(2) == one
    assert base(9) == two
    assert base(1, "other") == late
    assert base(1, "new") is None
    assert base(2, "new", lineage=[full.path, one.path]) == one
    assert base(1, system="8") is None
    assert every.base_for("DB2", 1, "g", "7") is None


def test_the_list(tmp_path: Path) -> None:
    """Fields and forms are those that clients know; other databases' backups cannot be changed through this one."""
    full = backup(1, 0, expires=90.0)
    one = backup(2, 1, full)
    foreign = backup(1, 0, database="DB2")
    shown = describe_backups(Backups([one, foreign, full]), "DB1", 100.0, foreign=True)
    assert shown[0] == {
        "bid": 1, "comment": "", "dependencies": "-", "expire": "1970-01-01 00:01", "expire_alterable": "1 DB1/id_1/level_0",
        "expired": True, "id": "1 DB1/id_1/level_0/node_0/backup_197001010001 DB1", "last_item": False, "level": 0,
        "path": "DB1/id_1/level_0/node_0/backup_197001010001", "system": "DB1", "timestamp": "1970-01-01 00:01",
        "ts": "197001010001", "usable": True, "usage": "0.001 GiB", "volume": "A",
    }  # fmt: skip
    assert (shown[1]["dependencies"], shown[1]["last_item"], shown[1]["expire"]) == ("1", True, "")
    assert "expire_alterable" not in shown[2]
    assert (shown[2]["system"], shown[2]["last_item"]) == ("DB2", False)
    assert len(describe_backups(Backups([one, foreign, full]), "DB1", 100.0)) == 2


@given(st.floats(allow_nan=False))
@example(999_999_999_999 * 7 * 86400.0)
def test_any_moment_is_shown(time: float) -> None:
    """One that no calendar has, as earlier versions wrote it, must not hide all backups: the nearest one is shown."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", format_minute(time))
