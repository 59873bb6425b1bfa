"""The daemon of one node: which parts it consists of, and in which order they begin and end.

``_open`` makes the parts: what the node holds, how it follows, who decides that it leads, where it is reached.
``_start`` has them work: the node port, the lease, the elections, at last the clients. ``_close`` ends them the other
way round. In between the elections have the node lead and leave, any number of times (``Seat``).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from confd.api.server import ApiServer
from confd.cluster.counter import Counter
from confd.cluster.following.agent import Agent, Results
from confd.cluster.following.follower import Follower
from confd.cluster.following.replica import Replica
from confd.cluster.host import Host
from confd.cluster.identity import Identity, NodeFiles
from confd.cluster.joining.server import Door
from confd.cluster.leading.member import OFFLINE_SECONDS
from confd.cluster.transport.nodeport import Connector, NodePort
from confd.daemon.belonging import Belonging, check_not_forgotten, forget_secrets
from confd.daemon.elections import Elections
from confd.daemon.entrance import Entrance
from confd.daemon.leasing import open_leases
from confd.daemon.mastership import Mastership
from confd.daemon.moving import Mover
from confd.daemon.ordering import TAKE_OVER, obey
from confd.daemon.pruning import prune
from confd.daemon.routing import Routing
from confd.daemon.stores import authority, cluster_mark, open_elections, open_store
from confd.daemon.switching import RESTART, Switch
from confd.exaconf import Conf
from confd.model.errors import WrongState
from confd.model.failpoints import Failpoint, reach
from confd.scheduler import registry
from confd.services.database.instance.ending import stop_instances
from confd.services.database.instance.holding import Holding
from confd.services.etcd.minder import Minder, server_at
from confd.services.nodes.machine import READY
from confd.services.nodes.mastership import Giving
from confd.services.nodes.stores import Moving, adopt
from confd.store.choice import load_choice

log = structlog.get_logger("daemon")

_ANSWER_SECONDS: Final = 1.0


class Daemon:
    """One node from start to stop. ``run`` returns when the daemon is told to end."""

    def __init__(self, root: Path, take_over: bool = False) -> None:
        self.files = NodeFiles(root)
        self.identity: Identity = self.files.load_identity()
        check_not_forgotten(self.files, self.identity.node)
        self.files.check_certificate(self.identity.uuid)
        self._ended = asyncio.Event()
        self._exit_code = 0
        self._mastership: Mastership | None = None
        self._looking: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._taking_over = take_over
        self._leaving = self._forgetting = False
        self.farewell = ""
        """Why the daemon has ended by itself, for who started it."""
        self.ready = False

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, or until the journal fails; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        registry.load()
        self._open()
        try:
            starting = loop.create_task(self._start())
            ended = loop.create_task(self._ended.wait())
            await asyncio.wait({starting, ended}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                if (error := starting.exception()) and not self.removed:
                    raise error
                await ended
            starting.cancel()
        finally:
            await self._close()
        return self._exit_code

    def _open(self) -> None:
        """Make all parts; each knows those before it."""
        self._loop = asyncio.get_running_loop()
        self._open_store()
        self._open_following()
        self._open_elections()
        self._open_doors()

    def _open_store(self) -> None:
        """What the node holds: its records, and its configuration."""
        files = self.files
        files.journal.parent.mkdir(parents=True, exist_ok=True)
        self._vault = files.vault()
        # The store may be in it.
        self._etcd = Minder(files.root)
        self._etcd.start()
        self._choice = load_choice(files.root)
        self._store = open_store(self._choice, files, self._vault, self._on_journal_failure)
        self._replica = Replica(self._store, files, self._vault)

    def _open_following(self) -> None:
        """What a master does with the node: keep its copy, run commands, let it go."""
        files, identity = self.files, self._at_home()
        self.identity, self._agent = identity, Agent(Results(files.results))
        installations = tuple(Path(prefix) for prefix in identity.installations)
        self._leases = open_leases(self._choice, identity.node)
        self.host = Host(
            identity.node, identity.address, files.root, Path(identity.runtime), identity.database_user, installations,
            self._conf, self._leases, end=self._leave, trouble=lambda: self.trouble,
        )  # fmt: skip
        self._leases.watch(Holding(self.host))
        self._follower = Follower(self.host, self._store, self._replica, self._agent, booted())
        # By its journal, also as master: what jobs see follows a moment later, when the connections are cut.
        self._belonging = Belonging(
            identity, files, self._store, self._follower, lambda: self._replica.conf, lambda: self.is_master,
            self._end_for_good,
        )  # fmt: skip
        self._connector = Connector(files.client_tls(), {}, self._belonging.is_member, self._belonging.hear)

    def _open_elections(self) -> None:
        """How the node comes to lead, and how the cluster moves to another store."""
        node = self.identity.node
        self._elections: Elections = open_elections(
            self._store, self._choice, self.files, self.identity, self._vault, self._follower, self._connector,
            self._conf, self,
        )  # fmt: skip
        self._mover = Mover(node, self._store, self, lambda to: authority(to, self._vault), self.host.path, self._moved)
        self._switch = Switch(
            self._store, self._choice, lambda moved: adopt(self.host, moved), lambda: self.is_master, self._restart
        )

    def _open_doors(self) -> None:
        """Where the node is reached: by other nodes, and by clients."""
        self._counter = Counter(self.files.counter)
        self._routing = Routing(
            self.identity.node, self._store, self._vault, self._counter, self._conf, self._follower, self._connector,
            self._elections, self,
        )  # fmt: skip
        methods = {**self._follower.methods, **self._elections.methods, **self._routing.methods}
        door = Door(self.files.ca, self._routing.admit)
        self._port = NodePort(methods, self._belonging.is_member, self.host, door, self._belonging.removed_under)
        self._replica.watch(self._on_revision)
        self._api = ApiServer(self._routing.gateway, self)
        self._entrance = Entrance(self._api, self.host)

    async def _start(self) -> None:
        """Have the parts work; returns once clients are served."""
        if self._belonging.check():
            return
        await self._port.start(self.identity.address, self.identity.port, self.files.server_tls())
        # After the port is open: of one node only one daemon may renew the lease.
        self._leases.start()
        self._follower.superseded(self._step_down)
        self._loop.add_signal_handler(TAKE_OVER, self._on_order)
        if self._switch.check():
            return
        self._looking += [self._loop.create_task(work) for work in (self._switch.run(), self._belonging.watch())]
        await self._elections.begin()
        if self._taking_over and not self.is_master:
            await self._elections.take_over()
        self._looking.append(self._loop.create_task(prune(self._store)))
        await self._open_when_caught_up()
        self.ready = True
        READY.set()
        log.info("ready", node=self.identity.node, master=self.is_master, revision=self._conf().revision)

    async def _open_when_caught_up(self) -> None:
        """Serve calls; those that need no master also when there is none."""
        caught_up = self._loop.create_task(self._follower.wait_caught_up())
        await asyncio.wait({caught_up}, timeout=OFFLINE_SECONDS)
        if not self._conf().revision:
            # A new node knows neither users nor its port before somebody has told it the configuration.
            await caught_up
        # The socket first: with it whatever keeps the port from opening can be put right.
        await self._api.listen_on_socket(Path(self.identity.runtime) / "confd.sock")
        await self._entrance.open()
        await caught_up

    async def _close(self) -> None:
        """End all parts, those that use others first."""
        self.ready = False
        await self._api.close()
        for task in self._looking:
            task.cancel()
        # Before the store is closed that they look at.
        await asyncio.gather(*self._looking, return_exceptions=True)
        await self._elections.close()
        if self._mastership is not None:
            await self._mastership.close()
        await self._connector.close()
        await self._port.close()
        self._agent.close()
        self._replica.close()
        await asyncio.to_thread(self._leases.close, self._exit_code in (0, RESTART))
        await asyncio.to_thread(self._store.close)
        await asyncio.to_thread(self._etcd.close)
        if self._leaving:
            await asyncio.to_thread(stop_instances, self.host)
            await asyncio.to_thread(server_at(self.files.root).stop)
        if self._forgetting:
            await asyncio.to_thread(forget_secrets, self.files)
        log.info("stopped", node=self.identity.node)

    @property
    def mastership(self) -> Mastership | None:
        """What this node does as master, None while it is not."""
        return self._mastership

    @property
    def is_master(self) -> bool:
        """True while this node is the master."""
        return self._mastership is not None

    async def lead(self, term: int) -> None:
        """Become master under a term, which is recorded.

        :raises WrongState: the cluster has left the store that this node still uses, or removed this node, or this node
            has heard of a newer master meanwhile.
        """
        if self._switch.check():
            raise WrongState(f"the cluster has left the store {self._choice.kind}; this node follows it there")
        self._replica.reload()
        if self._belonging.check():
            raise WrongState(self.farewell)
        reach(Failpoint.TERM_DUE)
        await self._follower.record_lead(term)
        self._mastership = Mastership(
            self.host, term, self._store, self._replica, self._agent, self._connector, self._vault, self.files,
            self._counter, self._elections.lapsed,
        )  # fmt: skip
        self._mastership.view.add_service(Giving(self.identity.node, self._elections.give))
        self._mastership.view.add_service(Moving(self._choice.kind, cluster_mark(self._vault), self._mover.move))
        await self._mastership.start(self._elections.gone())

    async def leave(self) -> None:
        """Be master no longer; fine when this node is not."""
        leaving, self._mastership = self._mastership, None
        if leaving is not None:
            self._follower.resign()
            await leaving.close()

    def _step_down(self) -> None:
        self._keep_task(self.leave())

    def _on_order(self) -> None:
        self._keep_task(obey(self._elections, self.identity.node, self.files.root))

    @property
    def removed(self) -> bool:
        """True once it is known that the cluster has removed this node."""
        return self._belonging.removed

    def end_removed(self, why: str) -> None:
        """End for good, because the cluster has removed this node."""
        self._belonging.leave(why)

    def _leave(self, removed: bool) -> None:
        """End with all instances, once who ordered it has been answered."""
        self._leaving, self._forgetting = True, removed
        self._loop.call_soon_threadsafe(self._loop.call_later, _ANSWER_SECONDS, self._ended.set)

    def _end_for_good(self, farewell: str) -> None:
        """End because the cluster has removed this node: nothing of it goes on without a daemon either."""
        self.farewell = farewell
        self._exit_code, self._leaving, self._forgetting = 1, True, True
        self._ended.set()

    def _restart(self) -> None:
        """End so that this node is started anew: the switch has written which store it uses then."""
        self._exit_code = RESTART
        self._ended.set()

    def _moved(self) -> None:
        self._switch.check()

    def _on_journal_failure(self, error: Exception) -> None:
        log.critical(
            "journal_failed", error=str(error), action="giving up; free disk space, then start the daemon again"
        )
        self._exit_code = 1
        self._loop.call_soon_threadsafe(self._ended.set)

    def master(self) -> tuple[str, str] | None:
        """Return address and name of the master, None when unknown."""
        return self._routing.master()

    @property
    def trouble(self) -> str:
        """Why this node's port for clients is not open yet; empty when nothing hinders it."""
        return self._entrance.trouble

    def _conf(self) -> Conf:
        return self._mastership.head.conf if self._mastership is not None else self._replica.conf

    def _at_home(self) -> Identity:
        """Return the identity with the address that the configuration gives this node now."""
        own = self._replica.conf.nodes.get(self.identity.node)
        if own is None or own.private_ip == self.identity.address:
            return self.identity
        log.info("address_changed", node=own.id, before=self.identity.address, now=own.private_ip)
        moved = msgspec.structs.replace(self.identity, address=own.private_ip)
        self.files.write_identity(moved)
        return moved

    def _on_revision(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._port.expel)

    def _keep_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def booted() -> float:
    """Return when this machine was booted, UTC seconds."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
