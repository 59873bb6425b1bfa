"""Daemons as far as they decide who is master: real journals and followers, without what a master does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confd.cluster.following.agent import Agent, Results
from confd.cluster.following.follower import Follower
from confd.cluster.host import Host
from confd.daemon.succession import Succession
from confd.exaconf import Conf, Global, Node, Section
from confd.model.errors import NodeOffline
from confd.scheduler.gate import Gate
from confd.store.protocol import Kind
from confd.store.sqlite import SqliteStore
from confd.store.tenure import tenure


def conf_of(nodes: tuple[int, ...]) -> Conf:
    """Return the configuration of a cluster of some nodes."""
    sections: list[Section] = [
        Global(cluster_name="test"),
        *(Node(id=n, name=f"n{n}", private_net=f"127.0.0.{n}/8", uuid=str(n)) for n in nodes),
    ]
    return Conf(1, {section.key: section for section in sections})


class Master:
    """What a node does as master, as far as succession sees it."""

    def __init__(self, life: Life, term: int) -> None:
        self.life, self.term, self.store = life, term, tenure(life.store)
        self.head = self.leader = self.scheduler = self
        self.gate = Gate()
        self.closed = self.opposed = False
        self.trouble = ""

    def put_record(self, key: str, value: Any) -> None:
        """Write a runtime record."""
        self.store.append(Kind.RUNTIME, key, value).result()

    def progress(self) -> dict[int, int]:
        """Copy the journal to the other node, unless it is cut off; tell how far it is there."""
        others = [other for other in self.life.pair.lives.values() if self.life.pair.is_between(self.life, other)]
        for other in others:
            other.store.copy(self.life.store.read(other.store.head(), 1_000))
        return {other.node: other.store.head().n for other in others}

    async def retire(self) -> None:
        """Resign."""
        self.store.resign()

    async def close(self) -> None:
        """Be gone."""
        self.store.resign()
        self.closed = True


class Life:
    """A daemon from start to end."""

    def __init__(self, pair: Pair, node: int) -> None:
        self.pair, self.node = pair, node
        root = pair.root / f"n{node}"
        root.mkdir(exist_ok=True)
        self.store = SqliteStore(root / "journal.db")
        replica: Any = pair
        host = Host(node, f"127.0.0.{node}", root, root, None, (), lambda: pair.conf)
        self.agent = Agent(Results(root / "results.db"))
        self.follower = Follower(host, self.store, replica, self.agent, 0.0)
        connector: Any = self
        seat: Any = self
        self.succession = Succession(node, self.store, self.follower, connector, lambda: pair.conf, seat, 0.1)
        self.mastership: Master | None = None
        self.terms: list[int] = []
        self.refuses: Exception | None = None
        self.removed, self.runs = False, True

    async def lead(self, term: int) -> None:
        """Become master."""
        if self.refuses is not None:
            raise self.refuses
        await self.follower.record_lead(term)
        self.mastership = Master(self, term)
        self.terms.append(term)

    async def leave(self) -> None:
        """Be master no longer."""
        leaving, self.mastership = self.mastership, None
        if leaving is not None:
            self.follower.resign()
            await leaving.close()

    async def call(self, address: str, port: int, method: str, body: dict[str, Any], timeout: float) -> Any:
        """Call another node, if nothing is in the way."""
        return await self.pair.carry(self, int(address.rpartition(".")[2]), method, body)

    def hear_removal(self) -> None:
        """Be told, in place of an answer, that this node was removed."""
        self.removed = True
        raise NodeOffline("it says that this node was removed from its cluster")

    async def end(self) -> None:
        """Die."""
        self.runs = False
        await self.succession.close()
        self.store.close()
        self.agent.close()


class Pair:
    """Nodes, two mostly, and the wire between them."""

    written = 0

    def __init__(self, root: Path, *nodes: int) -> None:
        self.root, self.cut = root, False
        self.away: set[int] = set()
        """Nodes that no other one reaches, and that reach none."""
        self.conf = conf_of(nodes or (11, 12))
        self.passes: dict[tuple[int, str], int] = {}
        """How many passes of the loop a call takes, by who sends it and its method."""
        self.before: Callable[[str], None] = lambda method: None
        self.after: Callable[[str], None] = lambda method: None
        self.lives: dict[int, Life] = {}

    def watch(self, changed: Callable[[], None]) -> None:
        """Stand for a replica that never changes."""

    def start(self, node: int) -> Life:
        """Start a daemon."""
        self.lives[node] = made = Life(self, node)
        return made

    def is_between(self, one: Life, other: Life) -> bool:
        """Tell whether one node reaches another one."""
        return other is not one and not self.cut and other.runs and not self.away & {one.node, other.node}

    async def carry(self, sender: Life, to: int, method: str, body: dict[str, Any]) -> Any:
        """Carry a call to another node."""
        receiver = self.lives.get(to)
        if receiver is None or not self.is_between(sender, receiver):
            raise NodeOffline("no node answers")
        for _ in range(self.passes.get((sender.node, method), 0)):
            await asyncio.sleep(0)
        self.before(method)
        answer = await {**receiver.follower.methods, **receiver.succession.methods}[method](body)
        self.after(method)
        return answer

    async def end(self) -> None:
        """End all."""
        for life in self.lives.values():
            if life.runs:
                await life.end()
