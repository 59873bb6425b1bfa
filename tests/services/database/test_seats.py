"""Which nodes have instances; the format of the runtime record."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from confd.exaconf import Database, Volume, VolumeType
from confd.model.sizes import Bytes
from confd.services.database.record import Quorum, Record, Wanted
from confd.services.database.seats import seats

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
        "moves": 1, "quorum": {"standbys": [12, 13], "acks": 1}, "flushed": "", "copies": [11, 12], "rebuild": [],
        "temporary_volume": 1, "operation": "", "guests": [], "leaving": [],
    }  # fmt: skip
    assert msgspec.convert(stored | {"later": 1}, Record) == record
