"""Volumes keep their invariants whatever nodes and copies they get or lose."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.exaconf import Volume, VolumeType
from confd.model.errors import ConfDError, InvalidParameter, StorageDuplicate, StorageNotFound, Unsupported
from confd.model.sizes import Bytes
from confd.services.storage.reshaping import (
    appended,
    check_data,
    decreased,
    exchanged,
    increased,
    moved,
    redundant_nodes,
)

IDS = tuple(range(11, 20))
ids = st.sampled_from(IDS)
lists = st.lists(ids, unique=True, max_size=5)


def _volume(nodes: tuple[int, ...] = (11, 12, 13), masters: int = 1, redundancy: int = 2) -> Volume:
    return Volume(
        name="V1", type=VolumeType.DATA, size=Bytes(2**30), disk="disk1", nodes=nodes, num_master_nodes=masters,
        redundancy=redundancy, id=0,
    )  # fmt: skip


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Any data volume that jobs make."""
    nodes = tuple(draw(st.lists(ids, unique=True, min_size=1, max_size=6)))
    masters, redundancy = (draw(st.integers(1, len(nodes))) for _ in range(2))
    return _volume(nodes, masters, redundancy)


def _check(volume: Volume) -> None:
    assert len(set(volume.nodes)) == len(volume.nodes)
    assert 1 <= volume.redundancy <= len(volume.nodes)
    assert volume.num_master_nodes <= len(volume.nodes)


@given(volumes(), st.data())
def test_any_sequence_keeps_the_invariants(volume: Volume, data: st.DataObject) -> None:
    """Enough nodes for masters and copies; only moves and decreases take nodes away, never a master's by decrease."""
    steps: list[Any] = [
        lambda: appended(volume, data.draw(st.integers(1, 4)), data.draw(lists)),
        lambda: increased(volume, data.draw(st.integers(1, 3)), data.draw(lists)),
        lambda: decreased(volume, data.draw(st.integers(1, 3)), data.draw(st.none() | ids), data.draw(lists)),
        lambda: moved(volume, dict(zip(data.draw(lists), data.draw(lists), strict=False))),
    ]
    for _ in range(5):
        kind = data.draw(st.integers(0, 3))
        try:
            after = steps[kind]()
        except ConfDError:
            continue
        _check(after)
        if kind < 2:
            assert after.nodes[: len(volume.nodes)] == volume.nodes
        if kind == 2:
            assert after.nodes[: volume.num_master_nodes] == volume.nodes[: volume.num_master_nodes]
            assert len(volume.nodes) - len(after.nodes) <= volume.redundancy - after.redundancy
        if kind == 3:
            assert len(after.nodes) == len(volume.nodes)
        volume = after


@given(lists, st.dictionaries(ids, ids, max_size=3))
def test_nodes_take_places(nodes: list[int], pairs: dict[int, int]) -> None:
    """Who comes has the place of who goes; who was there already changes places; nobody is twice."""
    if len(set(pairs.values())) < len(pairs) or set(pairs) & set(pairs.values()):
        return
    after = exchanged(nodes, pairs)
    assert len(set(after)) == len(after) == len(nodes)
    for source, target in pairs.items():
        if source in nodes:
            assert after[nodes.index(source)] == target
            assert (source in after) == (target in nodes)


def test_append_puts_new_nodes_last() -> None:
    """Present copies keep their order, which decides where further copies of a database lie."""
    after = appended(_volume(), 2, [15, 14])
    assert (after.nodes, after.num_master_nodes, after.redundancy) == ((11, 12, 13, 15, 14), 3, 2)


def test_decrease_frees_from_the_end() -> None:
    """The last redundancy segments go; a node with clients, and one with a master, keeps its own."""
    assert decreased(_volume(redundancy=3), 2, None, [11]).nodes == (11,)
    assert decreased(_volume(redundancy=3), 1, 12, [11]).nodes == (11, 13)
    assert decreased(_volume(redundancy=3), 1, None, [11, 13]).nodes == (11, 13)
    assert decreased(_volume(masters=3), 1, None, []).nodes == (11, 12, 13)
    assert redundant_nodes(_volume(masters=2), [13]) == ()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda v: appended(v, 1, [14]), InvalidParameter, "node_ids: volume V1 has redundancy 2, so at least as many"),
        (lambda v: appended(v, 3, [14, 15]), InvalidParameter, "node_num: 3 nodes are to be appended, node_ids has 2"),
        (lambda v: appended(v, 1, [12, 14]), StorageDuplicate, "n12 is part of volume V1 already"),
        (lambda v: moved(v, {14: 15}), StorageNotFound, "n14 has no segment of volume V1; it has n11, n12, n13"),
        (lambda v: moved(v, {11: 12}), StorageDuplicate, "n12 is part of volume V1"),
        (lambda v: increased(v, 2, []), InvalidParameter, "delta: redundancy 4 needs as many nodes, volume V1 has 3"),
        (lambda v: decreased(v, 2, None, []), InvalidParameter, "delta: volume V1 has redundancy 2, so at most 1"),
        (lambda v: decreased(v, 1, 11, []), InvalidParameter, "nid: n11 has no redundancy segment .* n12, n13"),
        (lambda v: decreased(v, 1, 12, [12]), InvalidParameter, "nid: n12 has no redundancy segment .* on n13"),
    ],
)  # fmt: skip
def test_impossible_changes_say_what_is_wrong(change: Any, error: type[Exception], message: str) -> None:
    """The parameter and the numbers are named."""
    with pytest.raises(error, match=message):
        change(_volume())


def test_copies_are_a_multiple_of_the_masters() -> None:
    """Nodes for further copies come one for each master node."""
    with pytest.raises(InvalidParameter, match="nodes: volume V1 has 2 master nodes; give no nodes, or a multiple of"):
        increased(_volume(masters=2), 1, [14])
    assert increased(_volume(masters=2), 1, [14, 15]).nodes == (11, 12, 13, 14, 15)


def test_archive_volumes_are_refused() -> None:
    """Files of archive volumes stay where they are, and the error says what to do instead."""
    archive = Volume(name="A", type=VolumeType.ARCHIVE, size=Bytes(1), disk="d", nodes=(11,))
    with pytest.raises(Unsupported, match="create another archive volume"):
        check_data(archive)
