"""Minding a node's etcd member: it runs as long as the node's plan says so, and lets only its own cluster in."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import structlog

from confd.cluster.identity import NodeFiles
from confd.services.etcd.access import secure
from confd.services.etcd.plan import load_plan
from confd.services.etcd.server import EtcdServer
from confd.store.choice import load_choice
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdError
from confd.store.etcd.gateway import return_to_first

log = structlog.get_logger("etcd")

_LOOK_SECONDS: Final = 0.5
_RETURN_LOOKS: Final = 10
"""After so many looks this node's clients are asked back to its own member."""

_SERVERS: Final[dict[Path, EtcdServer]] = {}


def server_at(root: Path) -> EtcdServer:
    """Return the one object that runs the etcd server of a node."""
    return _SERVERS.setdefault(root, EtcdServer(NodeFiles(root)))


class Minder:
    """Starts the member when its daemon starts, and again whenever it died; it outlives the daemon."""

    def __init__(self, root: Path) -> None:
        self._root, self._server = root, server_at(root)
        self._secured = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._mind, name="etcd", daemon=True)

    def start(self) -> None:
        """Begin; the member has been started when this returns, unless that fails; it need not answer yet."""
        self._server.look()
        self._thread.start()

    def close(self) -> None:
        """Mind it no longer; it goes on."""
        self._ended.set()
        self._thread.join()

    def _mind(self) -> None:
        looks = 0
        while not self._ended.wait(_LOOK_SECONDS):
            looks += 1
            try:
                runs = self._server.look()
                if runs and not self._secured:
                    self._secured = self._secure()
                if runs and looks % _RETURN_LOOKS == 0:
                    self._return()
            except Exception:
                log.exception("etcd_not_minded")

    def _return(self) -> None:
        """Have this node's clients use its own member, which comes up after the others as often as not."""
        plan, access = load_plan(self._root), load_choice(self._root).etcd
        if plan is not None and access is not None and access.endpoints[0] == plan.client_url:
            return_to_first(access)

    def _secure(self) -> bool:
        choice = load_choice(self._root)
        if choice.etcd is None or choice.etcd.password_file is None:
            return False
        client = EtcdClient(choice.etcd)
        try:
            secure(client, choice.etcd.password())
        except EtcdError as error:
            log.debug("etcd_not_secured", error=str(error))
            return False
        finally:
            client.close()
        return True
