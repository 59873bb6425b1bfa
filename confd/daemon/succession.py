"""Mastership that goes from one node to another in order (embedded store).

The master lets running jobs end, records to whom it gives its place and under which term, resigns, waits until
the journal is on the other node, and asks it to lead. From the record on it never appends under its own term
again: either the other node leads under the offered one, or this one under a newer term of its own, once the other
one has promised to follow it.
So there is no moment at which two nodes may lead, whoever dies and whatever is lost between them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import msgspec
import structlog

from confd import __version__
from confd.cluster.following.follower import Follower
from confd.cluster.leading.handover import RECORD, HandOver, pending
from confd.cluster.leading.takeover import Taken, ask_all, collect, promised
from confd.cluster.transport.link import Method
from confd.cluster.transport.nodeport import Connector
from confd.daemon.elections import Seat
from confd.daemon.mastership import Mastership
from confd.exaconf import Conf
from confd.model.errors import ConfDError, Conflict, NodeOffline, NoMaster, TimedOut, WrongState
from confd.model.failpoints import Failpoint, reach
from confd.store.protocol import Store, StoreFailed
from confd.store.terms import next_term

log = structlog.get_logger("succession")

_ASK_SECONDS: Final = 3.0
_LEAD_SECONDS: Final = 10.0
_COPY_SECONDS: Final = 5.0
_FINISH_SECONDS: Final = 8.0
_LOOK_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 0.5


class Succession:
    """Elections of the embedded store: mastership is given by hand.

    :param finish: seconds in which running jobs may end before they are left to the next master.
    :param first: makes the first revision of a new cluster, where this node was told to; blocks.
    """

    def __init__(
        self, node: int, store: Store, follower: Follower, connector: Connector, conf: Callable[[], Conf],
        seat: Seat, finish: float = _FINISH_SECONDS, first: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._node, self._store, self._follower, self._connector = node, store, follower, connector
        self._conf, self._seat, self._finish, self._first = conf, seat, finish, first
        self._loop = asyncio.get_running_loop()
        self._under_way: asyncio.Task[None] | None = None
        self._ordered = asyncio.Lock()
        self.waiting_for: int | None = None
        """The node that may have taken mastership and does not answer; nobody else may lead until it does."""

    @property
    def methods(self) -> dict[str, Method]:
        """What another node asks of this one."""
        return {"may_lead": self._may_lead, "lead": self._lead, "promise": self._follower.promise}

    @property
    def trouble(self) -> str:
        """Say whom a hand-over waits for; otherwise who asks for a master here is told by whom it is not found."""
        if self.waiting_for is None:
            return ""
        return f"mastership was being given to n{self.waiting_for}, which does not answer; start its daemon"

    @property
    def advice(self) -> str:
        """What to do where nobody is master."""
        return "" if self.trouble else "start its daemon, or take over on another node"

    def gone(self) -> frozenset[int]:
        """Return nothing: only the nodes themselves can tell."""
        return frozenset()

    def lapsed(self, term: int) -> None:
        """Return nothing: who has another node take over vouches for it that this one is gone."""

    def give(self, node: int, job: str) -> None:
        """Give mastership to a node; for the thread of a job, whose end is the next master's.

        :raises NodeOffline: the node does not answer; nothing has changed.
        :raises WrongState: it cannot lead now; nothing has changed.
        :raises NoMaster: this node has resigned.
        """
        asyncio.run_coroutine_threadsafe(self._give(node, job), self._loop).result()
        raise NoMaster(f"mastership goes from n{self._node} to n{node}")

    async def begin(self) -> None:
        """Lead when the journal says so and nobody was made master meanwhile; find out who was, when it was given."""
        await asyncio.to_thread(self._first)
        term, master = self._store.leader()
        if master != self._node or await self._is_superseded(term):
            return
        given = pending(self._store)
        if given is None:
            await self._seat.lead(term)
        else:
            self._under_way = self._loop.create_task(self._settle(given))

    async def take_over(self) -> Taken:
        """Lead under a newer term than any that is known, from the longest journal that can be reached."""
        async with self._ordered:
            if self._seat.mastership is not None:
                raise WrongState(f"n{self._node} is master already")
            known = self._follower.master
            taken = await collect(self._store, self._connector, self._conf(), self._node, known.term)
            if self._follower.master != known:
                raise self._outrun()
            # Before others are asked: whoever takes over at this moment gets no promise of an older term any more.
            with self._leading(taken.term):
                taken = await promised(self._store, self._connector, self._conf(), self._node, taken)
                if self._follower.master.term > taken.term:
                    raise self._outrun()
                log.warning("taking_over", term=taken.term, n=taken.position.n, silent=list(taken.silent))
                await self._seat.lead(taken.term)
            if self._seat.mastership is None:
                raise self._outrun()
            return taken

    def _outrun(self) -> WrongState:
        master = self._follower.master.node
        if master == self._node:
            return WrongState(f"n{master} is master already")
        return WrongState(f"n{master} was heard as master meanwhile; n{self._node} follows it")

    @contextlib.contextmanager
    def _leading(self, term: int) -> Iterator[None]:
        """Count as master under a term from here on, unless it fails before that is recorded."""
        known = self._follower.master
        self._follower.lead(self._node, term)
        try:
            yield
        except BaseException:
            if self._store.leader()[0] < term:
                self._follower.unlead(term, known)
            raise

    async def close(self) -> None:
        """Stop what is under way; the journal tells the next daemon."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    async def _is_superseded(self, term: int) -> bool:
        """Ask whether another master was made while this node was away, or whether it was removed."""
        known = await ask_all(self._connector, self._conf(), self._node)
        newer = [one.term for one in known.values() if one is not None and one.term > term]
        if newer:
            log.warning("superseded", term=term, newer=max(newer))
        # One that removed this node answers nothing else.
        return bool(newer) or self._seat.removed

    async def _give(self, node: int, job: str) -> None:
        master = self._seat.mastership
        if master is None:
            raise NoMaster(f"n{self._node} is not the master")
        await self._ask(node, "may_lead", {"software": __version__, "term": master.term})
        gate = master.scheduler.gate
        gate.close()
        try:
            left = await asyncio.to_thread(gate.wait_idle, self._finish, job)
            given = HandOver(node, next_term(master.term, node), job)
            await asyncio.to_thread(master.head.put_record, RECORD, msgspec.to_builtins(given))
            reach(Failpoint.GIVING)
        except BaseException:
            gate.open()
            raise
        log.info("giving_mastership", to=node, term=given.term, jobs_left=list(left))
        await master.retire()
        self._under_way = self._loop.create_task(self._hand_over(master, given))

    async def _hand_over(self, master: Mastership, given: HandOver) -> None:
        try:
            await self._copied(master, given.to)
            reach(Failpoint.GIVEN)
            await self._order(given)
        except Exception:
            log.exception("mastership_not_given", to=given.to)
        finally:
            await master.close()
            if self._seat.mastership is master:
                await self._seat.leave()
            # Who runs a job here under the old term must be gone before the job is run again.
            await asyncio.to_thread(master.scheduler.gate.wait_idle, _LEAD_SECONDS)
        await self._settle(given)

    async def _copied(self, master: Mastership, node: int) -> None:
        """Wait until the next master has the whole journal, and for a while until the others have it, too."""
        with contextlib.suppress(StoreFailed):
            await asyncio.to_thread(self._store.flush)
        end, until = self._store.head().n, self._loop.time() + _COPY_SECONDS
        while self._loop.time() < until:
            reached = master.leader.progress()
            if node not in reached or all(n >= end for n in reached.values()):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _order(self, given: HandOver) -> None:
        head = self._store.head()
        body = {"term": given.term, "n": head.n, "last": head.term}
        try:
            await self._ask(given.to, "lead", body, _LEAD_SECONDS)
        except (NodeOffline, TimedOut) as error:
            # It may lead all the same: only it can tell.
            log.warning("order_to_lead_lost", to=given.to, error=error.message)
        except ConfDError as error:
            log.warning("mastership_refused", by=given.to, error=error.message)
        else:
            log.info("mastership_given", to=given.to, term=given.term)
            self._follower.follow(given.to, given.term)

    async def _settle(self, given: HandOver) -> None:
        """Find out whether the other node leads; lead on when it has promised to follow this one."""
        self.waiting_for = given.to
        try:
            while self._follower.master.term < given.term:
                try:
                    await self._ask(given.to, "promise", {"term": given.term, "master": self._node})
                except Conflict:
                    log.info("mastership_was_taken", by=given.to, term=given.term)
                    self._follower.follow(given.to, given.term)
                except ConfDError as error:
                    log.debug("next_master_silent", node=given.to, error=error.message)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    await self._keep(given)
                    return
        finally:
            self.waiting_for = None

    async def _keep(self, given: HandOver) -> None:
        """Lead on: the other node never will under the term that it was offered."""
        if self._follower.master.term >= given.term:
            # An administrator had a node take over meanwhile, maybe this one.
            return
        # The offered term is the other node's for ever, also when that forgets its promise.
        term = next_term(given.term, self._node)
        log.warning("mastership_kept", refused_by=given.to, term=term)
        await self._seat.lead(term)

    async def _may_lead(self, body: dict[str, Any]) -> dict[str, Any]:
        """Say whether this node could lead after the master that asks."""
        if body["software"] != __version__:
            raise WrongState(
                f"n{self._node} runs version {__version__}, the master {body['software']}; update it first"
            )
        if body["term"] != self._follower.master.term:
            raise WrongState(f"n{self._node} follows a master with term {self._follower.master.term}")
        return {}

    async def _lead(self, body: dict[str, Any]) -> dict[str, Any]:
        """Lead by order of the master of now, which has resigned."""
        known, head = self._follower.master, self._store.head()
        if known.node == self._node and known.term == body["term"]:
            return {}
        if known.term >= body["term"]:
            raise Conflict(f"n{self._node} knows a master with term {known.term}")
        if (head.term, head.n) != (body["last"], body["n"]):
            raise WrongState(f"n{self._node} lacks records: its journal ends at {head.n}, the master's at {body['n']}")
        # At once, before anything else is answered: from here on the old master gets no promise any more.
        with self._leading(body["term"]):
            await self._seat.lead(body["term"])
        return {}

    def _ask(self, node: int, method: str, body: dict[str, Any], seconds: float = _ASK_SECONDS) -> Awaitable[Any]:
        conf = self._conf()
        address = conf.require_node(node).private_ip
        return self._connector.call(address, conf.global_.cored_port, method, body, seconds)
