"""What expires goes, what is needed stays."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from confd.services.backup.backup import Backup, Backups, Content, Status
from confd.services.backup.location import Location, parse_path
from confd.services.backup.order import BackupOrder, Link, RestoreOrder, VirtualOrder
from confd.services.backup.retention.rules import expendable, needed, orphaned, unusable, used_by
from confd.services.database.record import Record

NOW = 1000.0
CONTENT = Content(1, "", 1)
PAST, FUTURE = 10.0, 2000.0


def backup(
    bid: int,
    level: int = 0,
    base: Backup | None = None,
    expires: float | None = None,
    state: str = "whole",
    db: str = "D",
) -> Backup:
    """Make a backup that is ``whole``, ``torn`` (no status) or ``unreadable`` (its status cannot be read)."""
    location = Location(db, bid, level, 0, "202108121809")
    status = Status(
        database=db, active_nodes=1, postgresql="18", generation="g", system_id="1", timeline=1,
        base=base.path if base else None, began=float(bid), ended=float(bid), expires=expires,
        data=CONTENT, manifest=CONTENT,
    )  # fmt: skip
    files = (location.path, location.metadata, *(() if state == "torn" else (location.status(),)))
    return Backup(
        volume=1, volume_name="V", location=location, used=3, files=files, status=status if state == "whole" else None
    )


@st.composite
def volumes(draw: st.DrawFn) -> Backups:
    """Make volumes with chains of any form, some broken, some with parts that cannot be read."""
    made: list[Backup] = []
    for bid in range(draw(st.integers(0, 8))):
        db = draw(st.sampled_from("DE"))
        bases = [one for one in made if one.database == db and one.location.level < 9]
        base = draw(st.none() | st.sampled_from(bases)) if bases else None
        level = draw(st.integers(base.location.level + 1, 9)) if base else draw(st.integers(0, 1))
        expires = draw(st.sampled_from([None, PAST, FUTURE]))
        made.append(
            backup(bid, level, base, expires, draw(st.sampled_from(["whole", "whole", "torn", "unreadable"])), db)
        )
    return Backups(one for one in made if draw(st.integers(0, 9)))


@given(volumes(), st.sets(st.integers(0, 8)))
def test_nothing_that_a_living_backup_needs_is_deleted(held: Backups, used: set[int]) -> None:
    """At no moment of the deletion, and nothing that an operation uses; what could be restored still can be."""
    kept = {one.path for one in held.all if one.location.bid in used}
    left = list(held.all)
    for gone in expendable(held, NOW, kept):
        assert gone.expired(NOW)
        assert gone.path not in kept
        left.remove(gone)
        rest = Backups(left)
        for one in rest.all:
            if not one.expired(NOW) or one.path in kept:
                assert rest.usable(one) == held.usable(one)
                assert rest.bases(one) == held.bases(one)


@given(volumes())
def test_deleting_is_done_at_once(held: Backups) -> None:
    """After it nothing more may go; and all that is left is needed, alive, or incomplete."""
    gone = expendable(held, NOW)
    left = Backups(one for one in held.all if one not in gone)
    assert expendable(left, NOW) == ()
    assert {one.path for one in left.all if one.expired(NOW)} <= needed(left, NOW)


@given(volumes(), st.data())
def test_who_is_orphaned(held: Backups, data: st.DataObject) -> None:
    """Exactly those that could be restored before and cannot afterwards."""
    doomed = data.draw(st.lists(st.sampled_from(held.all), unique=True)) if held.all else []
    left = Backups(one for one in held.all if one not in doomed)
    lost = {one.path for one in left.all if held.usable(one) and not left.usable(one)}
    assert {one.path for one in orphaned(held, doomed)} == lost


@given(volumes())
def test_what_is_unusable(held: Backups) -> None:
    """What is left after it can be restored; other databases are not touched."""
    gone = unusable(held, "D")
    left = Backups(one for one in held.all if one not in gone)
    assert all(left.usable(one) for one in left.of("D"))
    assert left.of("E") == held.of("E")
    assert unusable(held, "D", [one.path for one in held.all]) == ()


def test_an_expired_base_stays_as_long_as_it_is_needed() -> None:
    """Level 0 has expired, level 2 lives: all three stay; then all go, the highest level first."""
    full = backup(1, 0, None, PAST)
    first = backup(2, 1, full, PAST)
    second = backup(3, 2, first, FUTURE)
    assert expendable(Backups([full, first, second]), NOW) == ()
    assert expendable(Backups([full, first, second]), FUTURE) == (second, first, full)


def test_what_cannot_be_read_may_need_anything() -> None:
    """A node is away and with it a status: bases of a lower level stay; without such a backup they go."""
    full = backup(1, 0, None, PAST)
    assert expendable(Backups([full, backup(2, 1, full, state="unreadable")]), NOW) == ()
    assert expendable(Backups([full, backup(2, 1, full, state="torn")]), NOW) == (full,)


def test_what_operations_use() -> None:
    """A running backup uses its base, a restore all that it fetches."""
    full, level = backup(1).location, backup(2, 1).location
    taking = BackupOrder(node=11, volume="V", volume_id=1, location=level, base=full, began=1.0)
    link = Link(backup(3).path, 1, "", 1)
    restoring = RestoreOrder(id="x", volume="V", volume_id=1, level=0, database="D", chain=(link,))
    opened = msgspec.structs.replace(restoring, chain=(Link(backup(4).path, 1, "", 1),))
    virtual = VirtualOrder(11, "g", opened)
    records = [Record(backup=taking), Record(restore=restoring), Record(virtual=virtual), Record()]
    assert used_by(records, 1) == {full.path, level.path, link.path, backup(4).path}
    assert used_by(records, 2) == frozenset()
    assert parse_path(full.path) == full


def test_what_is_only_away_is_not_unusable() -> None:
    """While its node is away a backup cannot be restored, nor what builds on it; neither is deleted as unusable."""
    full = msgspec.structs.replace(backup(1, 0, None, None), away="n12 cannot be reached")
    first = backup(2, 1, full, None)
    hidden = msgspec.structs.replace(backup(3, 0, None, None), status=None, away="n13 cannot be reached")
    held = Backups([full, first, hidden])
    assert [held.usable(one) for one in held.all] == [False, False, False]
    assert [held.away(one) for one in held.all] == ["n12 cannot be reached"] * 2 + ["n13 cannot be reached"]
    assert unusable(held, "D") == ()
