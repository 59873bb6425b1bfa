"""Versions and their order."""

from __future__ import annotations

import itertools

import pytest

from confd.model.errors import InvalidParameter
from confd.model.versions import is_newer, parse_version

ASCENDING = [
    "7.1.30",
    "8.0-dev1",
    "8.0-dev2",
    "8.0-alpha",
    "8.0_beta3",
    "8.0.rc1",
    "8.0-rc10",
    "8.0",
    "8.0.0-d1",
    "8.0-p1",
    "8.0-p1-d3",
    "8.0.1",
    "8.20.0",
    "8.60.11",
    "2026.1.0",
]


@pytest.mark.parametrize(("older", "newer"), list(itertools.pairwise(ASCENDING)))
def test_order(older: str, newer: str) -> None:
    """Versions sort dev < alpha < beta < rc < release < p, numbers by value."""
    assert is_newer(newer, older)
    assert not is_newer(older, newer)


def test_trailing_zeros_do_not_count() -> None:
    """8.0 and 8.0.0 are the same version."""
    assert parse_version("8.0") == parse_version(" 8.0.0 ")


@pytest.mark.parametrize("text", ["", "none", "8.", "8.0-final", "v8"])
def test_refused(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidParameter, match=r"8\.60\.11"):
        parse_version(text)
