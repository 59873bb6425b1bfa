"""Decisions from what shelves say: nothing that lives is ever cleared, nothing that is dead comes back."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from confd.services.archive.index import Index, Part
from confd.services.archive.shelf import Look
from confd.services.archive.survey import by_path, dead_uploads, forgettable, lacks, living, undeleted
from tests.services.archive.rig import layout

NODES = (11, 12, 13)
LAYOUT = layout(NODES, 2)
IDS = ("a", "b", "c", "d")


def index(file: str) -> Index:
    """Return a file with a part on each share."""
    parts = tuple(Part(share, 10, 0) for share in range(3))
    return Index(id=file, path=f"path/{file}", size=30, modified=float(ord(file)), stripe=1, parts=parts)


def ids() -> st.SearchStrategy[frozenset[str]]:
    """Draw some ids."""
    return st.frozensets(st.sampled_from(IDS))


@st.composite
def shelves(draw: st.DrawFn) -> dict[int, Look]:
    """Draw what the shelves that answer say, as it can be."""
    looks = {}
    for node in draw(st.sets(st.sampled_from(NODES), min_size=1)):
        files, gone, writing = draw(ids()), draw(ids()), draw(ids())
        files -= gone
        held = {file: draw(st.frozensets(st.integers(0, 2))) for file in draw(ids())}
        known = st.lists(st.sampled_from(NODES), unique=True).map(tuple)
        looks[node] = Look(
            files=tuple(index(file) for file in sorted(files)),
            gone=gone,
            held={file: tuple(sorted(numbers)) for file, numbers in held.items()},
            writing=writing,
            left={file: draw(known) for file in held if file not in files | writing},
        )
    return looks


@given(shelves(), shelves())
def test_only_the_dead_are_cleared(before: dict[int, Look], after: dict[int, Look]) -> None:
    """An upload is cleared only when nobody writes it, no shelf has its index, and all were asked that could have it."""
    for file in dead_uploads(LAYOUT, before, after):
        assert not any(file in look.writing for look in before.values())
        assert not any(file == known.id for look in after.values() for known in look.files)
        could = {
            node
            for look in before.values()
            for node in (look.left.get(file, ()) or (file in look.left and NODES) or ())
        }
        assert could <= set(before) & set(after)


@given(shelves())
def test_a_tombstone_anywhere_is_the_end(looks: dict[int, Look]) -> None:
    """A file with a tombstone on any shelf neither lives nor is fetched, and is removed wherever it is."""
    gone = {file for look in looks.values() for file in look.gone}
    assert not gone & set(living(looks))
    assert {known.id for known in by_path(looks).values()} == set(living(looks))
    for node, look in looks.items():
        assert not gone & {lack.index.id for lack in lacks(LAYOUT, looks, node)}
        assert {known.id for known in look.files} & gone <= undeleted(looks, node)


@given(shelves())
def test_tombstones_are_dropped_last(looks: dict[int, Look]) -> None:
    """A tombstone goes only when every node was asked and none has anything of its file."""
    for file in forgettable(LAYOUT, looks):
        assert set(looks) == set(NODES)
        for look in looks.values():
            assert file not in look.held
            assert file not in look.writing
            assert file not in {known.id for known in look.files}


@given(shelves())
def test_a_shelf_misses_exactly_what_it_should_hold(looks: dict[int, Look]) -> None:
    """After everything it misses was fetched, a shelf misses nothing; what is being written is not missed."""
    writing = {file for look in looks.values() for file in look.writing}
    for node, look in looks.items():
        missing = lacks(LAYOUT, looks, node)
        assert not writing & {lack.index.id for lack in missing}
        held = {file: set(numbers) for file, numbers in look.held.items()}
        for lack in missing:
            assert all(node in LAYOUT.shares[lack.index.parts[number].share].nodes for number in lack.parts)
            assert not held.get(lack.index.id, set()) & set(lack.parts)
            held.setdefault(lack.index.id, set()).update(lack.parts)
        files = {known.id: known for known in (*look.files, *(lack.index for lack in missing))}
        whole = Look(
            files=tuple(files.values()), gone=look.gone, writing=look.writing,
            held={file: tuple(sorted(numbers)) for file, numbers in held.items()},
        )  # fmt: skip
        assert lacks(LAYOUT, {**looks, node: whole}, node) == []


def test_of_two_files_of_one_path_the_later_counts() -> None:
    """Files made on both sides of a cut network: one is listed."""
    first, second = index("a"), msgspec.structs.replace(index("b"), path="path/a")
    assert by_path({11: Look(files=(first,)), 12: Look(files=(second,))}) == {"path/a": second}
