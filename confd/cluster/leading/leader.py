"""The master's side of the cluster: who is there, how far each node is, and who waits for it.

Who the nodes are is the ``Membership``, what each is told a ``Feed`` of its own; commands go by the ``Dispatch``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future
from typing import Any, Final

import structlog

from confd.cluster.following.agent import Reply
from confd.cluster.following.replica import Replica
from confd.cluster.leading.dispatch import Dispatch
from confd.cluster.leading.feed import Source
from confd.cluster.leading.member import TROUBLE, Member, Timing
from confd.cluster.leading.membership import Membership
from confd.cluster.leading.quorum import Quorum, quorum_of, refusal
from confd.cluster.leading.sharing import Shares
from confd.cluster.leading.tail import Tail
from confd.cluster.leading.waiting import Wait, Waits
from confd.cluster.operations import Command
from confd.cluster.transport.nodeport import Connector
from confd.exaconf import Node
from confd.model.errors import NoMaster, NoQuorum
from confd.model.failpoints import Failpoint, reach
from confd.model.states import NodeState
from confd.store.protocol import Kind, Record, Store, StoreFailed

log = structlog.get_logger("leader")

_GATHER_SECONDS: Final = 0.02
_LATER_SECONDS: Final = 0.1


class Leader:
    """Distribution, heartbeat and commands for all nodes but the master's own, which it asks directly."""

    def __init__(
        self,
        node: int,
        term: int,
        store: Store,
        replica: Replica,
        connector: Connector,
        timing: Timing | None = None,
        address: str = "",
    ) -> None:
        self.node, self.term, self._timing = node, term, timing or Timing()
        self._store, self._replica = store, replica
        self._loop = asyncio.get_running_loop()
        self._tail = Tail(store)
        source = Source(node, term, address, store, replica, self._tail, connector, self._timing)
        self._membership = Membership(source, self._heard)
        self._members = self._membership.members
        self._dispatch = Dispatch(source, self._members, self._reported)
        self._alarm: asyncio.TimerHandle | None = None
        self._waits, self._shares = Waits(node, self._members, self._counts), Shares()
        self._watchers: list[Callable[[], None]] = []
        self._quorum: Quorum | None = None
        self._closed = False
        self.alive: frozenset[int] = frozenset()
        """Nodes that are known to live in another way than by following this master."""
        self.trouble = ""
        """What keeps nodes from following this master, and what to do, as far as elections know."""
        store.watch(self._durable)
        replica.watch(self._on_written)
        self._membership.follow()
        self._clock = self._loop.create_task(self._tick())

    def watch(self, changed: Callable[[], None]) -> None:
        """Call back, in the loop's thread, when a node's state or status changed."""
        self._watchers.append(changed)

    def states(self) -> dict[int, NodeState]:
        """Return the state of every configured node."""
        return {node.id: self._state(node) for node in self._replica.conf.nodes.values()}

    def booted(self) -> dict[int, float]:
        """Return when each node's daemon machine was booted, UTC seconds, as far as known."""
        return {member.node: member.booted for member in self._members.values() if member.booted}

    def status(self, node: int, service: str) -> Any:
        """Return what a service last reported from another node, or what is wrong with that (``TROUBLE``)."""
        member = self._members.get(node)
        if service == TROUBLE:
            return member.trouble if member else None
        return member.status.get(service) if member and member.online else None

    def progress(self) -> dict[int, int]:
        """Return how far the journal is on the other nodes that are online: the number of their last record."""
        return {member.node: member.n for member in self._members.values() if member.online}

    def following(self) -> frozenset[int]:
        """Return the nodes that follow this master: itself, those that are online, and those that catch up."""
        return frozenset({self.node, *(member.node for member in self._members.values() if member.follows)})

    @property
    def opposed(self) -> bool:
        """True while a node follows a newer master than this one, or has records that this one lacks."""
        return any(member.opposes for member in self._members.values())

    def knows(self, node: int) -> bool:
        """Tell whether a node can be sent commands, now or later: it is configured, or only just removed."""
        return node == self.node or node in self._members

    @property
    def superseded(self) -> bool:
        """True once a newer term than this master's is known here."""
        return self._closed or self._store.head().term > self.term

    def check_quorum(self) -> None:
        """Refuse changes without more than half of the nodes that are not suspended.

        :raises NoQuorum: names the nodes that are missing, and why they are not heard.
        """
        # Asked for each job, and worth a look at every node only a few times a second.
        quorum = self._quorum
        if quorum is None:
            # Other threads forget it at any moment.
            quorum = self._quorum = quorum_of(self.states())
        if not quorum.held:
            missing = [member for node in quorum.missing if (member := self._members.get(node)) is not None]
            answering = {member.node for member in missing if member.refuses}
            raise NoQuorum(
                refusal(quorum, self.alive | answering, [self.trouble, *(member.silence for member in missing)])
            )

    def send(self, key: tuple[str, int], command: Command[Any]) -> Future[Reply]:
        """Run a command on another node; callable from any thread."""
        return asyncio.run_coroutine_threadsafe(self._dispatch.send(key, command), self._loop)

    def written(self, revision: int) -> Future[list[int]]:
        """Complete when every live node has written a revision; with those that did not in time."""
        done: Future[list[int]] = Future()
        try:
            self._loop.call_soon_threadsafe(self._wait_for, revision, done)
        except RuntimeError:
            done.set_exception(_gone())
        return done

    def shared(self) -> Future[None]:
        """Complete when another node that could go on knows all that is durable here; at once when there is none.

        The future fails with StoreFailed when this master goes down.
        """
        done: Future[None] = Future()
        if self._store.shared:
            done.set_result(None)
            return done
        try:
            self._loop.call_soon_threadsafe(self._share, self._store.head().n, done)
        except RuntimeError:
            done.set_exception(StoreFailed(_gone().message))
        return done

    async def gather(self, gone: Container[int] = ()) -> None:
        """Wait until every node that should be there has answered, or is known to be offline, or until this is closed.

        :param gone: nodes that certainly do not run.
        """
        until = self._loop.time() + self._timing.offline
        while not self._closed and self._awaited(gone) and self._loop.time() < until:  # noqa: ASYNC110 - is polled
            await asyncio.sleep(_GATHER_SECONDS)

    def _awaited(self, gone: Container[int]) -> bool:
        return any(state is NodeState.OFFLINE and node not in gone for node, state in self.states().items())

    async def close(self) -> None:
        """Stop all tasks."""
        self._closed = True
        self._clock.cancel()
        await self._membership.close()
        await asyncio.gather(self._clock, return_exceptions=True)
        self._look()

    def _state(self, node: Node) -> NodeState:
        if node.id == self.node:
            return NodeState.ONLINE
        if node.suspended:
            return NodeState.SUSPENDED
        member = self._members.get(node.id)
        return NodeState.ONLINE if member is not None and member.online else NodeState.OFFLINE

    def _durable(self, records: Sequence[Record]) -> None:
        if self._closed:
            return
        self._tail.extend(records)
        # For a new revision somebody waits, and what is so now counts when this master dies; the rest may be later.
        awaited = any(record.kind in (Kind.FINISHED, Kind.RUNTIME) for record in records)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake if awaited else self._wake_later)

    def _wake_later(self) -> None:
        if self._alarm is None:
            self._alarm = self._loop.call_later(_LATER_SECONDS, self._wake)

    def _wake(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for member in self._members.values():
            member.news.set()

    def _on_written(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._on_replica)

    def _on_replica(self) -> None:
        self._quorum = None
        self._membership.follow()
        self._waits.settle(self._replica.written)

    async def _tick(self) -> None:
        """Notice nodes that fell silent, and waits that took too long."""
        known = self.states()
        while True:
            await asyncio.sleep(self._timing.beat / 2)
            self._quorum = None
            self._look()
            if self._membership.parting:
                self._membership.follow()
            present = self.states()
            if present != known:
                changed = {f"n{node}": str(state) for node, state in present.items() if known.get(node) is not state}
                log.info("node_states", states=changed, nodes=len(present))
                known = present
                self._tell()

    def _heard(self, member: Member, answer: dict[str, Any]) -> None:
        returned = not member.online
        member.heard, member.silence, member.refuses, member.opposes = time.monotonic(), "", False, False
        if answer["written"] > member.written:
            reach(Failpoint.ACKNOWLEDGED)
        member.n, member.written = answer["n"], answer["written"]
        if member.behind and member.written >= self._replica.conf.revision:
            member.behind = False
        self._waits.heard(member, self._replica.written)
        # A look at all nodes for each word of one would cost their square.
        if self._shares.waiting and self._counts(member):
            self._shares.settle([member])
        if returned:
            self._quorum = None
            self._tell()
        if "status" in answer:
            self._reported(member, answer["status"])
        self._compare_clocks(member, answer.get("clock"))

    def _compare_clocks(self, member: Member, clock: float | None) -> None:
        if clock is not None:
            known, member.skew = member.trouble, clock - time.time()
            if member.trouble and not known:
                log.warning("node_clock_wrong", node=member.node, error=member.trouble)

    def _reported(self, member: Member, status: dict[str, Any]) -> None:
        if status != member.status:
            member.status = status
            self._tell()

    def _tell(self) -> None:
        for watcher in self._watchers:
            try:
                watcher()
            except Exception:
                # Who watches must not keep nodes from being informed.
                log.exception("watcher_failed")

    def _wait_for(self, revision: int, done: Future[list[int]]) -> None:
        if self._closed:
            done.set_exception(_gone())
            return
        self._waits.add(Wait(revision, time.monotonic() + self._timing.written, done))
        self._waits.settle(self._replica.written)

    def _share(self, n: int, done: Future[None]) -> None:
        if self._closed:
            done.set_exception(StoreFailed(_gone().message))
            return
        self._shares.add(n, done, self._heirs())
        self._wake()

    def _heirs(self) -> list[Member]:
        return [member for member in self._members.values() if self._counts(member)]

    def _look(self) -> None:
        if self._closed:
            self._waits.fail(_gone())
            self._shares.fail(StoreFailed(_gone().message))
        else:
            self._shares.settle(self._heirs())
            self._waits.look(self._replica.written, time.monotonic())

    def _counts(self, member: Member) -> bool:
        node = self._replica.conf.nodes.get(member.node)
        return member.online and not member.behind and node is not None and not node.suspended


def _gone() -> NoMaster:
    return NoMaster("this master is going down; the next one goes on with the job")
