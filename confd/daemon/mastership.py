"""What a node does while it is master: orders revisions, runs jobs, supervises services."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Container
from typing import Any, Final, Protocol

import msgspec
import structlog

from confd import __version__
from confd.api.authentication import Authentication
from confd.api.methods import Methods
from confd.cluster.counter import Counter
from confd.cluster.following.agent import Agent
from confd.cluster.following.replica import Replica, load_conf
from confd.cluster.host import Cluster, Host
from confd.cluster.identity import NodeFiles
from confd.cluster.leading.doubt import Doubt, Majority
from confd.cluster.leading.leader import Leader
from confd.cluster.leading.member import BEAT_SECONDS
from confd.cluster.operations import MASTER
from confd.cluster.transport.nodeport import Connector
from confd.daemon.admitting import Admitting
from confd.daemon.submitting import Submitting
from confd.daemon.view import ClusterView
from confd.model.failpoints import Failpoint, reach
from confd.model.secret import Vault
from confd.scheduler.debts import command_key, is_debt, job_of
from confd.scheduler.head import Head
from confd.scheduler.pipeline import Surroundings
from confd.scheduler.scheduler import Scheduler
from confd.scheduler.steps import as_command
from confd.services.archive.upkeep import Upkeep
from confd.services.backup.scheduling.service import Schedules
from confd.services.database.supervision.supervision import Supervision
from confd.services.etcd.members import EtcdMembers
from confd.services.nodes.attendance import Attendance
from confd.services.storage.shortage import Shortages
from confd.services.wal.archive import WalArchive
from confd.store.protocol import Store
from confd.store.records import Step
from confd.store.tenure import tenure

log = structlog.get_logger("mastership")

_DEBT_SECONDS: Final = 2.0


class Service(Protocol):
    """A part that works on the master all the time."""

    def start(self) -> None:
        """Begin; must not block."""

    def close(self) -> None:
        """End, leaving everything on the nodes as it is; also when it has not begun."""


SERVICES: Final[tuple[Callable[[Cluster], Service], ...]] = (
    Supervision,
    WalArchive,
    Schedules,
    Upkeep,
    Attendance,
    EtcdMembers,
    Shortages,
)
"""Services that a master starts. A new one is added here."""


class Mastership:
    """The master's parts, from taking over to giving up.

    :param lapsed: tells for how long there may be a newer master than the one of a term; None when there is none.
    """

    def __init__(
        self, host: Host, term: int, store: Store, replica: Replica, agent: Agent,
        connector: Connector, vault: Vault, files: NodeFiles, counter: Counter,
        lapsed: Callable[[int], float | None],
    ) -> None:  # fmt: skip
        self.term, self._lapsed = term, lapsed
        self._majority = Majority(time.monotonic())
        self._host, self._store, self._files = host, tenure(store), files
        store = self._store
        self.head = Head(store, load_conf(store, vault), store.runtime())
        self.leader = Leader(host.node, term, store, replica, connector, address=host.address)
        self.view = ClusterView(host, self.head, self.leader, agent)
        around = Surroundings(store, self.head, self.view, self.view, vault, self.view.service, __version__, self.doubt)
        self.scheduler = Scheduler(around, self._check_may_change, term)
        self.view.submitting = Submitting(host.node, counter, self.scheduler).submit
        authentication = Authentication(lambda: self.head.conf, vault.derive("session"))
        self.methods = Methods(self.scheduler, authentication)
        self.admitting = Admitting(self.view, files)
        self._services = [kind(self.view) for kind in SERVICES]
        for service in (*self._services, vault):
            self.view.add_service(service)
        self._tasks: list[asyncio.Task[None]] = []
        self._retired: asyncio.Task[None] | None = None
        self.ready = False
        agent.ran = self.view.refresh_own_status

    async def start(self, gone: Container[int] = ()) -> None:
        """Go on where the last master stopped, and begin to work.

        :param gone: nodes that certainly do not run.
        """
        # Before the nodes are waited for: until then, a lease that is gone has been so for a while.
        self._host.leases.attend()
        # A job that goes on before its nodes are connected would find them offline and be undone.
        await self.leader.gather(gone)
        reach(Failpoint.GATHERED)
        if self._retired is not None:
            return
        loop = asyncio.get_running_loop()
        work = (self._beat(), self._pay_debts())
        self._tasks = [loop.create_task(task) for task in work]
        for service in self._services:
            service.start()
        self.scheduler.recover()
        reach(Failpoint.RECOVERED)
        self.ready = True

    async def close(self) -> None:
        """Stop working; jobs on their way are left to the next master. Fine when it was done already."""
        try:
            await self.retire()
        finally:
            await self.leader.close()

    async def retire(self) -> None:
        """Stop everything but the distribution of the journal, which others may still lack the end of."""
        if self._retired is None:
            self._retired = asyncio.get_running_loop().create_task(self._retire())
        await asyncio.shield(self._retired)

    async def _retire(self) -> None:
        self.ready = False
        reach(Failpoint.RESIGNING)
        # First of all: what fails because parts are closed must not be taken for the outcome of a job.
        self.scheduler.close()
        self.view.canceled = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for service in self._services:
            try:
                await asyncio.to_thread(service.close)
            except Exception:
                # The others must end nevertheless: another node is master.
                log.exception("service_not_closed", service=type(service).__name__)
        self._host.leases.neglect()
        reach(Failpoint.RESIGNED)

    def doubt(self) -> Doubt | None:
        """Return how old an answer may be that this master has just made; None when no newer master can exist.

        One that stood still for a while may be asked before it has noticed anything itself.
        """
        lapsed = self._lapsed(self.term)
        if lapsed is not None:
            text = f"n{self._host.node} may no longer be master since {lapsed:.0f} s, so this may be out of date"
            return Doubt(lapsed, text)
        return self._majority.doubt(time.monotonic())

    def _check_may_change(self) -> None:
        self.leader.check_quorum()
        self._store.check_room()

    async def _beat(self) -> None:
        while True:
            self._majority.seen(self.leader.states(), time.monotonic())
            try:
                await asyncio.to_thread(self.view.refresh_own_status)
            except Exception:
                log.exception("own_status_unknown")
            await asyncio.sleep(BEAT_SECONDS)

    async def _pay_debts(self) -> None:
        """Repeat settling commands that could not be done yet, until they are."""
        while True:
            for key, value in self._debts().items():
                try:
                    await self._pay(key, msgspec.convert(value, Step))
                except Exception:
                    # The others are paid nevertheless, and this one is tried again.
                    log.exception("debt_not_paid", key=key)
            await asyncio.sleep(_DEBT_SECONDS)

    async def _pay(self, key: str, step: Step) -> None:
        if step.node not in (MASTER, *self.head.conf.nodes) and not self.leader.knows(step.node):
            # The node was removed and is gone: nothing of it is left that could be done there.
            await asyncio.to_thread(self.head.put_record, key, None)
            log.info("debt_void", key=key, command=step.name, node=step.node)
            return
        reply = await asyncio.wrap_future(self.view.send(*command_key(key), as_command(step)))
        if reply.code == 0 and key in self.head.records:
            await asyncio.to_thread(self.head.put_record, key, None)
            log.info("debt_paid", key=key, command=step.name)

    def _debts(self) -> dict[str, Any]:
        records: dict[str, Any] = self.head.records
        busy = self.scheduler
        return {key: value for key, value in records.items() if is_debt(key) and busy.ticket(job_of(key)) is None}
