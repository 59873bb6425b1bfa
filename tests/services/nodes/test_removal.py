"""What becomes of volumes and databases when nodes leave for good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.exaconf import Conf, Database, Volume, VolumeType
from confd.model.errors import InUse, WrongState
from confd.model.sizes import Bytes
from confd.services.database.record import Move, Quorum, Record
from confd.services.nodes.removal import (
    check_copies,
    check_primary,
    check_unused,
    database_without,
    volume_without,
    without_node,
)

NODES = st.lists(st.integers(11, 18), min_size=1, max_size=6, unique=True)
GONE = st.sets(st.integers(11, 18), min_size=1, max_size=4)


def volume(nodes: list[int], redundancy: int = 1, kind: VolumeType = VolumeType.DATA, masters: int = 1) -> Volume:
    """Make a volume."""
    return Volume(
        name="V", type=kind, size=Bytes(1 << 20), disk="disk1", nodes=tuple(nodes), redundancy=redundancy,
        num_master_nodes=masters, id=0,
    )  # fmt: skip


def database(nodes: list[int], active: int) -> Database:
    """Make a database."""
    return Database(
        name="DB", id="x", version="18", mem_size=Bytes(1 << 30), nodes=tuple(nodes), num_active_nodes=active,
        data_volume="V", port=8563, default_sys_passwd_hash="x",
    )  # fmt: skip


@given(NODES, GONE, st.data())
def test_volumes_keep_a_copy(nodes: list[int], gone: set[int], data: st.DataObject) -> None:
    """What is left is in its old order and fits its nodes; a volume without another node is refused."""
    redundancy = data.draw(st.integers(1, len(nodes)))
    before = volume(nodes, redundancy, masters=data.draw(st.integers(1, len(nodes))))
    if set(nodes) <= gone:
        with pytest.raises(WrongState, match="all that there is of volume V"):
            volume_without(before, gone)
        return
    after = volume_without(before, gone)
    assert list(after.nodes) == [node for node in nodes if node not in gone]
    assert 1 <= after.redundancy <= min(redundancy, len(after.nodes))
    assert 1 <= after.num_master_nodes <= len(after.nodes)
    assert (after == before) == (not gone & set(nodes))


@given(NODES, GONE, st.data())
def test_databases_keep_their_active_nodes_while_reserves_last(
    nodes: list[int], gone: set[int], data: st.DataObject
) -> None:
    """Each lost active node is replaced by a reserve node that can take over; only then there is one less."""
    active = data.draw(st.integers(1, len(nodes)))
    before = database(nodes, active)
    ready = data.draw(st.permutations([node for node in nodes if node not in gone]))
    if set(nodes) <= gone:
        with pytest.raises(WrongState, match="db_delete"):
            database_without(before, gone, ready)
        return
    after = database_without(before, gone, ready)
    assert set(after.nodes) == set(nodes) - gone
    assert after.num_active_nodes == min(active, len(after.nodes))
    kept = set(before.active_nodes) - gone
    assert kept <= set(after.active_nodes)


def test_an_archive_volume_keeps_a_copy_of_each_file() -> None:
    """Of every share that loses a node another one must be online and whole; other shares do not matter."""
    archive = volume([11, 12, 13], 2, VolumeType.ARCHIVE, masters=3)
    check_copies(archive, {12}, {11, 13})
    check_copies(archive, {14}, set())
    for whole in ({11}, {13}, set()):
        with pytest.raises(WrongState, match=r"n12 may have the only copy of files of archive volume V"):
            check_copies(archive, {12}, whole)
    with pytest.raises(WrongState):
        check_copies(archive, {12, 13}, {11})
    with pytest.raises(WrongState):
        check_copies(volume([11, 12], 1, VolumeType.ARCHIVE, masters=2), {12}, {11})


def test_the_newest_data_stays() -> None:
    """The primary's node only goes where the running database can move away from it, or has no data yet."""
    holds = Record(primary=12, system_id="s", volume="V")
    check_primary(database([11, 12], 2), holds, [11], [])
    check_primary(database([11, 12], 2), holds, [12], [12])
    check_primary(database([11, 12], 2), Record(primary=12), [12], [])
    with pytest.raises(WrongState, match="n12 holds the newest data of database DB"):
        check_primary(database([11, 12], 2), holds, [12], [])


def test_users_are_named() -> None:
    """What keeps a node from going is in the message, with the jobs that help."""
    sections = [volume([11, 12]), database([12, 13], 1)]
    conf = Conf(1, {section.key: section for section in sections})
    check_unused(conf, [14])
    with pytest.raises(InUse, match=r"n12 is in use by volume V, database DB; move it away.*force"):
        check_unused(conf, [12])


def test_records_forget_nodes() -> None:
    """Nothing in the record of a database names a node that is gone, but for what commits were promised."""
    record = Record(copies=(11, 12), suspended=(12, 13), moving=(Move(12, 13, 0.0),), quorum=Quorum((12, 13), 1))
    after = without_node(record, [12])
    assert after == Record(copies=(11,), suspended=(13,), quorum=Quorum((12, 13), 1))
