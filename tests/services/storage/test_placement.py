"""Placement keeps its invariants for every shape of volume and every set of devices."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.exaconf import VolumeType
from confd.model.errors import InsufficientSpace
from confd.model.states import DeviceState, SegmentType
from confd.services.storage.placement import Shape, needs, place, segments
from confd.services.storage.space import DeviceStatus

GIB = 2**30


def _shape(kind: str, size: int, nodes: int, masters: int, redundancy: int, block: int = 4096) -> Shape:
    ids = tuple(range(11, 11 + nodes))
    return Shape(type=VolumeType(kind), size=size, nodes=ids, masters=masters, redundancy=redundancy, block_size=block)


@st.composite
def shapes(draw: st.DrawFn, kinds: tuple[str, ...] = ("data", "archive")) -> Shape:
    """Any shape that jobs accept."""
    nodes = draw(st.integers(1, 8))
    return _shape(
        draw(st.sampled_from(kinds)),
        draw(st.integers(1, 2**40)),
        nodes,
        draw(st.integers(1, nodes)),
        draw(st.integers(1, nodes)),
        draw(st.sampled_from([512, 4096, 65536, 524288])),
    )


def _device(number: int, sectors: int, reserved: int = 0, state: DeviceState = DeviceState.ONLINE) -> DeviceStatus:
    return DeviceStatus(
        name=f"/exa/data/storage/dev.{number}", disk="disk1", state=state, sector_size=4096, sectors=sectors,
        reserved=reserved,
    )  # fmt: skip


devices = st.lists(
    st.builds(
        _device,
        st.integers(1, 9),
        st.integers(0, 2**28),
        st.integers(0, 2**40),
        st.sampled_from([DeviceState.ONLINE, DeviceState.ONLINE, DeviceState.OFFLINE]),
    ),
    max_size=4,
    unique_by=lambda device: device.name,
)


@given(shapes(("archive",)))
def test_archive_masters_cover_every_block_once(shape: Shape) -> None:
    """The shares follow each other without gap or overlap, and are of even size."""
    masters = [part for part in segments(shape) if part.type is SegmentType.MASTER]
    assert len(masters) == shape.masters
    assert masters[0].start == 0
    assert masters[-1].end == shape.blocks - 1
    assert all(one.end + 1 == two.start for one, two in pairwise(masters))
    assert max(part.blocks for part in masters) - min(part.blocks for part in masters) <= 1


@given(shapes(("archive",)))
def test_copies_of_a_share_lie_on_different_nodes(shape: Shape) -> None:
    """Losing a node loses at most one copy of each share."""
    for index in range(shape.masters):
        copies = [part for part in segments(shape) if part.index == index]
        assert len({part.node for part in copies}) == len(copies) == shape.redundancy
        assert len({(part.start, part.end) for part in copies}) == 1


@given(shapes(("data",)))
def test_a_data_volume_is_whole_on_each_node(shape: Shape) -> None:
    """Each node has all blocks; the first ones are masters."""
    parts = segments(shape)
    assert [part.node for part in parts] == list(shape.nodes)
    assert all((part.start, part.end) == (0, shape.blocks - 1) for part in parts)
    assert [part.type for part in parts].count(SegmentType.MASTER) == shape.masters


@given(shapes())
def test_needs_are_the_copies(shape: Shape) -> None:
    """All nodes together need the size once per copy, up to the filling of blocks."""
    copies = len(shape.nodes) if shape.type is VolumeType.DATA else shape.redundancy
    assert sum(needs(shape).values()) == copies * shape.blocks * shape.block_size
    assert 0 <= shape.blocks * shape.block_size - shape.size < shape.block_size


@given(shapes(), st.data())
def test_a_plan_fits(shape: Shape, data: st.DataObject) -> None:
    """Extents add up to what a node needs and stay within what each device has free; otherwise nothing is planned."""
    there = {node: data.draw(devices) for node in shape.nodes}
    try:
        plan = place(shape, "disk1", there)
    except InsufficientSpace as error:
        assert any(f"disk disk1 of n{node} has" in error.message for node in shape.nodes)
        return
    for node, wanted in needs(shape).items():
        extents = plan.get(node, [])
        free = {device.name.rpartition("/")[2]: device.free for device in there[node]}
        assert sum(extent.size for extent in extents) == wanted
        assert all(0 < extent.size <= free[extent.device] for extent in extents)
        assert len({extent.device for extent in extents}) == len(extents)
        assert shape.type is VolumeType.ARCHIVE or len(extents) == 1


@given(shapes(("archive",)), st.data())
def test_what_fits_is_placed(shape: Shape, data: st.DataObject) -> None:
    """An archive volume is refused only when a node really has less than it needs."""
    there = {node: data.draw(devices) for node in shape.nodes}
    fits = all(sum(device.free for device in there[node]) >= wanted for node, wanted in needs(shape).items())
    if fits:
        place(shape, "disk1", there)
    else:
        with pytest.raises(InsufficientSpace):
            place(shape, "disk1", there)


def test_two_sites() -> None:
    """With nodes enough the copies lie on the nodes without masters."""
    parts = segments(_shape("archive", GIB, 4, 2, 2))
    assert [(part.index, part.node, str(part.type)) for part in parts] == [
        (0, 11, "MASTER"), (1, 12, "MASTER"), (0, 13, "REDUNDANT"), (1, 14, "REDUNDANT")
    ]  # fmt: skip


def test_neighbours_hold_the_copies() -> None:
    """With as many masters as nodes the next node has the copy."""
    parts = segments(_shape("archive", GIB, 3, 3, 2))
    assert [part.node for part in parts if part.type is SegmentType.REDUNDANT] == [12, 13, 11]


def test_ten_gib_are_the_documented_blocks() -> None:
    """10 GiB at 4 KiB end at block 2621439."""
    (part,) = segments(_shape("data", 10 * GIB, 1, 1, 1))
    assert (part.start, part.end) == (0, 2621439)


def test_the_message_tells_everything() -> None:
    """Node, disk, what is free and what is needed are named; a data volume that only fits in pieces says so."""
    small = {11: [_device(1, 1000)], 12: []}
    with pytest.raises(InsufficientSpace, match=r"disk1 of n11 has 3\.8672 MiB free, needed are 1 GiB; delete"):
        place(_shape("data", GIB, 2, 2, 1), "disk1", small)
    two = {11: [_device(1, 200_000), _device(2, 200_000)]}
    with pytest.raises(InsufficientSpace, match=r"on one device 773.* MiB; a data volume needs"):
        place(_shape("data", GIB, 1, 1, 1), "disk1", two)
    assert [extent.device for extent in place(_shape("archive", GIB, 1, 1, 1), "disk1", two)[11]] == ["dev.1", "dev.2"]
