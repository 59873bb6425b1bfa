"""Random histories: whatever nodes, writers and disks do, committed files with a good copy are read as they were."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from confd.model.errors import ConfDError, NodeOffline
from confd.services.archive.repair import _clear, _fetch_all
from confd.services.archive.survey import lacks
from tests.contract.target import content, get
from tests.services.archive.rig import Rig, layout

NODES = (11, 12, 13)
PATHS = ("a", "b", "c")
SIZES = (0, 5_000, 70_000, 200_000)
ROOM = 3 * 600_000

STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(PATHS), st.sampled_from(SIZES), st.sampled_from(NODES)),
    st.tuples(st.just("write_losing"), st.sampled_from(PATHS), st.sampled_from(NODES), st.integers(0, 12)),
    st.tuples(st.just("abandon"), st.sampled_from(PATHS), st.sampled_from(SIZES)),
    st.tuples(st.just("delete"), st.sampled_from(PATHS)),
    st.tuples(st.just("away"), st.sampled_from(NODES)),
    st.tuples(st.just("back"), st.sampled_from(NODES)),
    st.tuples(st.just("damage"), st.integers(0, 1000)),
    st.tuples(st.just("sweep")),
    st.tuples(st.just("repair")),
)


class History:
    """A volume with two copies of which at most one node is away, and at most one copy of a part is damaged."""

    def __init__(self, base: Path) -> None:
        self.rig = Rig(base, layout(NODES, 2, room=ROOM, partition=100_000, stripe=4096))
        self.files: dict[str, bytes] = {}
        self.seed = 0

    def step(self, name: str, *given: Any) -> None:
        """Do one step."""
        act: Callable[..., None] = getattr(self, name)
        act(*given)
        self.check()

    def write(self, path: str, size: int, node: int) -> None:
        """Write a file, from a node."""
        if path not in self.files and not self.rig.switches[node].away:
            self._write(path, size, node)

    def write_losing(self, path: str, node: int, calls: int) -> None:
        """Write a file while a node is lost, unless one is away."""
        if path in self.files or self._away():
            return
        self.rig.switches[node].calls_left = calls
        self._write(path, 250_000, 11 if node != 11 else 12)
        self.rig.switches[node].calls_left = None

    def abandon(self, path: str, size: int) -> None:
        """Die while writing: locks go, all else stays."""
        if path in self.files:
            return
        writer = self.rig.archive().create(path)
        writer.write(content(size))
        for lease in writer._leases.values():
            lease._lease._lock.close()  # type: ignore[attr-defined]

    def delete(self, path: str) -> None:
        """Delete a file."""
        self.rig.archive().delete([path])
        self.files.pop(path, None)

    def away(self, node: int) -> None:
        """Take a node away, if everything has its copies on the others."""
        if not self._away():
            self.repair()
            self.rig.switches[node].away = True

    def back(self, node: int) -> None:
        """Let a node return."""
        self.rig.switches[node].away = False
        self.repair()

    def damage(self, number: int) -> None:
        """Flip a bit of one copy, if all others are there and good."""
        if self._away():
            return
        self.repair()
        known = [path for path in self.rig.data_files() if path.stat().st_size]
        if known:
            path = known[number % len(known)]
            raw = bytearray(path.read_bytes())
            raw[number % len(raw)] ^= 1
            path.write_bytes(raw)
            self.check()
            self.repair()

    def sweep(self) -> None:
        """Give back what the dead left."""
        self.rig.archive().sweep()

    def repair(self) -> None:
        """Have every node that is there put its shelf right."""
        for node in NODES:
            if not self.rig.switches[node].away:
                archive, shelf = self.rig.archive(node), self.rig.switches[node].shelf
                looks = archive.looks()
                _clear(archive, shelf, node, looks)
                done = _fetch_all(archive, shelf, node, lacks(archive.layout, looks, node), 60.0, None)
                assert done.missing == 0, done

    def check(self) -> None:
        """Every file is there and whole, seen from every node."""
        for node in NODES:
            if not self.rig.switches[node].away:
                archive = self.rig.archive(node)
                assert [file.path for file in archive.files()] == sorted(self.files)
                for path, data in self.files.items():
                    assert get(archive, path) == data

    def end(self) -> None:
        """With all nodes there, every byte is accounted for, on every node."""
        for switch in self.rig.switches.values():
            switch.away = False
        self.repair()
        self.sweep()
        self.check()
        used = sum(map(len, self.files.values()))
        assert self.rig.archive().free() == ROOM - used
        assert sum(sum(look.used.values()) for look in self.rig.archive().looks().values()) == 2 * used

    def _write(self, path: str, size: int, node: int) -> None:
        self.seed += 1
        data = content(size, self.seed)
        try:
            with self.rig.archive(node).create(path) as writer:
                writer.write(data)
                writer.commit()
        except NodeOffline:
            raise AssertionError("a second copy was there") from None
        except ConfDError:
            return
        self.files[path] = data

    def _away(self) -> bool:
        return any(switch.away for switch in self.rig.switches.values())


@given(st.lists(STEPS, max_size=12))
@settings(max_examples=settings().max_examples // 4)
def test_histories(steps: list[tuple[Any, ...]]) -> None:
    """After any history the volume holds exactly what was committed and not deleted."""
    base = Path(tempfile.mkdtemp(prefix="archive-"))
    try:
        history = History(base)
        for name, *given_ in steps:
            history.step(name, *given_)
        history.end()
    finally:
        shutil.rmtree(base)
