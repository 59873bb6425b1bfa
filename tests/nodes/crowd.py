"""A master and any number of nodes in one process: the protocol of production over TLS on loopback, without disks.

Leader, Follower, NodePort, Connector and Link are the real ones. In memory are the journals, and instead of EXAConf a
node only notes which revision it has taken in.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.cluster.following.agent import Agent, Results
from confd.cluster.following.follower import Follower
from confd.cluster.host import Host
from confd.cluster.identity import NodeFiles
from confd.cluster.leading.leader import Leader
from confd.cluster.leading.member import Timing
from confd.cluster.transport.nodeport import Connector, NodePort
from confd.exaconf import Conf, Global, Group, Node, Section, to_stored
from confd.model.secret import Vault
from confd.model.states import NodeState
from confd.store.protocol import Gap, Kind, Position, Record
from confd.store.records import Finished

FIRST: Final = 11
#: Heartbeats would only add to what is counted; a crowd in one process is slower than nodes of their own.
PATIENT: Final = Timing(beat=30.0, offline=120.0, written=60.0)
_WAVE: Final = 50
_TCP_INFO_BYTES_ACKED: Final = 120


class AtOnce(ThreadPoolExecutor):
    """Runs what is given to it at once: without disks there is nothing to wait for in a thread."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it."""
        done: Future[Any] = Future()
        try:
            done.set_result(function(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class MemoryStore:
    """What leader and follower want of a journal, in memory."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._watchers: list[Callable[[Sequence[Record]], None]] = []
        self._lock = threading.Lock()

    def head(self) -> Position:
        """Return the last position."""
        return self._records[-1].position if self._records else Position()

    def leader(self) -> tuple[int, int]:
        """Return term and master."""
        return (1, FIRST)

    def term_at(self, n: int) -> int:
        """There is one term only."""
        return 1 if self._records and n else 0

    def pruned(self) -> int:
        """Nothing is."""
        return 0

    def read(self, after: Position, limit: int = 1_000) -> list[Record]:
        """Return the records after a position; numbers have no gaps."""
        return self._records[after.n : after.n + limit]

    def watch(self, durable: Callable[[Sequence[Record]], None]) -> None:
        """Call back with new records."""
        self._watchers.append(durable)

    def append(self, kind: Kind, key: str, body: Any) -> None:
        """Add a record of the master."""
        encoded = msgspec.Raw(msgspec.json.encode(body))
        self.copy([Record(1, self.head().n + 1, kind, key, time.time(), encoded)])

    def copy(self, records: Sequence[Record]) -> None:
        """Take records in."""
        with self._lock:
            last = len(self._records)
            fresh = [record for record in records if record.n > last]
            if fresh and fresh[0].n != last + 1:
                raise Gap
            self._records += fresh
        for watcher in self._watchers:
            watcher(fresh)


class Noted(msgspec.Struct):
    """Stands for a configuration of which only the revision is known."""

    revision: int = 0


class NodeReplica:
    """Notes which revision its journal holds."""

    def __init__(self, store: MemoryStore, conf: Any) -> None:
        self.conf, self.written = conf, conf.revision
        self._watchers: list[Callable[[], None]] = []
        store.watch(self._take)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call back after a revision."""
        self._watchers.append(changed)

    def take_in(self, records: Callable[[], None]) -> None:
        """Have the journal take in records; there is no file to write."""
        records()

    def _take(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.kind is Kind.FINISHED:
                self.written = msgspec.json.decode(record.body, type=Finished).revision or self.written
        self.conf = self._at(self.written)
        for watcher in self._watchers:
            watcher()

    def _at(self, revision: int) -> Any:
        return Noted(revision)


class MasterReplica(NodeReplica):
    """Holds the configuration as well; what changes it is not taken from the journal."""

    def change(self, *sections: Section) -> None:
        """Have further sections."""
        self.conf = self.conf.with_changes({section.key: section for section in sections}, self.conf.revision)

    def _at(self, revision: int) -> Any:
        return Conf(revision, self.conf.sections)


class Crowd:
    """One master, many nodes."""

    def __init__(self, files: NodeFiles, net: str, port: int, ballast: Sequence[Section] = ()) -> None:
        self._files, self._net, self._port = files, net, port
        self._vault = Vault(bytes(range(32)))
        sections: list[Section] = [Global(cluster_name="crowd", cored_port=port), self._node(FIRST), *ballast]
        self._store = MemoryStore()
        self._replica = MasterReplica(self._store, Conf(1, {section.key: section for section in sections}))
        self._connector = Connector(files.client_tls(), {})
        store, replica = _any(self._store), _any(self._replica)
        self.leader = Leader(FIRST, 1, store, replica, self._connector, PATIENT)
        self._ports: list[NodePort] = []
        asyncio.get_running_loop().set_default_executor(AtOnce())
        self._server_tls = files.server_tls()

    async def grow(self, count: int) -> None:
        """Have so many nodes beside the master, all of them online."""
        while len(self._ports) < count:
            wave = range(len(self._ports), min(count, len(self._ports) + _WAVE))
            for position in wave:
                await self._open(FIRST + 1 + position)
            self._replica.change(*(self._node(FIRST + 1 + position) for position in wave))
            await self.commit()
            while NodeState.OFFLINE in self.leader.states().values():  # noqa: ASYNC110 - has no event
                await asyncio.sleep(0.01)

    async def commit(self) -> float:
        """Commit a small change and return how long it takes until all nodes have it, seconds."""
        revision = self._replica.conf.revision + 1
        group = Group(name="changed", id=revision)
        body = Finished(0, "", revision=revision, changes={group.key: to_stored(group, self._vault)})
        began = time.perf_counter()
        self._store.append(Kind.FINISHED, f"{FIRST}.{revision}", body)
        late = await asyncio.wrap_future(self.leader.written(revision))
        took = time.perf_counter() - began
        assert late == [], f"{len(late)} nodes are late"
        return took

    def sent(self) -> list[int]:
        """Return how many bytes of each link's connection the other side has got."""
        sockets = [link._socket.get_extra_info("socket") for link in self._connector._links.values()]
        return [_acknowledged(one) for one in sockets]

    async def close(self) -> None:
        """Be gone."""
        await self.leader.close()
        await self._connector.close()
        await asyncio.gather(*(port.close() for port in self._ports))

    async def _open(self, node: int) -> None:
        store, root = MemoryStore(), self._files.root
        host = Host(node, self._address(node), root, root, None, (), lambda: self._replica.conf)
        replica = NodeReplica(store, Noted())
        agent = Agent(Results(Path(":memory:")))
        port = NodePort(Follower(host, _any(store), _any(replica), agent, 1.0).methods, lambda uuid: True)
        await port.start(self._address(node), self._port, self._server_tls)
        self._ports.append(port)

    def _node(self, node: int) -> Node:
        return Node(id=node, name=f"n{node}", private_net=f"{self._address(node)}/8", uuid=f"u{node}")

    def _address(self, node: int) -> str:
        return f"{self._net}.{node // 250}.{node % 250 + 1}"


@asynccontextmanager
async def crowd(files: NodeFiles, net: str, port: int, ballast: Sequence[Section] = ()) -> AsyncIterator[Crowd]:
    """Give a crowd for a block; ``net`` is the first half of loopback addresses."""
    made = Crowd(files, net, port, ballast)
    try:
        yield made
    finally:
        await made.close()


def _acknowledged(connection: socket.socket) -> int:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    acknowledged: int = struct.unpack_from("Q", info, _TCP_INFO_BYTES_ACKED)[0]
    return acknowledged


def _any(simulated: Any) -> Any:
    """Pass a simulated part where the real one is declared."""
    return simulated
