"""Kill -9 of a writer, cut streams, nodes that die: nothing half is listed, no space is lost, nothing waits for ever."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from confd.model.errors import StorageDuplicate
from confd.services.archive.upkeep import Health
from tests.contract.target import content, get, put
from tests.services.archive.network import MIB, Network, network
from tests.services.archive.test_upkeep import View, upkeep
from tests.torture import TORTURE

SIZE = 1_500_000


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    """Give two nodes with two copies of everything."""
    with network(tmp_path, (11, 12), 2, size=96 * MIB) as made:
        yield made


def write_and_kill(net: Network, prefix: str, lines: int) -> list[str]:
    """Have a process write files, kill it after some steps; return the files that it said to be committed."""
    layout = msgspec.json.encode(net.layout).decode()
    command = [sys.executable, "-m", "tests.services.archive.writing", "11", str(net.hosts[11].root), layout, prefix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(lines)]
        process.kill()
        said += [line.strip() for line in process.stdout]
    return [line.split()[1] for line in said if line.startswith("committed ")]


@pytest.mark.parametrize("seed", range(20 if TORTURE else 1))
def test_a_killed_writer_leaves_only_whole_files(net: Network, seed: int) -> None:
    """What was committed is there, at most one file more, all of them whole; the rest of the space is free again."""
    dice = random.Random(seed)
    archive = net.archive()
    done = write_and_kill(net, "a", dice.randrange(1, 40)) + write_and_kill(net, "b", dice.randrange(1, 40))
    archive.sweep()
    files = archive.files()
    assert set(done) <= {file.path for file in files}
    assert len(files) <= len(done) + 2
    for file in files:
        assert get(archive, file.path, MIB) == content(SIZE) * (int(file.path[1:]) % 4)
    assert archive.free() == 96 * MIB - sum(file.size for file in files)
    assert all(not look.left and not look.writing for look in archive.looks().values())


def test_the_other_node_gives_back_at_once_what_a_dead_writer_left(net: Network) -> None:
    """The stream of a writer is its life: when it breaks, the other node frees lock and space without being asked."""
    archive = net.archive()
    writer = archive.create("a")
    writer.write(content(3 * MIB))
    archive.sweep()
    assert archive.looks()[12].writing
    lease = writer._leases[12]
    lease._channel.close()  # type: ignore[attr-defined]
    while archive.looks()[12].used != {0: 0, 1: 0}:
        pass
    assert archive.looks()[11].writing
    archive.sweep()
    writer.write(content(MIB, 2))
    assert writer.commit().size == 4 * MIB
    upkeep(View(net)).tend()
    net.stop(11)
    assert get(net.archive(12), "a", MIB) == content(3 * MIB) + content(MIB, 2)


def test_a_node_that_goes_while_it_gets_a_copy(net: Network) -> None:
    """The writer goes on without it; after its return the copy is made up for."""
    with net.archive().create("a") as writer:
        writer.write(content(2 * MIB))
        net.stop(12)
        writer.write(content(20 * MIB, 2))
        writer.commit()
    net.start(12)
    care = upkeep(View(net))
    care.tend()
    assert care.health("Archive1") == Health()
    assert get(net.archive(12), "a", MIB) == content(2 * MIB) + content(20 * MIB, 2)
    assert net.archive().free() == 96 * MIB - 22 * MIB


def test_a_reader_changes_to_the_other_node(net: Network) -> None:
    """A node that goes while it is read from is replaced by the other."""
    data = content(12 * MIB)
    put(net.archive(), "a", data, MIB)
    far = net.archive(12)
    for path in net.segment(12).glob("parts/*/*"):
        path.unlink()
    put(net.archive(), "b", content(12 * MIB, 2), MIB)
    reader = far.open("a")
    assert reader.read(MIB) == data[:MIB]
    reader.close()
    reader = net.archive(11).open("b")
    first = reader.read(MIB)
    for path in net.segment(11).glob("parts/*/*"):
        path.unlink()
    rest = b"".join(iter(lambda: reader.read(MIB), b""))
    assert first + rest == content(12 * MIB, 2)


def test_the_same_path_twice_at_once(net: Network) -> None:
    """Two writers of one path: the second is refused, from whichever node it comes."""
    with net.archive(11).create("a") as writer:
        with pytest.raises(StorageDuplicate, match="being written"):
            net.archive(12).create("a")
        writer.commit()
    with pytest.raises(StorageDuplicate, match="has a file a"):
        net.archive(12).create("a")
