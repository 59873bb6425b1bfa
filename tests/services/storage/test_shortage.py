"""When a node is short of storage, and how often that is said."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from confd.exaconf import Conf, ExaStorage, Node
from confd.model.states import DeviceState
from confd.services.storage.shortage import Shortages, shortage
from confd.services.storage.space import DeviceStatus, usable


def conf(own: int | None, cluster: int = 90) -> Conf:
    """A node with a threshold of its own or that of the cluster."""
    node, storage = Node(id=12, space_warn_threshold=own), ExaStorage(space_warn_threshold=cluster)
    return Conf(1, {node.key: node, storage.key: storage})


def device(reserved: int, sectors: int = 1000, state: DeviceState = DeviceState.ONLINE) -> DeviceStatus:
    """A device of which some is used."""
    return DeviceStatus(name="d", disk="disk1", state=state, sector_size=4096, sectors=sectors, reserved=reserved)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 100_000)), max_size=4), st.integers(0, 100))
def test_short_is_who_has_used_as_much_as_the_threshold(parts: list[tuple[int, int]], threshold: int) -> None:
    """Over all devices together; 0 switches it off, and nothing is short of nothing."""
    devices = [device(usable(4096 * sectors) * percent // 100, sectors) for percent, sectors in parts]
    room, used = sum(usable(one.capacity) for one in devices), sum(one.reserved for one in devices)
    short = bool(threshold and room and Fraction(used, room) >= Fraction(threshold, 100))
    assert bool(shortage(conf(threshold), 12, devices)) == short


def test_its_own_threshold_goes_before_that_of_the_cluster() -> None:
    """And the text says how full it is, and what helps; a device that is out of order does not count."""
    half = device(usable(4_096_000) // 2)
    assert shortage(conf(None), 12, [half]) == ""
    text = shortage(conf(40), 12, [half, device(0, 10**6, DeviceState.OFFLINE)])
    assert text.startswith("n12 is short of storage: 50 % of 3.8672 MiB are used, its threshold is 40 %; ")
    assert shortage(conf(None, 50), 12, [half])
    assert shortage(conf(0, 50), 12, [half]) == ""


class Station:
    """A cluster whose node reports what the test says."""

    def __init__(self) -> None:
        self.now, self.told = conf(40), [device(0)]
        self.away = False

    def conf(self) -> Conf:
        return self.now

    def status(self, node: int, service: str) -> Any:
        assert service == "storage"
        return None if self.away else msgspec.to_builtins(self.told)


def test_it_is_logged_once_when_it_begins_and_when_it_ends() -> None:
    """Who falls silent in between is not said to have enough again."""
    station: Any = Station()
    shortages = Shortages(station)

    def logged() -> list[str]:
        with capture_logs() as logs:
            shortages.look()
            shortages.look()
        return [f"{one['log_level']} {one['event']} {one['node']}" for one in logs]

    assert logged() == []
    station.told = [device(4_000_000)]
    assert logged() == ["warning storage_is_short 12"]
    station.away = True
    assert logged() == []
    station.away = False
    assert logged() == []
    station.now = conf(0)
    assert logged() == ["info storage_is_enough_again 12"]
