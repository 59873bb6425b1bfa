"""Elections of the distributed store: mastership is a lease in etcd that a node wins, and may lose at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from confd import __version__
from confd.cluster.following.follower import Follower
from confd.cluster.leading.eligibility import forsaken, outvoted
from confd.cluster.leading.handover import RECORD, HandOver
from confd.cluster.leading.takeover import Taken
from confd.cluster.transport.link import Method
from confd.cluster.transport.nodeport import Connector
from confd.daemon.catching_up import catch_up
from confd.daemon.elections import Seat
from confd.daemon.mastership import Mastership
from confd.daemon.recovering import Recovery
from confd.exaconf import Conf
from confd.model.errors import ConfDError, NodeError, NoMaster, WrongState
from confd.model.failpoints import Failpoint, reach
from confd.services.nodes.mastership import affinities
from confd.services.nodes.stores import moved_on
from confd.store.choice import StoreChoice
from confd.store.etcd.candidate import Candidate
from confd.store.etcd.errors import EtcdError, EtcdUncertain, EtcdUnreachable
from confd.store.etcd.store import EtcdStore, WentBack
from confd.store.protocol import Gap, StoreFailed
from confd.store.terms import next_term

log = structlog.get_logger("candidacy")

_ASK_SECONDS: Final = 10.0
_ENTER_SECONDS: Final = 6.0
_FINISH_SECONDS: Final = 8.0
_COPY_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 1.0
_TRIM_SECONDS: Final = 10.0
_STARTING_SECONDS: Final = 5.0
_KEPT_RECORDS: Final = 1_000
_PAUSE_SECONDS: Final = 5.0
_LEAD_SECONDS: Final = 30.0
_FORSAKEN_SECONDS: Final = 10.0
_STAND_BACK_SECONDS: Final = 60.0


class Candidacy:
    """One node's part in deciding who is master, between etcd and its daemon.

    :param first: makes the first revision of a new cluster, where this node was told to; blocks.
    :param candidate: makes the candidate that tells this object what happens.
    :param recovery: goes on after the loss of etcd's majority.
    :param retired: whether etcd says that this node was removed; blocks.
    :param present: the store that this node uses.
    """

    def __init__(
        self, node: int, store: EtcdStore, follower: Follower, connector: Connector, conf: Callable[[], Conf],
        seat: Seat, first: Callable[[], None], candidate: Callable[[Candidacy], Candidate], recovery: Recovery,
        retired: Callable[[], bool], present: StoreChoice,
    ) -> None:  # fmt: skip
        self._node, self._store, self._follower, self._connector = node, store, follower, connector
        self._conf, self._seat, self._first, self._recovery = conf, seat, first, recovery
        self._retired, self._present = retired, present
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._candidate = candidate(self)
        self._ready = False
        self._started = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._went_back = False
        self._trouble = self._unheard = self._outvoted = ""
        self._stood_back_at = float("-inf")
        store.deposed = self._on_deposed

    @property
    def methods(self) -> dict[str, Method]:
        """What another node asks of this one."""
        return {"may_lead": self._may_lead}

    @property
    def trouble(self) -> str:
        """Why this node has no master and cannot be it."""
        return self._trouble or self._unheard or self._outvoted

    @property
    def advice(self) -> str:
        """What to do about it; ``trouble`` says so where there is any."""
        return "" if self.trouble else "a node that lives becomes master by itself; c4 ps shows what runs"

    async def begin(self) -> None:
        """Be a candidate as soon as etcd answers."""
        # Who led when its daemon ended has to win again.
        self._follower.resign()
        works = (self._enter(), self._follow_events(), self._trim(), self._watch_followers())
        self._tasks = [self._loop.create_task(work) for work in works]

    def gone(self) -> frozenset[int]:
        """Return the nodes that certainly do not run: etcd has no lease of them."""
        # What was never seen may just be starting, like this node.
        starting = time.monotonic() - self._started < _STARTING_SECONDS
        expected = self._candidate.seen if starting else frozenset(self._conf().nodes)
        return expected - self._candidate.alive

    def lapsed(self, term: int) -> float | None:
        """Return since when this node's lease may be another one's, in seconds; None while it certainly is not."""
        return self._candidate.lapsed(term)

    def give(self, node: int, job: str) -> None:
        """Give mastership to a node; for the thread of a job, whose end is the next master's."""
        asyncio.run_coroutine_threadsafe(self._give(node, job), self._loop).result()
        raise NoMaster(f"mastership goes from n{self._node} to n{node}")

    async def take_over(self) -> Taken:
        """Go on after the loss of etcd's majority, or from an etcd that went back; see ``Recovery``."""
        if self._seat.mastership is not None:
            raise WrongState(f"n{self._node} is master already; there is nothing to recover")
        # Nobody competes while etcd is put right.
        self._ready = False
        try:
            taken = await self._recovery.run(self._went_back)
            self._trouble, self._went_back = "", False
        finally:
            self._ready = True
        until = self._loop.time() + _LEAD_SECONDS
        while self._seat.mastership is None and self._loop.time() < until:  # noqa: ASYNC110 - is polled
            await asyncio.sleep(_LOOK_SECONDS)
        if self._seat.mastership is None:
            raise NodeError(f"etcd was put right, but n{self._node} did not become master: {self.trouble}")
        return taken

    async def close(self) -> None:
        """Leave in order, so that the next master need not wait for the lease to run out."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._seat.leave()
        await asyncio.to_thread(self._candidate.resign)
        await asyncio.to_thread(self._candidate.close)

    # what the candidate asks and tells, in its own thread

    def rank(self, software: Mapping[int, str], last: str) -> int | None:
        """Return how many living nodes are preferred to this one; None when it cannot lead now."""
        conf = self._conf()
        own = conf.nodes.get(self._node)
        if not self._ready or own is None or own.suspended or self._has_left():
            self._outvoted = ""
            return None
        order = affinities(conf.nodes.values(), self._store.runtime())
        before = (order[self._node], self._node)
        voting = [node.id for node in conf.nodes.values() if node.id in software and not node.suspended]
        self._outvoted = outvoted(self._node, {node: software[node] for node in voting}, last)
        if self._outvoted:
            return None
        # Rather than nobody it leads again.
        stands_back = time.monotonic() - self._stood_back_at < _STAND_BACK_SECONDS
        return sum((order[node], node) < before for node in voting) + (len(voting) if stands_back else 0)

    def _has_left(self) -> bool:
        """Tell whether the cluster has left etcd: who led it here would take jobs that are lost."""
        return moved_on(self._store.runtime(), self._present) is not None

    def own_term(self) -> int:
        """Return the highest term that is known here."""
        return max(self._store.leader()[0], self._follower.master.term)

    def outdated(self, term: int) -> None:
        """Lead nothing with an etcd that went back."""
        self._went_back = True
        self._say(
            f"etcd knows only term {term} and n{self._node} one of {self.own_term()}: an old backup of etcd was "
            "restored, or it is the wrong one; nothing was changed. If no other node is master: "
            "c4 store recover --yes-others-are-down"
        )

    def won(self, term: int) -> None:
        """Lead."""
        self._tell("won", term)

    def lost(self, reason: str) -> None:
        """Lead no longer; nothing more is written from here on."""
        self._store.abandon()
        self._tell("lost", 0)

    def unheard(self, error: EtcdError | None) -> None:
        """Say so while etcd does not do what it is asked to."""
        self._unheard = "" if error is None else what_to_do(error)

    def seen(self, node: int, term: int) -> None:
        """Follow another master."""
        self._outvoted = ""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._follower.follow, node, term)

    def _on_deposed(self, error: Exception) -> None:
        log.error("journal_refused", error=str(error))
        self._tell("refused", 0)

    def _tell(self, what: str, term: int) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._events.put_nowait, (what, term))

    # in the loop

    async def _enter(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._first)
                if await asyncio.to_thread(self._retired):
                    self._seat.end_removed("etcd says so")
                    return
                break
            except (StoreFailed, Gap, EtcdError) as error:
                self._say(f"this node waits for its store: {error}")
            await asyncio.sleep(_RETRY_SECONDS)
        self._trouble, self._ready = "", True
        self._candidate.start()

    async def _follow_events(self) -> None:
        while True:
            what, term = await self._events.get()
            try:
                if what == "won":
                    await self._lead(term)
                else:
                    await self._seat.leave()
                    if what == "refused":
                        await asyncio.to_thread(self._candidate.resign, None, _RETRY_SECONDS)
                    elif what == "forsaken":
                        await asyncio.to_thread(self._candidate.resign, None, _PAUSE_SECONDS)
            except Exception:
                log.exception("mastership_failed", event=what)

    async def _lead(self, term: int) -> None:
        try:
            await catch_up(self._store, self._connector, self._conf(), self._node, self._candidate.alive)
            if self._candidate.holds(term):
                await self._seat.lead(term)
                self._trouble, self._went_back = "", False
                return
            log.warning("mastership_too_late", term=term)
        except (StoreFailed, Gap, EtcdError, ConfDError) as error:
            self._went_back = self._went_back or isinstance(error, WentBack)
            self._say(f"n{self._node} cannot be master: {error}")
        except Exception:
            log.exception("not_leading", term=term)
        await self._seat.leave()
        await asyncio.to_thread(self._candidate.resign, None, _PAUSE_SECONDS)

    async def _give(self, node: int, job: str) -> None:
        master = self._seat.mastership
        if master is None:
            raise NoMaster(f"n{self._node} is not the master")
        conf = self._conf()
        where = (conf.require_node(node).private_ip, conf.global_.cored_port)
        await self._connector.call(*where, "may_lead", {"software": __version__, "term": master.term}, _ASK_SECONDS)
        gate = master.scheduler.gate
        gate.close()
        try:
            left = await asyncio.to_thread(gate.wait_idle, _FINISH_SECONDS, job)
            given = HandOver(node, next_term(master.term, node), job)
            await asyncio.to_thread(master.head.put_record, RECORD, msgspec.to_builtins(given))
            reach(Failpoint.GIVING)
        except BaseException:
            gate.open()
            raise
        log.info("giving_mastership", to=node, jobs_left=list(left))
        await master.retire()
        self._tasks.append(self._loop.create_task(self._hand_over(master, node)))

    async def _hand_over(self, master: Mastership, node: int) -> None:
        try:
            end, until = self._store.head().n, self._loop.time() + _COPY_SECONDS
            while self._loop.time() < until and master.leader.progress().get(node, end) < end:  # noqa: ASYNC110 - is polled
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await self._seat.leave()
            # Who runs a job here under the old term must be gone before the job is run again.
            await asyncio.to_thread(master.scheduler.gate.wait_idle, _COPY_SECONDS)
            reach(Failpoint.GIVEN)
            await asyncio.to_thread(self._candidate.resign, node)
            reach(Failpoint.VACATED)

    async def _may_lead(self, body: dict[str, Any]) -> dict[str, Any]:
        """Say whether this node could lead after the master that asks."""
        if body["software"] != __version__:
            raise WrongState(
                f"n{self._node} runs version {__version__}, the master {body['software']}; update it first"
            )
        until = self._loop.time() + _ENTER_SECONDS
        while self._node not in self._candidate.alive and self._loop.time() < until:  # noqa: ASYNC110 - is polled
            await asyncio.sleep(_LOOK_SECONDS)
        if self.trouble or self._node not in self._candidate.alive:
            raise WrongState(self.trouble or f"n{self._node} has no lease in etcd yet; wait until it has started")
        return {}

    async def _watch_followers(self) -> None:
        """Give the place up when most nodes live and do not follow: another one may have the quorum that lacks here."""
        followed_at = time.monotonic()
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            now, master = time.monotonic(), self._seat.mastership
            if master is None or not master.ready or not self._is_forsaken(master):
                followed_at = now
            elif now - max(followed_at, self._stood_back_at + _STAND_BACK_SECONDS) > _FORSAKEN_SECONDS:
                log.warning("mastership_given_up", term=master.term, reason="most nodes live and do not follow")
                self._stood_back_at = followed_at = now
                self._tell("forsaken", master.term)

    def _is_forsaken(self, master: Mastership) -> bool:
        software = self._candidate.software
        master.leader.alive = frozenset(software)
        voting = [node.id for node in self._conf().nodes.values() if not node.suspended]
        return forsaken(voting, master.leader.following(), software)

    async def _trim(self) -> None:
        """Forget the log in etcd as far as all nodes that answer have it."""
        while True:
            await asyncio.sleep(_TRIM_SECONDS)
            master = self._seat.mastership
            if master is None or not master.ready:
                continue
            reached = [self._store.head().n - _KEPT_RECORDS, *master.leader.progress().values()]
            try:
                await asyncio.to_thread(self._store.trim, min(reached))
            except StoreFailed as error:
                log.warning("log_not_trimmed", error=str(error))

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.error("no_master_here", reason=trouble)
        self._trouble = trouble


def what_to_do(error: EtcdError) -> str:
    """Say what to do about etcd, without which nobody is master."""
    if not isinstance(error, EtcdUnreachable | EtcdUncertain):
        # It answers, and what is wrong with it says its own remedy: other members would not help.
        return str(error)
    return (
        f"{error}; without etcd nobody is master: bring its members back, or, if most are lost for good, go on from "
        "one with c4 store recover --yes-others-are-down"
    )
