"""The daemon of one node: store, agent, node port, API; and mastership when it is the master."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from confd.api.authentication import Authentication
from confd.api.gateway import Gateway
from confd.api.methods import Methods
from confd.api.server import ApiServer
from confd.cluster.counter import Counter
from confd.cluster.following.agent import Agent, Results
from confd.cluster.following.follower import Follower
from confd.cluster.following.replica import Replica
from confd.cluster.host import Host
from confd.cluster.identity import Identity, NodeFiles, write_private
from confd.cluster.joining.server import Door
from confd.cluster.leading.doubt import Doubt
from confd.cluster.leading.member import OFFLINE_SECONDS
from confd.cluster.transport.nodeport import Connector, NodePort
from confd.daemon.belonging import Belonging, check_not_forgotten, forget_secrets
from confd.daemon.elections import Elections
from confd.daemon.entrance import Entrance
from confd.daemon.leasing import open_leases
from confd.daemon.mastership import Mastership
from confd.daemon.moving import Mover
from confd.daemon.stores import authority, cluster_mark, open_elections, open_store
from confd.daemon.switching import RESTART, Switch
from confd.exaconf import Conf
from confd.model.errors import ConfDError, NodeOffline, NoMaster, WrongState
from confd.model.failpoints import Failpoint, reach
from confd.scheduler import registry
from confd.scheduler.standin import StandIn
from confd.services.database.instance.ending import stop_instances
from confd.services.database.instance.holding import Holding
from confd.services.etcd.minder import Minder, server_at
from confd.services.nodes.machine import READY
from confd.services.nodes.mastership import Giving
from confd.services.nodes.stores import Moving, adopt
from confd.store.choice import load_choice
from confd.store.protocol import Retention

log = structlog.get_logger("daemon")

_PRUNE_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 0.5
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
        self._pruning: asyncio.Task[None] | None = None
        self._switching: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
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
        self._open(loop)
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

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        files = self.files
        files.journal.parent.mkdir(parents=True, exist_ok=True)
        self._loop = loop
        self._vault = files.vault()
        self._etcd = Minder(files.root)
        self._etcd.start()
        choice = load_choice(files.root)
        self._store = open_store(choice, files, self._vault, self._on_journal_failure)
        self._replica = Replica(self._store, files, self._vault)
        self._agent = Agent(Results(files.results))
        identity = self.identity = self._at_home()
        runtime = Path(identity.runtime)
        installations = tuple(Path(prefix) for prefix in identity.installations)
        self._leases = open_leases(choice, identity.node)
        self.host = Host(
            identity.node, identity.address, files.root, runtime, identity.database_user, installations, self._conf,
            self._leases, end=self._leave, trouble=lambda: self.trouble,
        )  # fmt: skip
        self._leases.watch(Holding(self.host))
        self._follower = Follower(self.host, self._store, self._replica, self._agent, booted())
        self._belonging = Belonging(
            identity, files, self._store, self._follower, self._conf, lambda: self.is_master, self._end_for_good
        )
        belongs = self._belonging.is_member
        self._connector = Connector(files.client_tls(), {}, belongs, self._belonging.hear)
        self._elections: Elections = open_elections(
            self._store, choice, files, identity, self._vault, self._follower, self._connector, self._conf, self
        )
        self._mover = Mover(
            identity.node, self._store, self, lambda to: authority(to, self._vault), self.host.path, self._moved
        )
        self._switch = Switch(
            self._store, choice, lambda moved: adopt(self.host, moved), lambda: self.is_master, self._restart
        )
        self._store_kind = choice.kind
        methods = {**self._follower.methods, **self._elections.methods, "api": self._api_call}
        methods["join"] = self._admit_here
        door = Door(files.ca, self._admit)
        self._port = NodePort(methods, belongs, self.host, door, self._belonging.removed_under)
        self._replica.watch(self._on_revision)
        self._counter = Counter(files.counter)
        standing_in = StandIn(self._store, self._conf, self._vault, self._doubt)
        self._standing_in = Methods(standing_in, Authentication(self._conf, self._vault.derive("session")))
        self._gateway = Gateway(
            identity.node, self._counter, self._answering, self._forward, stand_in=self._without_master,
            advice=lambda: self._elections.advice,
        )  # fmt: skip
        self._api = ApiServer(self._gateway, self)
        self._entrance = Entrance(self._api, self.host)

    async def _start(self) -> None:
        if self._belonging.check():
            return
        await self._port.start(self.identity.address, self.identity.port, self.files.server_tls())
        # After the port is open: of one node only one daemon may renew the lease.
        self._leases.start()
        self._follower.superseded(self._step_down)
        self._loop.add_signal_handler(signal.SIGUSR1, lambda: self._keep_task(self._take_over_on_demand()))
        if self._switch.check():
            return
        self._switching = self._loop.create_task(self._switch.run())
        self._watching = self._loop.create_task(self._belonging.watch())
        await self._elections.begin()
        if self._taking_over and not self.is_master:
            await self._elections.take_over()
        self._pruning = self._loop.create_task(self._prune())
        await self._open_when_caught_up()
        self.ready = True
        READY.set()
        log.info("ready", node=self.identity.node, master=self.is_master, revision=self._conf().revision)

    async def _take_over_on_demand(self) -> None:
        try:
            text = f"n{self.identity.node} is master now; {await self._elections.take_over()}"
            answer = {"done": True, "text": text}
        except ConfDError as error:
            answer = {"done": False, "text": error.message}
        except Exception as error:
            log.exception("take_over_failed")
            answer = {"done": False, "text": repr(error)}
        write_private(take_over_answer(self.files.root), msgspec.json.encode(answer))

    def _moved(self) -> None:
        self._switch.check()

    def _restart(self) -> None:
        """End so that this node is started anew: the switch has written which store it uses then."""
        self._exit_code = RESTART
        self._ended.set()

    def _step_down(self) -> None:
        self._keep_task(self.leave())

    async def leave(self) -> None:
        """Be master no longer; fine when this node is not."""
        leaving, self._mastership = self._mastership, None
        if leaving is not None:
            self._follower.resign()
            await leaving.close()

    def _keep_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def lead(self, term: int) -> None:
        """Become master under a term, which is recorded.

        :raises WrongState: the cluster has left the store that this node still uses, or removed this node, or this node
            has heard of a newer master meanwhile.
        """
        if self._switch.check():
            raise WrongState(f"the cluster has left the store {self._store_kind}; this node follows it there")
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
        self._mastership.view.add_service(Moving(self._store_kind, cluster_mark(self._vault), self._mover.move))
        await self._mastership.start(self._elections.gone())

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

    def _at_home(self) -> Identity:
        """Return the identity with the address that the configuration gives this node now."""
        own = self._replica.conf.nodes.get(self.identity.node)
        if own is None or own.private_ip == self.identity.address:
            return self.identity
        log.info("address_changed", node=own.id, before=self.identity.address, now=own.private_ip)
        moved = msgspec.structs.replace(self.identity, address=own.private_ip)
        self.files.write_identity(moved)
        return moved

    def _leave(self, removed: bool) -> None:
        """End with all instances, once who ordered it has been answered."""
        self._leaving, self._forgetting = True, removed
        self._loop.call_soon_threadsafe(self._loop.call_later, _ANSWER_SECONDS, self._ended.set)

    def _end_for_good(self, farewell: str) -> None:
        """End because the cluster has removed this node: nothing of it goes on without a daemon either."""
        self.farewell = farewell
        self._exit_code, self._leaving, self._forgetting = 1, True, True
        self._ended.set()

    async def _close(self) -> None:
        self.ready = False
        await self._api.close()
        looking = [task for task in (self._pruning, self._switching, self._watching) if task is not None]
        for task in looking:
            task.cancel()
        # Before the store is closed that they look at.
        await asyncio.gather(*looking, return_exceptions=True)
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

    async def _prune(self) -> None:
        """Forget what the retention gives up, on every node: each has a journal of its own."""
        while True:
            try:
                forgotten = await asyncio.to_thread(self._store.prune, Retention())
                if forgotten:
                    log.info("history_pruned", jobs=forgotten)
            except Exception:
                log.exception("history_not_pruned")
            await asyncio.sleep(_PRUNE_SECONDS)

    @property
    def mastership(self) -> Mastership | None:
        """What this node does as master, None while it is not."""
        return self._mastership

    @property
    def removed(self) -> bool:
        """True once it is known that the cluster has removed this node."""
        return self._belonging.removed

    @property
    def trouble(self) -> str:
        """Why this node's port for clients is not open yet; empty when nothing hinders it."""
        return self._entrance.trouble

    def end_removed(self, why: str) -> None:
        """End for good, because the cluster has removed this node."""
        self._belonging.leave(why)

    @property
    def is_master(self) -> bool:
        """True while this node is the master."""
        return self._mastership is not None

    def master(self) -> tuple[str, str] | None:
        """Return address and name of the master, None when unknown."""
        node = self._conf().nodes.get(self._follower.master.node)
        return (self._follower.master.address or node.private_ip, node.name) if node is not None else None

    def _conf(self) -> Conf:
        return self._mastership.head.conf if self._mastership is not None else self._replica.conf

    def _answering(self) -> Any:
        return self._mastership.methods if self._mastership is not None and self._mastership.ready else None

    def _without_master(self) -> Any:
        """Return what answers reads while no master is heard of."""
        return self._standing_in if self._follower.silence() > OFFLINE_SECONDS and not self.is_master else None

    def _doubt(self) -> Doubt:
        age, revision = self._follower.silence(), self._conf().revision
        name = f"n{self.identity.node}"
        return Doubt(age, f"no master answers: this is what {name} knew {age:.0f} s ago, at revision {revision}")

    async def _api_call(self, body: Any) -> Any:
        return msgspec.to_builtins(await self._gateway.take(body), str_keys=True, builtin_types=(bytes,))

    async def _forward(self, method: str, body: Any) -> Any:
        master, seen = self.master(), self._follower.master
        if master is None or seen.node == self.identity.node:
            raise NoMaster(self._elections.trouble or "no master is known yet")
        call = self._loop.create_task(self._connector.call(master[0], self._conf().global_.cored_port, method, body))
        try:
            while not (await asyncio.wait({call}, timeout=_LOOK_SECONDS))[0]:
                if self._follower.master.term > seen.term:
                    # A master that hangs never answers; the next one has the call's id, and goes on with it.
                    raise NodeOffline(f"{master[1]} is no longer master")
                if self._follower.silence() > OFFLINE_SECONDS:
                    raise NodeOffline("it has fallen silent")
            return call.result()
        except (NodeOffline, NoMaster) as error:
            why = self._elections.trouble or error.message
            raise NodeOffline(f"{master[1]} was master last, {why}") from None
        finally:
            call.cancel()

    async def _admit(self, body: Any) -> Any:
        """Let a node join by this node's door: the master decides."""
        return await self._admit_here(body) if self.is_master else await self._forward("join", body)

    async def _admit_here(self, body: Any) -> Any:
        mastership = self._mastership
        if mastership is None or not mastership.ready:
            raise NoMaster("the cluster has no master that is ready; try again in a moment")
        return await mastership.admitting.admit(body)

    def _on_revision(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._port.expel)

    def _on_journal_failure(self, error: Exception) -> None:
        log.critical(
            "journal_failed", error=str(error), action="giving up; free disk space, then start the daemon again"
        )
        self._exit_code = 1
        self._loop.call_soon_threadsafe(self._ended.set)


def booted() -> float:
    """Return when this machine was booted, UTC seconds."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def take_over_answer(root: Path) -> Path:
    """Return where a daemon writes what came of an order to take over."""
    return root / "spool/take-over.json"


def pid_file(root: Path) -> Path:
    """Return where a daemon notes its process id."""
    return root / "spool/confd.pid"


def write_pid(root: Path) -> None:
    """Note this process as the daemon of a node."""
    path = pid_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(os.getpid()))
