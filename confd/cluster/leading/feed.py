"""What the master tells one other node: a greeting, the journal as it grows, heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import structlog

from confd import __version__
from confd.cluster.following.replica import Replica
from confd.cluster.leading.member import Member, Timing
from confd.cluster.leading.tail import Tail
from confd.cluster.transport.nodeport import Connector
from confd.model.errors import ConfDError, Conflict, NodeOffline, TimedOut, WrongState
from confd.model.failpoints import Failpoint, reach
from confd.store.protocol import Store

log = structlog.get_logger("leader")

_RESTORE_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 0.2


class Source(NamedTuple):
    """The master, as all that it tells comes from it: ``address`` is where it answers other nodes."""

    node: int
    term: int
    address: str
    store: Store
    replica: Replica
    tail: Tail
    connector: Connector
    timing: Timing


class Feed:
    """Keeps one node informed until it is stopped, connecting again whenever the link breaks.

    Records go out as they become durable (``Member.news``), many in one message when there are many; each answer
    tells how far the node has got.

    :param heard: called in the loop's thread with each answer.
    """

    def __init__(self, member: Member, source: Source, heard: Callable[[Member, dict[str, Any]], None]) -> None:
        self._member, self._heard = member, heard
        self._term, self._source, self._timing = source.term, source, source.timing
        self._store, self._tail = source.store, source.tail
        self._stamp = {"term": source.term, "master": source.node, "address": source.address}
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._keep())

    def stop(self) -> asyncio.Task[None]:
        """Say nothing more; the task that is returned ends then."""
        # A cancellation may get lost in a library, so the loops also end by themselves.
        self._stopped = True
        self._task.cancel()
        return self._task

    async def _keep(self) -> None:
        member = self._member
        while not self._stopped:
            try:
                await self._greet(member)
                while not self._stopped:
                    await self._inform(member)
            except ConfDError as error:
                member.n = -1
                # Who says no is there.
                member.refuses = not isinstance(error, NodeOffline | TimedOut)
                member.opposes = isinstance(error, Conflict)
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
        node = self._source.replica.conf.nodes.get(member.node)
        return node.private_ip if node is not None else member.address

    async def _greet(self, member: Member) -> None:
        revision = self._source.replica.conf.revision
        body = {"revision": revision, "version": __version__, "to": member.node}
        answer = await self._call(member, "hello", body)
        member.n, member.booted = answer["n"], answer["booted"]
        head = self._store.head()
        if answer["term"] < self._term and (answer["n"] > head.n or self._went_another_way(answer)):
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
        return self._store.term_at(answer["n"]) not in (0, answer["term"])

    async def _send_everything(self, member: Member) -> dict[str, Any]:
        log.info("node_restored", node=member.node, n=member.n)
        chunks = await asyncio.to_thread(lambda: list(self._store.export()))
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
        if member.beat_due:
            member.beat_due = False
            # Wakes who waits below; a time limit for every wait would be made anew for each record.
            self._loop.call_later(self._timing.beat, member.call_for_beat)
            self._heard(member, await self._call(member, "beat", {"complete": True}))
            return
        await member.news.wait()

    async def _call(self, member: Member, method: str, body: dict[str, Any], timeout: float | None = None) -> Any:
        limit = self._timing.offline if timeout is None else timeout
        stamped = {**self._stamp, **body}
        return await self._source.connector.call(member.address, member.port, method, stamped, limit)
