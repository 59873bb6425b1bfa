"""Limits that a standby must not have lower than its WAL asks for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from confd.services.database.engine.limits import DEFAULTS, raised

NAMES = st.sampled_from(list(DEFAULTS))
NUMBERS = st.integers(0, 500)


@given(st.dictionaries(NAMES, NUMBERS), st.dictionaries(NAMES, NUMBERS))
def test_limits_are_raised_where_they_are_too_low(configured: dict[str, int], needed: dict[str, int]) -> None:
    """What is needed is there; what is enough already stays as it is, whether it is configured or not."""
    higher = raised({"work_mem": "8MB"} | {name: str(value) for name, value in configured.items()}, needed)
    for name, default in DEFAULTS.items():
        before = configured.get(name, int(default))
        assert int(higher.get(name, before)) == max(before, needed.get(name, 0))
        assert (name in higher) == (needed.get(name, 0) > before)
    assert higher.keys() <= DEFAULTS.keys()


def test_numbers_as_postgresql_writes_them() -> None:
    """Hexadecimal, octal, with an exponent, with spaces around."""
    written = {"max_connections": "0x64", "max_worker_processes": "1e1", "max_prepared_transactions": " 5 "}
    assert raised(written, {"max_connections": 100, "max_worker_processes": 10, "max_prepared_transactions": 5}) == {}
    assert raised(written, {"max_connections": 101}) == {"max_connections": "101"}
    assert raised({"max_connections": "0100"}, {"max_connections": 64}) == {}
    assert raised({"max_connections": "0100"}, {"max_connections": 65}) == {"max_connections": "65"}
    assert raised({"max_connections": "0100.0"}, {"max_connections": 100}) == {}
