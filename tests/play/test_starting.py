"""Bringing a play up: what is said when its database cannot be made."""

from __future__ import annotations

from typing import Any

import pytest

from confd.model.errors import InsufficientSpace
from confd.play.parameters import merge
from confd.play.settings import settle
from confd.play.starting import DatabaseGround, make_database


def test_a_cluster_without_its_database_is_named():
    """Who made it learns that it is there, and what can be done about it; the error stays what it was."""
    told: list[str] = []

    def refuse(job: str, params: dict[str, Any]) -> Any:
        raise InsufficientSpace(f"{job} failed: disk1 is full")

    with pytest.raises(InsufficientSpace, match=r"disk1 is full; the cluster runs without .* \(c4 rm\)"):
        make_database(settle(merge({})), "18", DatabaseGround(8 << 30, 8 << 30, 3), refuse, told.append)
    assert told == ["making volume DataVolume1, 4 GiB on each of n11, n12, n13"]
