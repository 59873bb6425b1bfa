"""Which nodes have instances; the format of the runtime record."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from confd.exaconf import Database, Volume, VolumeType
from confd.model.sizes import Bytes
from confd.services.database.planning.seats import behind, seats, with_guests
from confd.services.database.planning.situation import Spec
from confd.services.database.record import Quorum, Record, Wanted

NODES = (11, 12, 13, 14)


@given(st.integers(1, 4), st.integers(1, 4), st.permutations(NODES))
def test_seats(active: int, redundancy: int, order: list[int]) -> None:
    """As many instances as copies are asked for, active nodes first, only nodes of the volume beside them."""
    nodes = tuple(order)
    database = Database(
        name="d", id="", version="18", mem_size=Bytes(1), nodes=nodes, num_active_nodes=active, data_volume="v"
    )
    volume = Volume(
        name="v", type=VolumeType.DATA, size=Bytes(1), disk="disk1", nodes=NODES, redundancy=redundancy, id=0
    )
    spec = seats(database, volume)
    assert spec.active == nodes[:active]
    assert len(spec.nodes) == max(active, redundancy)
    assert len(set(spec.nodes)) == len(spec.nodes)
    assert spec.redundancy == redundancy


def test_record_format() -> None:
    """The stored form stays readable: known fields keep their names, unknown ones are ignored."""
    record = Record(
        wanted=Wanted.RUNNING, since=1.5, settled=True, generation="g", next_generation="h", volume="v",
        system_id="s", primary=11, timeline=2, moves=1, quorum=Quorum((12, 13), 1), copies=(11, 12), temporary_volume=1,
    )  # fmt: skip
    stored = msgspec.json.decode(msgspec.json.encode(record))
    assert stored == {
        "wanted": "running", "since": 1.5, "maintenance": False, "settled": True, "generation": "g",
        "next_generation": "h", "create_new": False, "volume": "v", "system_id": "s", "primary": 11, "timeline": 2,
        "moves": 1, "quorum": {"standbys": [12, 13], "acks": 1}, "flushed": "", "copies": [11, 12],
        "temporary_volume": 1, "operation": "", "promoting": False, "place": None, "suspended": [], "vouched": [],
        "accept_loss": False, "moving": [], "guests": [], "leaving": [],
        "backup": None, "last": None, "lineage": [], "restore": None, "virtual": None, "aborted": "",
    }  # fmt: skip
    assert msgspec.convert(stored | {"later": 1}, Record) == record


nodes = st.sets(st.sampled_from((11, 12, 13, 14, 15)))


@given(nodes, nodes, nodes, st.integers(1, 5))
def test_guests_come_and_leaving_nodes_go(active: set[int], guests: set[int], leaving: set[int], wanted: int) -> None:
    """While copies move, guests have a seat and leaving nodes have none; a commit never asks for more than there are."""
    spec = Spec(tuple(active), (), min(wanted, len(active)))
    record = Record(guests=tuple(guests), leaving=tuple(leaving))
    after = with_guests(spec, record, wanted)
    assert set(after.nodes) == (active | guests) - leaving
    assert len(set(after.nodes)) == len(after.nodes)
    assert after.redundancy == min(wanted, len(after.nodes))
    assert set(after.active) == active - leaving
    assert with_guests(spec, Record(), wanted) == spec


def test_behind_is_what_commits_do_not_count() -> None:
    """A copy is behind until commits can wait for it, or until it was there once where none are waited for."""
    record = Record(primary=11, quorum=Quorum((12,), 1), copies=(11, 13))
    assert behind(Spec((11, 12, 13), (), 2), record) == (13,)
    assert behind(Spec((11, 12, 13), (), 1), record) == (12,)
