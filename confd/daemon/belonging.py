"""Whether this node still belongs to its cluster, and what it says to one that does not any more.

Who was removed while it was away finds itself in its own copy of the configuration. It learns of the removal from the
first node that it calls, from those that it asks while it hears no master, or from etcd; then it ends, for good: a file
says so to every later daemon of this node, since the next time nobody may be there to tell. Its keys are deleted.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from confd.cluster.following.follower import Follower
from confd.cluster.identity import Identity, NodeFiles, write_private
from confd.cluster.leading.member import OFFLINE_SECONDS
from confd.cluster.removal import Removal, ask
from confd.exaconf import Conf, Node
from confd.model.errors import WrongState
from confd.services.nodes.naming import RETIRED
from confd.store.choice import load_choice
from confd.store.etcd.access import EtcdAccess
from confd.store.protocol import Store

log = structlog.get_logger("belonging")

_IN_ORDER: Final = "it was told to leave"

_ASK_SECONDS: Final = 2.0
_ASKED_AT_ONCE: Final = 3
_ACTION: Final = (
    "the cluster has removed this node; delete what is left of it with c4 rm -t PLAY.NODE, or add it again as a new "
    "node: node_add, then c4 host join TOKEN"
)


class Belonging:
    """A node's place in the configuration, and the loss of it.

    :param leads: whether this node is master now.
    :param end: ends the daemon, once, with what is to be said.
    """

    def __init__(
        self, identity: Identity, files: NodeFiles, store: Store, follower: Follower, conf: Callable[[], Conf],
        leads: Callable[[], bool], end: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._identity, self._files, self._store, self._follower = identity, files, store, follower
        self._conf, self._leads, self._end = conf, leads, end
        self._tls: ssl.SSLContext | None = None
        self.removed = False
        """True once this node knows that it was removed; it must not lead any more."""

    def is_member(self, uuid: str) -> bool:
        """Tell whether the node with this UUID is one of the cluster, as far as this one knows."""
        if nodes := self._conf().nodes:
            return any(node.uuid == uuid for node in nodes.values())
        # A new node knows its cluster only by what it was told when it was made.
        return not self._identity.members or uuid in self._identity.members

    def removed_under(self, uuid: str) -> int | None:
        """Return the term that this node knows when the one with this UUID was removed; None when it was not."""
        return self._follower.master.term if is_retired(self._store.runtime().get(RETIRED), uuid) else None

    def hear(self, removal: Removal) -> None:
        """Take note that a member says that this node was removed."""
        own = max(self._store.leader()[0], self._follower.master.term)
        if removal.counts(own):
            self.leave(f"{self._name(removal.by)} says so, under term {removal.term}")
        else:
            log.warning("removal_outdated", by=self._name(removal.by), term=removal.term, own=own)

    def leave(self, why: str) -> None:
        """End for good, because this node was removed."""
        if self.removed:
            return
        self.removed = True
        log.critical("removed", node=self._identity.node, why=why, action=_ACTION)
        try:
            write_private(self._files.removed, why.encode())
        except OSError as error:
            log.error("removal_not_noted", error=str(error))
        self._end(farewell(self._identity.node, why))

    def check(self) -> bool:
        """Tell whether this node is known to be removed, and have it end then."""
        if self._files.removed.exists():
            self.leave(self._files.removed.read_text())
        elif self._is_left_out():
            self.leave("its configuration says so")
        return self.removed

    async def watch(self) -> None:
        """Find out whether this node was removed, as long as it hears no master."""
        while not self.removed:
            try:
                # Who is removed in order is told by the master to clean up first.
                if not self._leads() and self._follower.silence() > OFFLINE_SECONDS and not self.check():
                    await self._ask_some()
            except Exception:
                # Without this task a removed node would run on for ever.
                log.exception("belonging_not_checked")
            await asyncio.sleep(_ASK_SECONDS)

    async def _ask_some(self) -> None:
        """Ask a few nodes, others each time: all of a large cluster would be asked by all of it."""
        conf = self._conf()
        others = [node for node in conf.nodes.values() if node.id != self._identity.node]
        some = random.sample(others, min(_ASKED_AT_ONCE, len(others)))
        for removal in await asyncio.gather(*(self._ask(node, conf.global_.cored_port) for node in some)):
            if removal is not None and self.is_member(removal.by):
                self.hear(removal)

    async def _ask(self, node: Node, port: int) -> Removal | None:
        if self._tls is None:
            self._tls = self._files.client_tls()
        return await asyncio.to_thread(ask, node.private_ip, port, self._tls)

    def _is_left_out(self) -> bool:
        nodes = self._conf().nodes
        return bool(nodes) and self._identity.node not in nodes

    def _name(self, uuid: str) -> str:
        return next((node.name for node in self._conf().nodes.values() if node.uuid == uuid), uuid)


def farewell(node: int, why: str) -> str:
    """Say that the cluster has removed this node, and what to do."""
    return f"n{node} was removed ({why}): {_ACTION}"


def check_not_forgotten(files: NodeFiles, node: int) -> None:
    """Refuse to start a node that was removed and has ended with all that ran on it.

    :raises WrongState: says what to do.
    """
    begun = not (files.key.exists() and files.data_key.exists())
    if files.removed.exists() and begun:
        forget_secrets(files)
        why = files.removed.read_text()
        log.critical("removed", node=node, why=why, action=_ACTION)
        raise WrongState(farewell(node, why))


def forget_secrets(files: NodeFiles) -> None:
    """Delete the keys of a node that was removed, once nothing runs on it any more.

    What is sealed in its journal cannot be opened any more then. Certificates and what databases have stored stay.
    """
    try:
        if not files.removed.exists():
            write_private(files.removed, _IN_ORDER.encode())
        for path in secrets_of(files):
            path.unlink(missing_ok=True)
        log.info("secrets_forgotten")
    except (OSError, ValueError) as error:
        log.error("secrets_not_forgotten", error=str(error), action="wipe the disk before you give the machine away")


def secrets_of(files: NodeFiles) -> list[Path]:
    """Return the files below a node's root that let it pass for a member, in the order in which they go.

    Without the first one no daemon starts, so whatever kills this one, the next try goes on; without the last one the
    others are known to be gone, too.
    """
    access = load_choice(files.root).etcd or EtcdAccess(endpoints=())
    named = [Path(name) for name in (access.password_file, access.key) if name is not None and ".." not in name]
    own = [path for path in named if path.is_relative_to(files.root)]
    return [files.key, *own, files.root / "etc/ssl/ssl.key", files.data_key]


def is_retired(record: Any, uuid: str) -> bool:
    """Tell whether the record of removed nodes, if there is one, has a UUID."""
    return uuid in msgspec.convert(record or {}, dict[str, str]).values()
