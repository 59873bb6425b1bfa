"""The daemon of one node: store, agent, node port, API; and mastership when it is the master."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from confd.api.gateway import Gateway
from confd.api.server import ApiServer
from confd.cluster.agent import Agent, Results
from confd.cluster.counter import Counter
from confd.cluster.follower import Follower
from confd.cluster.host import Host
from confd.cluster.identity import Identity, NodeFiles, write_private
from confd.cluster.nodeport import Connector, NodePort
from confd.cluster.replica import Replica
from confd.cluster.takeover import Taken, ask_all, collect
from confd.daemon.bootstrap import bootstrap
from confd.daemon.mastership import Mastership
from confd.daemon.tls import api_tls
from confd.exaconf import Conf
from confd.model.errors import ConfDError, NoMaster, WrongState
from confd.scheduler import registry
from confd.services.database.instance.ending import stop_instances
from confd.services.nodes.machine import READY
from confd.store.protocol import Retention
from confd.store.sqlite import SqliteStore

log = structlog.get_logger("daemon")

_PRUNE_SECONDS: Final = 600.0
_ANSWER_SECONDS: Final = 1.0


class Daemon:
    """One node from start to stop. ``run`` returns when the daemon is told to end."""

    def __init__(self, root: Path, take_over: bool = False) -> None:
        self.files = NodeFiles(root)
        self.identity: Identity = self.files.load_identity()
        self._ended = asyncio.Event()
        self._exit_code = 0
        self._mastership: Mastership | None = None
        self._pruning: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._taking_over = take_over
        self._leaving = False
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
                starting.result()
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
        self._store = SqliteStore(files.journal, self._on_journal_failure)
        self._replica = Replica(self._store, files, self._vault)
        self._agent = Agent(Results(files.results))
        identity = self.identity = self._at_home()
        runtime = Path(identity.runtime)
        installations = tuple(Path(prefix) for prefix in identity.installations)
        self.host = Host(
            identity.node, identity.address, files.root, runtime, identity.database_user, installations, self._conf,
            end=self._leave,
        )  # fmt: skip
        self._follower = Follower(self.host, self._store, self._replica, self._agent, booted())
        methods = {**self._follower.methods, "api": self._api_call}
        self._connector = Connector(files.client_tls(), {})
        self._port = NodePort(methods, self._is_member, self.host)
        self._counter = Counter(files.counter)
        self._gateway = Gateway(identity.node, self._counter, self._answering, self._forward)
        self._api = ApiServer(self._gateway, self)

    async def _start(self) -> None:
        if (nodes := self._replica.conf.nodes) and self.identity.node not in nodes:
            log.critical("removed", node=self.identity.node, action="the cluster has removed this node; add a new one")
            self._exit_code = 1
            self._ended.set()
            return
        await self._port.start(self.identity.address, self.identity.port, self.files.server_tls())
        await asyncio.to_thread(bootstrap, self._store, self.identity, self._vault)
        self._follower.superseded(self._step_down)
        self._loop.add_signal_handler(signal.SIGUSR1, lambda: self._keep_task(self._take_over_on_demand()))
        term, master = self._store.leader()
        if master == self.identity.node and not await self._is_superseded(term):
            await self._lead(term)
        elif self._taking_over:
            await self.take_over()
        else:
            await self._follower.wait_caught_up()
        await self._open_api()
        self._pruning = self._loop.create_task(self._prune())
        self.ready = True
        READY.set()
        log.info("ready", node=self.identity.node, master=self.is_master, revision=self._conf().revision)

    async def take_over(self) -> Taken:
        """Lead on under a newer term, by order of an administrator, because the master is lost.

        :raises WrongState: there is a master that answers.
        """
        if self.is_master:
            raise WrongState(f"n{self.identity.node} is master already")
        taken = await collect(self._store, self._connector, self._conf(), self.identity.node)
        log.warning("taking_over", term=taken.term, n=taken.position.n, silent=list(taken.silent))
        self._replica.reload()
        await self._lead(taken.term)
        return taken

    async def _take_over_on_demand(self) -> None:
        try:
            text = f"n{self.identity.node} is master now; {await self.take_over()}"
            answer = {"done": True, "text": text}
        except ConfDError as error:
            answer = {"done": False, "text": error.message}
        except Exception as error:
            log.exception("take_over_failed")
            answer = {"done": False, "text": repr(error)}
        write_private(take_over_answer(self.files.root), msgspec.json.encode(answer))

    async def _is_superseded(self, term: int) -> bool:
        """Ask whether another master was made while this node was away."""
        known = await ask_all(self._connector, self._conf(), self.identity.node)
        newer = [one.term for one in known.values() if one is not None and one.term > term]
        if newer:
            log.warning("superseded", term=term, newer=max(newer))
        return bool(newer)

    def _step_down(self) -> None:
        if self._mastership is not None:
            leaving, self._mastership = self._mastership, None
            self._keep_task(leaving.close())

    def _keep_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead(self, term: int) -> None:
        await asyncio.to_thread(self._store.lead, term, self.identity.node)
        self._follower.lead(self.identity.node, term)
        self._mastership = Mastership(
            self.host, term, self._store, self._replica, self._agent, self._connector, self._vault, self.files,
            self._counter,
        )  # fmt: skip
        await self._mastership.start()

    def _at_home(self) -> Identity:
        """Return the identity with the address that the configuration gives this node now."""
        own = self._replica.conf.nodes.get(self.identity.node)
        if own is None or own.private_ip == self.identity.address:
            return self.identity
        log.info("address_changed", node=own.id, before=self.identity.address, now=own.private_ip)
        moved = msgspec.structs.replace(self.identity, address=own.private_ip)
        self.files.write_identity(moved)
        return moved

    def _leave(self) -> None:
        """End with all instances, once who ordered it has been answered."""
        self._leaving = True
        self._loop.call_soon_threadsafe(self._loop.call_later, _ANSWER_SECONDS, self._ended.set)

    async def _open_api(self) -> None:
        conf = self._conf()
        tls = api_tls(conf, self.host)
        await self._api.listen(self.identity.address, conf.global_.xmlrpc_port, tls)
        socket = Path(self.identity.runtime) / "confd.sock"
        await self._api.listen_on_socket(socket)

    async def _close(self) -> None:
        self.ready = False
        await self._api.close()
        if self._pruning is not None:
            self._pruning.cancel()
        if self._mastership is not None:
            await self._mastership.close()
        await self._connector.close()
        await self._port.close()
        self._agent.close()
        self._replica.close()
        await asyncio.to_thread(self._store.close)
        if self._leaving:
            await asyncio.to_thread(stop_instances, self.host)
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

    async def _api_call(self, body: Any) -> Any:
        return msgspec.to_builtins(await self._gateway.take(body), str_keys=True, builtin_types=(bytes,))

    async def _forward(self, method: str, body: Any) -> Any:
        master = self.master()
        if master is None or self._follower.master.node == self.identity.node:
            raise NoMaster("no master is known yet")
        return await self._connector.call(master[0], self._conf().global_.cored_port, method, body)

    def _is_member(self, uuid: str) -> bool:
        nodes = self._conf().nodes
        return not nodes or any(node.uuid == uuid for node in nodes.values())

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
