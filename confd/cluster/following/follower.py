"""How a node follows its master: takes in the journal, answers heartbeats, runs commands.

Everything the master sends carries its term; a node refuses a term older than the highest it knows.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from confd import __version__
from confd.cluster.following.agent import Agent
from confd.cluster.following.replica import Replica
from confd.cluster.host import Host, reports
from confd.cluster.leading.member import JOINED_AT
from confd.cluster.leading.tail import Tail
from confd.cluster.transport.link import Method
from confd.model.errors import Conflict, NodeError, WrongState
from confd.model.failpoints import Failpoint, reach
from confd.store.protocol import Gap, Kind, Position, Record, StaleTerm, Store, StoreFailed

log = structlog.get_logger("follower")

WRITE_SECONDS: Final = 5.0
"""How long a node waits for its own EXAConf before it tells the master that it cannot write it."""


class MasterSeen(msgspec.Struct, frozen=True):
    """The master as this node last heard of it; ``address`` is where it listens, which may be to change."""

    node: int
    term: int
    at: float
    address: str = ""


class Follower:
    """The node's side of what a master does to it."""

    def __init__(
        self,
        host: Host,
        store: Store,
        replica: Replica,
        agent: Agent,
        booted: float,
        write_seconds: float = WRITE_SECONDS,
    ) -> None:
        self._host, self._store, self._replica, self._agent = host, store, replica, agent
        self._booted, self._write_seconds = booted, write_seconds
        term, node = store.leader()
        self.master = MasterSeen(node, term, 0.0)
        self._written = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._restoring: list[bytes] = []
        self._first: int | None = None
        self._joined = asyncio.Event()
        self._superseded: Callable[[], None] = lambda: None
        self._resigned = False
        self._tail = Tail(store)
        replica.watch(self._on_written)

    @property
    def methods(self) -> dict[str, Method]:
        """What the master calls on this node."""
        return {
            "hello": self._hello,
            "append": self._append,
            "beat": self._beat,
            "run": self._run,
            "restore": self._restore,
            "set_aside": self._set_aside,
            "position": self._where,
            "records": self._records,
        }

    @property
    def caught_up(self) -> bool:
        """True once this node took in all that its master had when it connected."""
        return self._joined.is_set()

    async def wait_caught_up(self) -> None:
        """Return when ``caught_up``."""
        await self._joined.wait()

    def superseded(self, told: Callable[[], None]) -> None:
        """Call back, in the loop's thread, when a master with a newer term is heard while this node leads."""
        self._superseded = told

    def lead(self, node: int, term: int) -> None:
        """Note that this node itself is master."""
        self.master, self._resigned = MasterSeen(node, term, time.monotonic()), False
        self._joined.set()

    async def record_lead(self, term: int) -> None:
        """Record that this node is master under a term.

        :raises WrongState: it has promised to follow a newer one while that was written.
        """
        await asyncio.to_thread(self._store.lead, term, self._host.node)
        reach(Failpoint.TERM_RECORDED)
        if self.master.term > term:
            raise WrongState(f"n{self.master.node} was heard as master meanwhile; {self._host.name} follows it")
        self.lead(self._host.node, term)

    def resign(self) -> None:
        """Note that this node does not lead, though it was the last one that did."""
        self._resigned = True

    def silence(self) -> float:
        """Return for how many seconds no master was heard; since this daemon has not, what its journal says."""
        if self.master.at:
            return time.monotonic() - self.master.at
        newest = self._store.read(Position(0, self._store.head().n - 1), 1)
        return max(0.0, time.time() - newest[0].at) if newest else math.inf

    async def promise(self, body: dict[str, Any]) -> dict[str, Any]:
        """Follow the master that asks, under the term it names, and none of an older one; say how far the journal goes.

        :raises Conflict: this node follows, or is, another one by now.
        """
        self._hear(body)
        return await self._where(body)

    def unlead(self, term: int, known: MasterSeen) -> None:
        """Note that this node could not become master under a term after all.

        The master known before counts again, unless a newer one was heard meanwhile.
        """
        if self.master.term == term:
            self.master, self._resigned = known, True

    def follow(self, node: int, term: int) -> None:
        """Note that another node is master, which it may not have said itself yet."""
        if term > self.master.term:
            self.master = MasterSeen(node, term, time.monotonic())

    def _on_written(self) -> None:
        self._loop.call_soon_threadsafe(self._written.set)

    async def _hello(self, body: dict[str, Any]) -> dict[str, Any]:
        self._hear(body)
        self._check_greeting(body)
        revision = body.get("revision", 0)
        # A master that lost revisions counts anew from where it goes on.
        self._first = revision if self._first is None else min(self._first, revision)
        head = self._store.head()
        return {"term": head.term, "n": head.n, "booted": self._booted, "written": self._replica.written}

    async def _append(self, body: dict[str, Any]) -> dict[str, Any]:
        self._hear(body)
        records = [Record(r[0], r[1], Kind(r[2]), r[3], r[4], msgspec.Raw(r[5])) for r in body["records"]]
        try:
            await self._loop.run_in_executor(None, self._replica.take_in, lambda: self._store.copy(records))
        except (StaleTerm, Gap) as error:
            raise Conflict(str(error)) from None
        except StoreFailed as error:
            raise NodeError(f"n{self._host.node}: {error}") from None
        await self._wait_written()
        if body.get("complete"):
            self._joined.set()
        return self._position()

    async def _beat(self, body: dict[str, Any]) -> dict[str, Any]:
        self._hear(body)
        if body.get("complete"):
            self._joined.set()
        return self._position() | {"status": await self._status(), "clock": time.time()}

    async def _run(self, body: dict[str, Any]) -> Any:
        self._hear(body)
        key = (body["job"], body["number"])
        done = self._agent.run(key, body["name"], body["arguments"], self._place)
        reply = msgspec.to_builtins(await asyncio.wrap_future(done))
        # Who asks next sees what the command did, not what was reported before it.
        return {"reply": reply, "status": await self._status()}

    async def _status(self) -> dict[str, Any]:
        """Return what the services report, and the revision of the first master that this daemon heard."""
        return {**await self._loop.run_in_executor(None, reports, self._host), JOINED_AT: self._first}

    async def _restore(self, body: dict[str, Any]) -> dict[str, Any]:
        self._hear(body)
        if body["first"]:
            self._restoring = []
        self._restoring.append(body["chunk"])
        if body["last"]:
            chunks, self._restoring = self._restoring, []
            await self._loop.run_in_executor(None, self._store.restore, chunks)
            self._replica.reload()
            log.info("restored", chunks=len(chunks), n=self._store.head().n)
        return self._position()

    def _check_greeting(self, body: dict[str, Any]) -> None:
        """Refuse a master that runs other software, or that takes this node for another one.

        :raises WrongState: says what to do.
        """
        own, version = self._host.name, body.get("version", "an older version")
        if version != __version__:
            raise WrongState(
                f"{own} runs OpenConfD {__version__}, the master n{body['master']} {version}; install the same version "
                "on all nodes"
            )
        if body.get("to") != self._host.node:
            raise WrongState(f"{own} answers at the address of n{body.get('to')}; see node_ip_batch")

    def _place(self, lines: list[str]) -> Host:
        return self._host.with_output(lines)

    def _hear(self, body: dict[str, Any]) -> None:
        if body["term"] < self.master.term:
            raise Conflict(f"n{self._host.node} follows n{self.master.node} as master with term {self.master.term}")
        if body["term"] == self.master.term and self.master.node not in (0, body["master"]):
            raise Conflict(f"n{self._host.node} knows n{self.master.node} as master with term {self.master.term}")
        deposed = self.master.node == self._host.node != body["master"]
        known = self.master.address if self.master.node == body["master"] else ""
        address = body.get("address") or known
        self.master = MasterSeen(body["master"], body["term"], time.monotonic(), address)
        if deposed:
            log.warning("deposed", term=body["term"], master=body["master"])
            self._superseded()

    async def _where(self, body: dict[str, Any]) -> dict[str, Any]:
        """Say how far the journal goes here, and who leads; asked by a node that may take over."""
        head = self._store.head()
        master = self.master
        leads = master.node == self._host.node and not self._resigned
        return {
            "last": head.term, "n": head.n, "term": master.term, "master": master.node, "leads": leads,
            "software": __version__,
        }  # fmt: skip

    async def _records(self, body: dict[str, Any]) -> dict[str, Any]:
        """Give records to a node that may take over."""
        return {"records": await self._loop.run_in_executor(None, self._tail.after, body["n"])}

    async def _set_aside(self, body: dict[str, Any]) -> dict[str, Any]:
        """Keep this node's journal in a file of its own, before another one takes its place."""
        self._hear(body)
        head = self._store.head()
        kept = await self._loop.run_in_executor(None, self._store.set_aside)
        log.error("journal_set_aside", kept=str(kept), n=head.n, term=head.term)
        return self._position()

    def _position(self) -> dict[str, Any]:
        head = self._store.head()
        return {"n": head.n, "written": self._replica.written}

    async def _wait_written(self) -> None:
        """Wait until EXAConf holds this node's newest revision, or it takes too long."""
        wanted = self._replica.conf.revision
        until = self._loop.time() + self._write_seconds
        while self._replica.written < wanted:
            self._written.clear()
            if self._replica.written >= wanted:
                return
            try:
                async with asyncio.timeout_at(until):
                    await self._written.wait()
            except TimeoutError:
                raise NodeError(f"n{self._host.node} could not write EXAConf in time; see its log") from None
