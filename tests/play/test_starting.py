"""Bringing a play up: what is said when its database cannot be made."""

from __future__ import annotations

from typing import Any

import pytest

from confd.model.errors import InsufficientSpace, TimedOut
from confd.play.parameters import merge
from confd.play.settings import settle
from confd.play.starting import DatabaseGround, make_database, wait_stage


def test_a_cluster_without_its_database_is_named():
    """Who made it learns that it is there, and what can be done about it; the error stays what it was."""
    told: list[str] = []

    def refuse(job: str, params: dict[str, Any]) -> Any:
        raise InsufficientSpace(f"{job} failed: disk1 is full")

    with pytest.raises(InsufficientSpace, match=r"disk1 is full; the cluster runs without .* \(c4 rm\)"):
        make_database(settle(merge({})), "18", DatabaseGround(8 << 30, 8 << 30, 3), refuse, told.append)
    assert told == ["making volume DataVolume1, 4 GiB on each of n11, n12, n13"]


def test_what_is_in_the_way_is_said_once_and_waited_for():
    """A port that was taken may be free by now: the node tries again, and who waits for it hears so and goes on."""
    first, second = "port 20003 is taken", "ssl.crt cannot be read"
    looks = iter([{"n11": first}, {"n11": first, "n12": ""}, {"n11": second, "n12": first}, {"n11": first}, {}])
    said: list[str] = []
    wait_stage(lambda: next(looks), 60, "stage c of play 1", said.append)
    assert said == [
        "waiting for n11, which runs, but serves no clients: port 20003 is taken",
        "waiting for n12, which runs, but serves no clients: port 20003 is taken",
    ]
    with pytest.raises(TimedOut) as late:
        wait_stage(lambda: {"n11": first, "n12": ""}, 0, "stage c of play 1", said.append)
    assert late.value.message.splitlines() == [
        "stage c of play 1 was not reached within 0 s; c4 ps shows how far it is",
        "n11 runs, but serves no clients: port 20003 is taken",
        "it goes on as soon as that is put right",
    ]
    with pytest.raises(TimedOut, match=r"shows how far it is$"):
        wait_stage(lambda: {"n12": ""}, 0, "stage c of play 1", said.append)
