"""Archive volumes for tests: shelves of several nodes in directories, which can be taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from confd.model.errors import NodeOffline
from confd.services.archive.archive import Archive
from confd.services.archive.directory import Directory
from confd.services.archive.files import Place, ShelfFiles
from confd.services.archive.layout import Layout, Share

MIB = 1 << 20
STRIPE = 64 << 10


def layout(
    nodes: Iterable[int] = (11,),
    redundancy: int = 1,
    room: int = 24 * MIB,
    partition: int = 4 * MIB,
    stripe: int = STRIPE,
) -> Layout:
    """Return a volume with a share per node; ``room`` is its whole size."""
    known = tuple(nodes)
    shares = [
        Share(room // len(known), tuple(known[(at + copy) % len(known)] for copy in range(redundancy)))
        for at in range(len(known))
    ]
    return Layout(
        id=1, name="Archive1", stripe=stripe, partition=partition, shares=tuple(shares),
        devices=dict.fromkeys(known, ("dev.1",)),
    )  # fmt: skip


class Switch:
    """A shelf whose node can be taken away, at once or after some calls."""

    def __init__(self, shelf: Any, node: int) -> None:
        self.shelf, self.node, self.away = shelf, node, False
        self.calls_left: int | None = None

    def __getattr__(self, name: str) -> Any:
        known = getattr(self.shelf, name)
        return self._guarded(known) if callable(known) else known

    def _guarded(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any) -> Any:
            if self.calls_left is not None:
                self.calls_left -= 1
                self.away = self.away or self.calls_left < 0
            if self.away and act.__name__ != "close":
                raise NodeOffline(f"n{self.node} is away")
            made = act(*args)
            return Switched(self, made) if act.__name__ == "begin" else made

        return guarded


class Switched:
    """A lease on such a shelf."""

    def __init__(self, switch: Switch, lease: Any) -> None:
        self._switch, self._lease = switch, lease

    def __getattr__(self, name: str) -> Any:
        return self._switch._guarded(getattr(self._lease, name))


class Rig:
    """One volume on the directories of some nodes."""

    def __init__(self, base: Path, made: Layout, devices: int = 1) -> None:
        self.layout, self.base = made, base
        self.switches = {node: Switch(self._shelf(node, devices), node) for node in made.nodes}

    def archive(self, node: int = 11) -> Archive:
        """Open the volume from a node."""
        return Archive(node, self.layout, self.switches)  # type: ignore[arg-type]

    def data_files(self, node: int | None = None) -> list[Path]:
        """Return all sealed copies."""
        known = self.base.glob(f"{node or 'n*' if node is None else f'n{node}'}/*/parts/*/*")
        return sorted(path for path in known if path.name.count(".") == 1)

    def everything(self, node: int) -> set[str]:
        """Return the names of all files of a node but its lock."""
        base = self.base / f"n{node}"
        return {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file() and path.name != "lock"}

    def _shelf(self, node: int, devices: int) -> Directory:
        shares = self.layout.shares_of(node)
        places = []
        for number in range(devices):
            directory = self.base / f"n{node}" / f"dev{number}"
            directory.mkdir(parents=True)
            places.append(Place(directory, -(-sum(shares.values()) // devices)))
        return Directory(ShelfFiles(self.layout.name, places, shares))
