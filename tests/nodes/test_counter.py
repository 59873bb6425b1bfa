"""Numbers of job ids are given once."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from confd.cluster.counter import Counter


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.integers(0, 2_300), min_size=1, max_size=5))
def test_a_crash_never_brings_a_number_back(tmp_path: Path, lives: list[int]) -> None:
    """However many numbers each life of the daemon took, they only grow, from 1 on."""
    (tmp_path / "next.id").unlink(missing_ok=True)
    given_out: list[int] = []
    for taken in lives:
        counter = Counter(tmp_path / "next.id")
        given_out += [counter.next() for _ in range(taken)]
    assert given_out == sorted(set(given_out))
    assert not given_out or given_out[0] == 1


def test_a_number_is_reserved_before_it_is_given(tmp_path: Path) -> None:
    """The file is always ahead of what was given out, and is the owner's alone."""
    path = tmp_path / "next.id"
    counter = Counter(path)
    for _ in range(2_500):
        assert counter.next() <= int(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
