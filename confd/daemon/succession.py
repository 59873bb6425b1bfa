"""Mastership that goes from one node to another in order (embedded store).

The master lets running jobs end, records to whom it gives its place and under which term, resigns, waits until
the journal is on the other node, and asks it to lead. From the record on it never appends under its own term
again: either the other node leads under the offered one, or this one under a newer term of its own, once the other
one has promised to follow it.
So there is no moment at which two nodes may lead, whoever dies and whatever is lost between them.

The same way back is taken when a survivor was told to take over and died of it: nodes that promised to follow it refuse
the master, which leads on under a newer term as soon as it is certain that nobody leads (``claims.judge``).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
import structlog

from confd import __version__
from confd.cluster.following.follower import Follower
from confd.cluster.leading.claims import Claim, Outlook, Situation, judge
from confd.cluster.leading.handover import RECORD, HandOver, pending
from confd.cluster.leading.member import OFFLINE_SECONDS
from confd.cluster.leading.takeover import Taken, ask_all, collect, promised
from confd.cluster.transport.link import Method
from confd.cluster.transport.nodeport import Connector
from confd.daemon.elections import Seat
from confd.daemon.mastership import Mastership
from confd.exaconf import Conf
from confd.model.errors import ConfDError, Conflict, NodeOffline, NoMaster, TimedOut, WrongState
from confd.model.failpoints import Failpoint, reach
from confd.model.naming import names
from confd.store.protocol import Store, StoreFailed
from confd.store.terms import next_term, node_of

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
        self._looking: asyncio.Task[None] | None = None
        self._ordered = asyncio.Lock()
        self.waiting_for: tuple[int, ...] = ()
        """Nodes that do not answer and one of which may lead, or that lack for more than half."""
        self._trouble = ""

    @property
    def methods(self) -> dict[str, Method]:
        """What another node asks of this one."""
        return {"may_lead": self._may_lead, "lead": self._lead, "promise": self._follower.promise}

    @property
    def trouble(self) -> str:
        """Say why this node, which led last, does not; otherwise who asks for a master here is told what is known."""
        return self._trouble if self._seat.mastership is None else ""

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
        if self._led_last():
            try:
                await self._look()
            except WrongState as error:
                self._refuse(error)
            if self._seat.mastership is None:
                # Until it leads again, nobody must take it for a master that answers.
                self._follower.resign()
        self._looking = self._loop.create_task(self._keep_looking())

    async def take_over(self) -> Taken:
        """Lead under a newer term than any that is known, from the longest journal that can be reached.

        The master itself leads on so when nodes refuse it that promised to follow one that is lost.
        """
        async with self._ordered:
            if (master := self._seat.mastership) is not None:
                if self._is_giving():
                    raise WrongState(
                        f"n{self._node} is giving its place to another node; see who is master in a moment"
                    )
                if (await self._situation()).outlook is Outlook.LEAD:
                    raise WrongState(f"n{self._node} is master already")
                await self._leave(master)
            return await self._take(time.time())

    async def _take(self, ordered: float, claims: Sequence[Claim] = ()) -> Taken:
        """Lead under a newer term.

        :param ordered: when somebody told this node to, UTC seconds; 0 when nobody did.
        :param claims: where nobody did, the terms of which it is known that nobody leads under them; there are no newer
            ones, and the nodes that claimed them must promise to follow this one.
        """
        known = self._follower.master
        taken = await collect(self._store, self._connector, self._conf(), self._node, known.term, ordered)
        if self._follower.master != known:
            raise self._outrun()
        if claims and taken.term != next_term(claims[-1].term, self._node):
            raise WrongState("another node was to be master meanwhile; it is asked again")
        # Before others are asked: whoever takes over at this moment gets no promise of an older term any more.
        with self._leading(taken.term):
            taken = await promised(self._store, self._connector, self._conf(), self._node, taken)
            if self._follower.master.term > taken.term:
                raise self._outrun()
            if lacking := sorted({claim.node for claim in claims} & {*taken.silent}):
                raise WrongState(f"{names(lacking)} did not promise to follow n{self._node}; it is asked again")
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
        tasks = [task for task in (self._under_way, self._looking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _led_last(self) -> bool:
        """Tell whether this node led last, as far as its journal says."""
        return self._store.leader()[1] == self._node

    def _is_giving(self) -> bool:
        return self._under_way is not None and not self._under_way.done()

    def _in_doubt(self) -> bool:
        """Tell whether it is to be found out who leads: this node led last, and does not, or is refused as master."""
        master = self._seat.mastership
        if master is not None:
            return master.leader.opposed
        unheard = self._follower.master.node == self._node or self._follower.silence() > OFFLINE_SECONDS
        return unheard and not self._seat.removed and self._led_last()

    async def _keep_looking(self) -> None:
        """Look again whenever it is in doubt who leads."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            await self._look_again()

    async def _look_again(self, giving: bool = False) -> None:
        """Look, where that is needed; while this node gives its place away only once it has.

        :param giving: it has.
        """
        try:
            async with self._ordered:
                if self._is_giving() != giving:
                    return
                if self._in_doubt():
                    await self._look()
                else:
                    self._tell(Situation(Outlook.LEAD))
        except WrongState as error:
            self._refuse(error)
        except Exception:
            log.exception("not_leading")

    def _refuse(self, error: WrongState) -> None:
        if error.message != self._trouble:
            log.warning("not_leading", reason=error.message)
        self._trouble = error.message

    async def _look(self) -> None:
        """Find out whether this node, which led last, leads, and under which term; lead, or follow."""
        known, master = self._follower.master, self._seat.mastership
        term, _ = self._store.leader()
        found = await self._situation()
        if self._follower.master != known or self._seat.mastership is not master or self._seat.removed:
            return
        if found.outlook is not Outlook.LEAD_ON:
            self._tell(found)
        if found.outlook is Outlook.LEAD and master is None:
            await self._seat.lead(term)
        elif found.outlook is Outlook.LEAD_ON:
            if master is not None:
                await self._leave(master)
            taken = await self._take(0.0, found.claims)
            log.warning("led_on", before=term, term=taken.term, claimed=[claim.term for claim in found.claims])
        elif found.outlook is Outlook.FOLLOW:
            if master is not None or known.term < found.led:
                log.warning("superseded", term=term, newer=found.led)
            await self._seat.leave()
            self._follower.follow(node_of(found.led), found.led)

    async def _situation(self) -> Situation:
        """Ask all nodes what became of newer terms than the one under which this node led last."""
        conf, seen, given = self._conf(), self._follower.master, pending(self._store)
        offered = [] if given is None else [Claim(given.to, given.term)]
        known = await ask_all(self._connector, conf, self._node)
        suspended = [node.id for node in conf.nodes.values() if node.suspended]
        return judge(self._node, self._store.leader()[0], known, [Claim(seen.node, seen.term), *offered], suspended)

    def _tell(self, found: Situation) -> None:
        """Keep for who asks what was found."""
        text = found.text(self._node)
        if text and text != self._trouble:
            log.warning("waiting_for_nodes", reason=text)
        self._trouble, self.waiting_for = text, found.lacking
        if (master := self._seat.mastership) is not None:
            master.leader.trouble = text

    async def _leave(self, master: Mastership) -> None:
        """Be master no longer, and have ended what runs under its term: it is run again under the next one."""
        await self._seat.leave()
        await asyncio.to_thread(master.scheduler.gate.wait_idle, _LEAD_SECONDS)

    async def _give(self, node: int, job: str) -> None:
        async with self._ordered:
            await self._give_in_turn(node, job)

    async def _give_in_turn(self, node: int, job: str) -> None:
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
        while self._seat.mastership is None and self._in_doubt():
            await self._look_again(giving=True)
            await asyncio.sleep(_RETRY_SECONDS)

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
