"""Copies on several nodes: what fails is left out, what is missing is fetched, what is deleted stays deleted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from confd.model.errors import NodeOffline, StorageCorrupted, StorageNotFound
from confd.services.archive.index import Upload
from tests.contract.target import content, get, put
from tests.services.archive.rig import MIB, Rig, layout


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Give three nodes with two copies of everything."""
    return Rig(tmp_path, layout((11, 12, 13), 2))


@pytest.mark.parametrize("calls", [0, 1, 3, 5, 9, 14, 20])
def test_a_node_that_is_lost_while_writing_loses_nothing(rig: Rig, calls: int) -> None:
    """With two copies a file is written to its end, and read, whenever one node goes."""
    data = content(10 * MIB)
    with rig.archive().create("a") as writer:
        rig.switches[12].calls_left = calls
        writer.write(data)
        assert writer.commit().size == len(data)
    assert get(rig.archive(13), "a", MIB) == data


@pytest.mark.parametrize("calls", [0, 1, 3, 5, 9])
def test_losing_the_only_copy_ends_the_writer(tmp_path: Path, calls: int) -> None:
    """With one copy nothing takes the place of a node that had something: NodeOffline, and nothing is listed."""
    rig = Rig(tmp_path, layout((11,), 1))
    with pytest.raises(NodeOffline), rig.archive().create("a") as writer:
        rig.switches[11].calls_left = calls
        writer.write(content(10 * MIB))
        writer.commit()
    rig.switches[11].calls_left, rig.switches[11].away = None, False
    assert rig.archive().files() == []


def test_a_volume_is_used_while_a_node_is_away(rig: Rig) -> None:
    """Writing, listing, reading go on; free space is what the nodes that are there say."""
    put(rig.archive(), "before", content(MIB))
    rig.switches[12].away = True
    archive = rig.archive()
    put(archive, "after", content(9 * MIB, 2))
    assert [file.path for file in archive.files()] == ["after", "before"]
    assert get(archive, "before") == content(MIB)
    assert archive.free() == 24 * MIB - 10 * MIB


def test_what_was_deleted_meanwhile_stays_deleted(rig: Rig) -> None:
    """A node that was away brings no file back, and its space is given back at the next sweep."""
    put(rig.archive(), "a", content(3 * MIB))
    rig.switches[12].away = True
    rig.archive().delete(["a"])
    rig.switches[12].away = False
    archive = rig.archive(12)
    assert archive.files() == []
    with pytest.raises(StorageNotFound):
        archive.open("a")
    put(archive, "a", b"another one")
    archive.sweep()
    assert archive.free() == 24 * MIB - len(b"another one")
    assert get(archive, "a") == b"another one"


def test_no_node_at_all(rig: Rig) -> None:
    """Without any node everything says so."""
    put(rig.archive(), "a", b"x")
    for switch in rig.switches.values():
        switch.away = True
    for act in (lambda it: it.files(), lambda it: it.create("b"), lambda it: it.open("a"), lambda it: it.delete(["a"])):
        with pytest.raises(NodeOffline, match="Archive1"):
            act(rig.archive())


def test_a_damaged_copy_is_replaced_by_the_other(rig: Rig) -> None:
    """Flipped bits, cut files and lost files in one copy are not noticed by who reads, and are marked."""
    data, dice = content(10 * MIB), random.Random(3)
    put(rig.archive(), "a", data, MIB)
    for number, path in enumerate(
        rig.data_files(11) + [path.with_name(path.name + ".crc") for path in rig.data_files(11)]
    ):
        raw = bytearray(path.read_bytes())
        if number % 3 == 0:
            raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        elif number % 3 == 1:
            del raw[dice.randrange(len(raw)) :]
        if number % 3 == 2:
            path.unlink()
        else:
            path.write_bytes(raw)
    assert get(rig.archive(), "a", MIB) == data


def test_damage_in_different_places_of_all_copies_is_read_around(tmp_path: Path) -> None:
    """As long as every stripe is good somewhere, the file is read; a stripe that is bad everywhere ends it."""
    rig = Rig(tmp_path, layout((11, 12), 2))
    data = content(3 * MIB)
    put(rig.archive(), "a", data, MIB)
    first, second = (min(rig.data_files(node)) for node in (11, 12))
    _flip(first, 100)
    _flip(second, 200_000)
    assert get(rig.archive(), "a", MIB) == data
    _flip(second, 101)
    with pytest.raises(StorageCorrupted, match="damaged on n11, n12"):
        get(rig.archive(), "a", MIB)


def test_a_missing_good_copy_is_said_to_be_away(rig: Rig) -> None:
    """Where the good copy is on a node that is away, that node is named."""
    put(rig.archive(), "a", content(MIB))
    for path in rig.data_files(11):
        _flip(path, 5)
    for node in (12, 13):
        rig.switches[node].away = True
    with pytest.raises(NodeOffline, match=r"n1[23]"):
        get(rig.archive(), "a")


def _flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def test_what_only_an_absent_node_has_is_away(tmp_path: Path) -> None:
    """A file says which node has to return before it can be read; it is readable again when the node is back."""
    rig = Rig(tmp_path, layout((11, 12), 1))
    put(rig.archive(11), "a", content(MIB))
    put(rig.archive(12), "b", content(MIB))
    rig.switches[12].away = True
    assert {file.path: file.away for file in rig.archive().files()} == {"a": "", "b": "n12 cannot be reached"}
    with pytest.raises(NodeOffline, match="n12"):
        get(rig.archive(), "b")
    rig.switches[12].away = False
    assert {file.away for file in rig.archive().files()} == {""}


def test_only_new_files_count_as_being_written(tmp_path: Path) -> None:
    """A volume may be deleted while a copy is repaired, but not while a new file comes."""
    shelf = Rig(tmp_path, layout()).switches[11].shelf
    for upload, paths in (
        (Upload(id="1", path="new", nodes=(11,)), ["new"]),
        (Upload(id="2", path="old", nodes=(), repair=True), []),
    ):
        lease = shelf.begin(upload)
        assert shelf.written_paths() == paths
        lease.close()
    assert shelf.written_paths() == []
