"""Opening an archive volume from a node, in its daemon or in a process of its own."""

from __future__ import annotations

from pathlib import Path

from confd.cluster.host import Host
from confd.cluster.identity import NodeFiles
from confd.cluster.transport.stream_client import ClientChannel, StreamClient
from confd.exaconf import Conf
from confd.model.errors import Internal, NodeOffline, StorageError
from confd.services.archive.archive import Archive
from confd.services.archive.directory import Directory
from confd.services.archive.files import Place, ShelfFiles
from confd.services.archive.layout import Layout
from confd.services.archive.remote import STREAM, RemoteShelf
from confd.services.archive.shelf import Shelf
from confd.services.storage.places import SEGMENTS, device_home
from confd.services.storage.superblock import read_allocation


def open_archive(node: int, root: Path, layout: Layout) -> Archive:
    """Open a volume from a node with its root directory; nothing is read or connected yet but the local devices."""
    client = StreamClient(NodeFiles(root))
    shelves: dict[int, Shelf] = {
        other: local_shelf(node, root, layout) if other == node else _remote_shelf(client, other, layout)
        for other in layout.nodes
    }
    return Archive(node, layout, shelves)


def local_shelf(node: int, root: Path, layout: Layout) -> Directory:
    """Return this node's own shelf; one without any usable device refuses everything."""
    return Directory(local_files(node, root, layout))


def local_files(node: int, root: Path, layout: Layout) -> ShelfFiles:
    """Return the files of this node's own shelf."""
    places = [place for device in layout.devices.get(node, ()) if (place := _place(node, root, device, layout.id))]
    return ShelfFiles(layout.name, places, layout.shares_of(node))


def _remote_shelf(client: StreamClient, node: int, layout: Layout) -> RemoteShelf:
    def connect() -> ClientChannel:
        if node not in layout.addresses:
            raise NodeOffline(f"n{node} is not a node of the cluster any longer")
        return client.connect(layout.addresses[node], layout.port, STREAM)

    return RemoteShelf(layout, connect)


def _place(node: int, root: Path, device: str, vid: int) -> Place | None:
    host = Host(node, "", root, root, None, (), _no_conf)
    try:
        home = device_home(host, device)
        allocated = read_allocation(home).segments.get(vid)
    except (StorageError, OSError):
        return None
    directory = home / SEGMENTS / str(vid)
    return Place(directory, allocated.size if allocated else None) if directory.is_dir() else None


def _no_conf() -> Conf:
    raise Internal("an archive volume is opened from its layout, not from the configuration")
