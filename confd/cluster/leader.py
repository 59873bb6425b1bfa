"""The master's side of the cluster: streams the journal to every node, hears heartbeats, sends commands.

One task per node keeps a link, sends records as they become durable (many in one message when there are
many), and learns from each answer how far the node has got.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future
from typing import Any, Final

import msgspec
import structlog

from confd import __version__
from confd.cluster.agent import Reply, reply_of
from confd.cluster.member import TROUBLE, Member, Timing
from confd.cluster.nodeport import Connector
from confd.cluster.operations import Command
from confd.cluster.quorum import quorum_of
from confd.cluster.replica import Replica
from confd.cluster.tail import Tail
from confd.cluster.waiting import Wait, Waits
from confd.exaconf import Node
from confd.model.errors import ConfDError, Conflict, NodeOffline, NoMaster, NoQuorum, WrongState
from confd.model.failpoints import Failpoint, reach
from confd.model.states import NodeState
from confd.store.protocol import Kind, Position, Record, Store

log = structlog.get_logger("leader")

_RESTORE_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 0.2
_GATHER_SECONDS: Final = 0.02
_LATER_SECONDS: Final = 0.1
_FAREWELL_SECONDS: Final = 60.0

EVEN_SUSPENDED: Final = "nodes."
"""What commands are called that also a suspended node carries out: they concern the node itself."""


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
        self._store, self._replica, self._connector, self._address = store, replica, connector, address
        self._loop = asyncio.get_running_loop()
        self._members: dict[int, Member] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._partings: set[asyncio.Task[None]] = set()
        self._left: dict[int, float] = {}
        self._tail = Tail(store)
        self._alarm: asyncio.TimerHandle | None = None
        self._waits = Waits(node, self._counts)
        self._watchers: list[Callable[[], None]] = []
        self._closed = False
        store.watch(self._durable)
        replica.watch(self._on_written)
        self._follow_conf()
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

    def knows(self, node: int) -> bool:
        """Tell whether a node can be sent commands, now or later: it is configured, or only just removed."""
        return node == self.node or node in self._members

    @property
    def superseded(self) -> bool:
        """True once a newer term than this master's is known here."""
        return self._closed or self._store.head().term > self.term

    def check_quorum(self) -> None:
        """Refuse changes without more than half of the nodes that are not suspended.

        :raises NoQuorum: names the nodes that are missing.
        """
        quorum = quorum_of(self.states())
        if not quorum.held:
            raise NoQuorum(f"{quorum}, so no changes are accepted; bring them back or suspend them with node_suspend")

    def send(self, key: tuple[str, int], command: Command[Any]) -> Future[Reply]:
        """Run a command on another node; callable from any thread."""
        return asyncio.run_coroutine_threadsafe(self._send(key, command), self._loop)

    def written(self, revision: int) -> Future[list[int]]:
        """Complete when every live node has written a revision; with those that did not in time."""
        done: Future[list[int]] = Future()
        try:
            self._loop.call_soon_threadsafe(self._wait_for, revision, done)
        except RuntimeError:
            done.set_exception(_gone())
        return done

    async def gather(self, gone: Container[int] = ()) -> None:
        """Wait until every node that should be there has answered, or is known to be offline.

        :param gone: nodes that certainly do not run.
        """
        until = self._loop.time() + self._timing.offline
        while self._awaited(gone) and self._loop.time() < until:  # noqa: ASYNC110 - is polled
            await asyncio.sleep(_GATHER_SECONDS)

    def _awaited(self, gone: Container[int]) -> bool:
        return any(state is NodeState.OFFLINE and node not in gone for node, state in self.states().items())

    async def close(self) -> None:
        """Stop all tasks."""
        tasks = [self._clock, *self._tasks.values()]
        self._closed = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._look()

    def _state(self, node: Node) -> NodeState:
        if node.id == self.node:
            return NodeState.ONLINE
        if node.suspended:
            return NodeState.SUSPENDED
        member = self._members.get(node.id)
        return NodeState.ONLINE if member is not None and member.online else NodeState.OFFLINE

    def _follow_conf(self) -> None:
        conf = self._replica.conf
        wanted = {node.id: node for node in conf.nodes.values() if node.id != self.node}
        for gone in self._tasks.keys() - wanted.keys():
            # Who was removed is still told to clean up; then it falls silent.
            since = self._left.setdefault(gone, time.monotonic())
            if not self._members[gone].online or time.monotonic() - since > _FAREWELL_SECONDS:
                self._tasks.pop(gone).cancel()
                self._part_from(self._members.pop(gone))
                del self._left[gone]
        for node in wanted.values():
            if node.id not in self._tasks:
                member = self._members[node.id] = Member(
                    node.id, node.private_ip, conf.global_.cored_port, self._timing.offline
                )
                self._tasks[node.id] = self._loop.create_task(self._keep(member))

    def _part_from(self, member: Member) -> None:
        """Close the link to a node that was removed."""
        parting = self._loop.create_task(self._connector.leave(member.address, member.port))
        self._partings.add(parting)
        parting.add_done_callback(self._partings.discard)

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
        self._follow_conf()
        self._waits.settle(self._replica.written)

    async def _tick(self) -> None:
        """Notice nodes that fell silent, and waits that took too long."""
        known = self.states()
        while True:
            await asyncio.sleep(self._timing.beat / 2)
            self._look()
            if self._left:
                self._follow_conf()
            present = self.states()
            if present != known:
                changed = {f"n{node}": str(state) for node, state in present.items() if known.get(node) is not state}
                log.info("node_states", states=changed, nodes=len(present))
                known = present
                self._tell()

    async def _keep(self, member: Member) -> None:
        """Keep a node informed, connecting again whenever the link breaks."""
        # A cancellation may get lost in a library, so the loops also end by themselves.
        while self._keeps(member):
            try:
                await self._greet(member)
                while self._keeps(member):
                    await self._inform(member)
            except ConfDError as error:
                member.n = -1
                if member.silence != error.message:
                    member.silence = error.message
                    log.warning("node_not_heard", node=member.node, error=error.message)
                if not isinstance(error, WrongState):
                    member.address = self._present_address(member)
            except Exception:
                member.n = -1
                log.exception("node_failed", node=member.node)
            await asyncio.sleep(_RETRY_SECONDS)

    def _present_address(self, member: Member) -> str:
        """Return where a node is to be found that is not where it was: it may have come up at its new address."""
        node = self._replica.conf.nodes.get(member.node)
        return node.private_ip if node is not None else member.address

    def _keeps(self, member: Member) -> bool:
        return not self._closed and self._members.get(member.node) is member

    async def _greet(self, member: Member) -> None:
        revision = self._replica.conf.revision
        body = {"revision": revision, "version": __version__, "to": member.node}
        answer = await self._call(member, "hello", body)
        member.n, member.booted = answer["n"], answer["booted"]
        head = self._store.head()
        if answer["term"] < self.term and (answer["n"] > head.n or self._went_another_way(answer)):
            # Its last records are of an earlier master that nobody else got; they are kept there, in a file.
            log.warning("node_set_right", node=member.node, n=answer["n"], term=answer["term"])
            await self._call(member, "set_aside", {}, _RESTORE_SECONDS)
            self._heard(member, {**answer, **await self._send_everything(member)})
            return
        if answer["n"] > head.n:
            # Its journal holds what this master lost: overwriting it would lose it for good.
            log.error("node_ahead", node=member.node, n=answer["n"], own=head.n)
            raise Conflict(f"n{member.node} has a longer journal than the master; it must take over")
        if self._went_another_way(answer):
            log.error("node_diverged", node=member.node, n=answer["n"], term=answer["term"])
            raise Conflict(f"n{member.node} has records that this master does not know; they must be saved first")
        if answer["n"] < self._store.pruned():
            answer = {**answer, **await self._send_everything(member)}
        self._heard(member, answer)

    def _went_another_way(self, answer: dict[str, Any]) -> bool:
        """Tell whether a node's last record is another one than the one with this number here."""
        own = self._store.read(Position(0, answer["n"] - 1), 1)
        return bool(own) and own[0].n == answer["n"] and own[0].term != answer["term"]

    async def _send_everything(self, member: Member) -> dict[str, Any]:
        log.info("node_restored", node=member.node, n=member.n)
        chunks = await self._loop.run_in_executor(None, lambda: list(self._store.export()))
        for position, chunk in enumerate(chunks):
            flags = {"first": position == 0, "last": position == len(chunks) - 1}
            # A second snapshot must not be sent while the node still takes in the first: it gets much time.
            answer: dict[str, Any] = await self._call(member, "restore", {"chunk": chunk, **flags}, _RESTORE_SECONDS)
        return answer

    async def _inform(self, member: Member) -> None:
        member.news.clear()
        records = self._tail.after(member.n)
        head = self._store.head().n
        if records:
            body = {"records": records, "complete": records[-1][1] >= head}
            reach(Failpoint.APPEND_DUE)
            self._heard(member, await self._call(member, "append", body, self._timing.written * 2))
            return
        pause = member.beat + self._timing.beat - time.monotonic()
        if pause <= 0:
            member.beat = time.monotonic()
            self._heard(member, await self._call(member, "beat", {"complete": True}))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await member.news.wait()

    async def _call(self, member: Member, method: str, body: dict[str, Any], timeout: float | None = None) -> Any:
        stamped = {"term": self.term, "master": self.node, "address": self._address, **body}
        limit = self._timing.offline if timeout is None else timeout
        return await self._connector.call(member.address, member.port, method, stamped, limit)

    def _heard(self, member: Member, answer: dict[str, Any]) -> None:
        returned = not member.online
        member.heard, member.silence = time.monotonic(), ""
        if answer["written"] > member.written:
            reach(Failpoint.ACKNOWLEDGED)
        member.n, member.written = answer["n"], answer["written"]
        if member.behind and member.written >= self._replica.conf.revision:
            member.behind = False
        self._waits.heard(member, self._replica.written)
        if returned:
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
        self._waits.add(Wait(revision, time.monotonic() + self._timing.written, done), self._members.values())
        self._look()

    def _look(self) -> None:
        if self._closed:
            self._waits.fail(_gone())
        else:
            self._waits.look(self._members.values(), self._replica.written, time.monotonic())

    def _counts(self, member: Member) -> bool:
        node = self._replica.conf.nodes.get(member.node)
        return member.online and not member.behind and node is not None and not node.suspended

    async def _send(self, key: tuple[str, int], command: Command[Any]) -> Reply:
        member = self._members.get(command.node)
        body = {"job": key[0], "number": key[1], "name": command.name, "arguments": command.arguments}
        while True:
            if lack := self._lack(member, command):
                return reply_of(NodeOffline(f"n{command.node} {lack}; {command.name} was not run there"))
            assert member is not None
            try:
                # No time limit: a command may be long. A node that dies is noticed by its heartbeat.
                answer = await self._run(member, body)
                self._reported(member, answer["status"])
                return msgspec.convert(answer["reply"], Reply)
            except NodeOffline:
                await asyncio.sleep(_RETRY_SECONDS)
            except ConfDError as error:
                return reply_of(error)
            except Exception as error:
                log.exception("command_not_sent", name=command.name, node=command.node)
                return reply_of(error)

    def _lack(self, member: Member | None, command: Command[Any]) -> str:
        """Say why a node takes no commands; empty when it does."""
        node = self._replica.conf.nodes.get(command.node)
        if node is not None and node.suspended and not command.name.startswith(EVEN_SUSPENDED):
            return "is suspended"
        if member is None or not member.online:
            return "is offline"
        return "is catching up" if member.behind else ""

    async def _run(self, member: Member, body: dict[str, Any]) -> Any:
        call = self._loop.create_task(self._connected_run(member, body))
        try:
            while True:
                done, _ = await asyncio.wait({call}, timeout=self._timing.beat)
                if done:
                    return call.result()
                if not member.online:
                    raise NodeOffline(f"n{member.node} fell silent")
        finally:
            call.cancel()

    async def _connected_run(self, member: Member, body: dict[str, Any]) -> Any:
        link = await self._connector.link(member.address, member.port)
        return await link.call("run", {"term": self.term, "master": self.node, **body})


def _gone() -> NoMaster:
    return NoMaster("this master is going down; the next one goes on with the job")
