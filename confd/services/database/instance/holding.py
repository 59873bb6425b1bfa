"""Hands the deadlines of the node's lease to the keepers of its instances, and ends keepers that do not take them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

import structlog

from confd.cluster.host import Host
from confd.cluster.leases.lease import TTL_SECONDS, Hold, boottime
from confd.model.errors import ConfDError, TimedOut
from confd.services.database.engine.layout import layout
from confd.services.database.engine.server import Server
from confd.services.database.keeper.client import KeeperClient
from confd.services.database.keeper.processes import clear

log = structlog.get_logger("holding")

_PARALLEL: Final = 8
_WAIT: Final = 0.3
_END: Final = 0.5


class Holding:
    """The keepers of one node, as its lease sees them."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="holding")
        self._telling: set[str] = set()
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, hold: Hold, shorten: bool) -> bool:
        """Give all keepers a deadline; True when each of them has it. One that does not answer delays no other."""
        with self._lock:
            names = [name for name in self._names() if name not in self._telling]
            complete = len(names) == len(self._names())
            self._telling.update(names)
        told = [self._pool.submit(self._tell, name, hold, shorten) for name in names]
        done, open_ = wait(told, _WAIT)
        return complete and not open_ and all(one.result() for one in done)

    def release(self) -> bool:
        """Bind the servers of all keepers to no deadline; True when each of them knows."""
        try:
            for name in self._names():
                self._keeper(name).release()
        except ConfDError as error:
            log.warning("keeper_not_released", error=error.message)
            return False
        return True

    def writes(self) -> bool:
        """Tell whether an instance takes writes, or whether that cannot be seen."""
        try:
            found = [self._keeper(name).status() for name in self._names()]
        except ConfDError:
            return True
        return any(status is not None and status.writable for status in found)

    def _tell(self, name: str, hold: Hold, shorten: bool) -> bool:
        try:
            if self._keeper(name).hold(hold.name, hold.deadline, shorten) is not None:
                self._until[name] = hold.deadline
            else:
                self._until.pop(name, None)
            return True
        except TimedOut:
            self._deaf(name)
        except Exception:
            log.exception("deadline_not_given", database=name)
        finally:
            with self._lock:
                self._telling.discard(name)
        return False

    def _deaf(self, name: str) -> None:
        """End a keeper that did not stop its server in time, if it should have: it is frozen, and so cannot."""
        if boottime() < self._until.setdefault(name, boottime() + TTL_SECONDS):
            return
        log.error("keeper_deaf", database=name)
        self._keeper(name).end_by_force()
        clear(Server(self._host, name).place.data, patience=_END)
        self._until.pop(name, None)

    def _keeper(self, name: str) -> KeeperClient:
        place = layout(self._host, name)
        return KeeperClient(place.state, place.keeper)

    def _names(self) -> list[str]:
        states = self._host.path("/exa/metadata/dwad")
        return sorted(path.name for path in states.glob("*/")) if states.exists() else []
