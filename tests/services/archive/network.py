"""Nodes that serve their shelves over real node ports, for tests: in this process or one that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from confd.cluster.certificates import new_authority, new_member
from confd.cluster.host import Host
from confd.cluster.identity import NodeFiles, write_private
from confd.cluster.transport.nodeport import NodePort
from confd.exaconf import Conf, Disk, Global, Node, Section, Volume, VolumeType
from confd.model.sizes import Bytes
from confd.services.archive import serving
from confd.services.archive.archive import Archive
from confd.services.archive.layout import Layout, layout_of
from confd.services.archive.opening import open_archive
from confd.services.storage.description import shape_of
from confd.services.storage.devices import NewDevice, add_device, device_status
from confd.services.storage.placement import place
from confd.services.storage.segments import create_segment

assert serving.STREAM
MIB = 1 << 20
ADDRESS = "127.0.78.{}"


class Network:
    """A volume over some nodes, each with a root, certificates and a node port."""

    def __init__(
        self, base: Path, nodes: tuple[int, ...] = (11, 12), redundancy: int = 2, size: int = 24 * MIB
    ) -> None:
        self.base, self.nodes = base, nodes
        self.port = _free_port([ADDRESS.format(node) for node in nodes])
        self.conf = self._conf(redundancy, size)
        self.hosts = {node: self._host(node) for node in nodes}
        self.ports: dict[int, ServedPort] = {}
        self._make_certificates()
        self._make_segments()

    @property
    def layout(self) -> Layout:
        """The layout of the volume."""
        return layout_of(self.conf, "Archive1")

    def archive(self, node: int = 11) -> Archive:
        """Open the volume from a node."""
        return open_archive(node, self.hosts[node].root, self.layout)

    def start(self, node: int) -> None:
        """Open the port of a node."""
        files = NodeFiles(self.hosts[node].root)
        self.ports[node] = ServedPort(self.hosts[node], files, self.port)

    def stop(self, node: int) -> None:
        """Close the port of a node; connections break."""
        self.ports.pop(node).close()

    def close(self) -> None:
        """Close all ports."""
        for node in list(self.ports):
            self.stop(node)

    def segment(self, node: int) -> Path:
        """Return the segment directory of a node."""
        return self.hosts[node].root / "data/storage/dev.1/segments/1"

    def _conf(self, redundancy: int, size: int) -> Conf:
        made: list[Section] = [Global(cluster_name="test", cored_port=self.port)]
        for node in self.nodes:
            disks = {"disk1": Disk(name="disk1", devices=("dev.1",))}
            made.append(Node(id=node, name=f"n{node}", private_net=f"{ADDRESS.format(node)}/24", disks=disks))
        volume = Volume(
            name="Archive1", type=VolumeType.ARCHIVE, size=Bytes(size), disk="disk1", nodes=self.nodes,
            redundancy=redundancy, id=1, partition_size=Bytes(4 * MIB),
        )  # fmt: skip
        made.append(volume)
        return Conf(1, {section.key: section for section in made})

    def _host(self, node: int) -> Host:
        root = self.base / f"n{node}"
        root.mkdir()
        return Host(node, ADDRESS.format(node), root, self.base, None, (), lambda: self.conf)

    def _make_certificates(self) -> None:
        authority = new_authority("test")
        for node, host in self.hosts.items():
            files = NodeFiles(host.root)
            member = new_member(authority, f"U{node}", [host.address])
            write_private(files.ca, authority.certificate_pem)
            write_private(files.certificate, member.certificate_pem)
            write_private(files.key, member.key_pem)

    def _make_segments(self) -> None:
        volume = self.conf.volumes["Archive1"]
        for node, host in self.hosts.items():
            add_device.function(
                host, NewDevice(name="dev.1", disk="disk1", uuid=f"u{node}", sectors=(128 * MIB) // 4096)
            )
        devices = {node: device_status.function(host) for node, host in self.hosts.items()}
        for node, extents in place(shape_of(volume), "disk1", devices).items():
            create_segment.function(self.hosts[node], "Archive1", 1, "11.1", extents)


class ServedPort:
    """A node port in a thread of its own."""

    def __init__(self, host: Host, files: NodeFiles, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._port = NodePort({}, lambda uuid: uuid.startswith("U"), host)
        self._do(self._port.start(host.address, port, files.server_tls()))

    def close(self) -> None:
        """Close the port and its loop."""
        self._do(self._port.close())
        self._do(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)  # type: ignore[arg-type]


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextlib.contextmanager
def network(
    base: Path, nodes: tuple[int, ...] = (11, 12), redundancy: int = 2, size: int = 24 * MIB
) -> Iterator[Network]:
    """Serve a volume for a block, from all nodes."""
    made = Network(base, nodes, redundancy, size)
    try:
        for node in nodes:
            made.start(node)
        yield made
    finally:
        made.close()


def _free_port(addresses: list[str]) -> int:
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind((addresses[0], 0))
            port = int(first.getsockname()[1])
            try:
                for address in addresses[1:]:
                    stack.enter_context(socket.socket()).bind((address, port))
            except OSError:
                continue
            return port
