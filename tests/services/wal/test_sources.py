"""Which volume gives which piece of a log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from confd.services.wal.segment import Segment, last_number, parse
from confd.services.wal.sources import sources

names = st.one_of(
    st.builds(lambda number, timeline: Segment(number, timeline).name, st.integers(0, 12), st.integers(1, 3)),
    st.sampled_from(["00000002.history", "00000003.history"]),
)
volumes = st.dictionaries(st.sampled_from("ABCD"), st.sets(names), max_size=4)


@given(volumes, st.integers(0, 12))
def test_all_that_the_volumes_have_together_counts(found: dict[str, set[str]], first: int) -> None:
    """As if one volume had everything: up to the first gap, oldest first; each file from the first that has it."""
    given_by = sources(found, first)
    together = {name for held in found.values() for name in held}
    assert set(given_by) == set(sources({"all": together}, first))
    for name, volume in given_by.items():
        assert volume == next(one for one, held in found.items() if name in held)
    segments = [segment for name in given_by if (segment := parse(name))]
    assert segments == sorted(segments)
    assert {name for name in together if parse(name) is None} == {name for name in given_by if parse(name) is None}
    known = {segment for name in together if (segment := parse(name))}
    last = last_number({segment.number for segment in known}, first)
    wanted = {one for one in known if last is not None and first <= one.number <= last}
    assert set(segments) == wanted


def test_archiving_that_moved_and_moved_back() -> None:
    """The pieces in between are on the other volume; a piece that is nowhere ends it."""
    one, two, three, four, six = (Segment(number, 1).name for number in (1, 2, 3, 4, 6))
    found = {"A": [six, four, one], "B": [two, three, four]}
    assert sources(found, 1) == {one: "A", two: "B", three: "B", four: "A"}
    assert sources(found, 5) == {}
