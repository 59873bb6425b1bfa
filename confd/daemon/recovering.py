"""Going on after the loss of etcd's majority, or with an etcd that went back: by order of an administrator.

What this node can reach is brought together: its own member of etcd, which becomes the only one (a new one where the
node ran none), its journal, and the
journals of nodes that answer. etcd is then made to hold the longest of them, under a term that is far above any that
those who are down may still give each other: when they return they follow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from confd.cluster.identity import write_private
from confd.cluster.leading.takeover import Known, Taken, ask_all, fetch
from confd.cluster.transport.nodeport import Connector
from confd.exaconf import Conf
from confd.model.errors import NodeError, WrongState
from confd.services.etcd.founding import found_alone
from confd.services.etcd.members import RECORD, Members
from confd.services.etcd.minder import server_at
from confd.services.etcd.plan import votes
from confd.services.etcd.regaining import regain
from confd.store.etcd.candidate import Next
from confd.store.etcd.errors import EtcdDenied, EtcdError
from confd.store.etcd.state import read_state, state_of, write
from confd.store.etcd.store import EtcdStore
from confd.store.protocol import Gap, StoreFailed
from confd.store.terms import NODES, next_term

log = structlog.get_logger("recovering")

ROUNDS: Final = 1_000
"""How far the term is raised."""

_HEALTHY_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.2


def permission(root: Path) -> Path:
    """Return the file that says that an administrator knows the others to be down; it is good once."""
    return root / "spool/others-are-down"


def permit(root: Path) -> None:
    """Say that the others are down."""
    write_private(permission(root), b"")


class Recovery:
    """Makes this node, which survived, the one that etcd and the cluster go on from."""

    def __init__(
        self, node: int, root: Path, store: EtcdStore, connector: Connector, conf: Callable[[], Conf],
    ) -> None:  # fmt: skip
        self._node, self._root, self._store = node, root, store
        self._connector, self._conf = connector, conf

    async def run(self, went_back: bool) -> Taken:
        """Have etcd hold the longest journal that can be reached, under a raised term.

        :param went_back: this node found that etcd knows less than it; then etcd may be whole.
        :raises WrongState: there is nothing to recover, or no permission; nothing has changed.
        :raises NodeError: etcd does not come up here, or does not do as told.
        """
        if not permission(self._root).exists():
            raise WrongState(
                "with etcd as the store a living node becomes master by itself, and an order is not needed; if most "
                "members of etcd are lost for good, or it was restored from an old backup: "
                "c4 store recover --yes-others-are-down"
            )
        permission(self._root).unlink()
        known = await ask_all(self._connector, self._conf(), self._node)
        answers = [one for one in known.values() if one is not None]
        alone = not await self._has_gone_back(answers, went_back)
        if alone:
            await asyncio.to_thread(self._stand_alone)
        await self._wait_for_etcd(alone)
        await self._longest(answers)
        term = self._raised(max([self._store.leader()[0], *(one.term for one in answers)]))
        try:
            await asyncio.to_thread(self._put_right, term)
        except (EtcdError, StoreFailed) as error:
            raise NodeError(f"etcd was not put right: {error}") from None
        silent = tuple(node for node, answer in known.items() if answer is None)
        return Taken(term, self._store.head(), silent)

    def _raised(self, term: int) -> int:
        return next_term(term + ROUNDS * NODES, self._node)

    def _stand_alone(self) -> None:
        """Have etcd be one member here: the one that survived, or a new one where none was that voted."""
        if not server_at(self._root).lost and votes(self._root):
            log.warning("etcd_forced", node=self._node)
            server_at(self._root).force_new_cluster()
            return
        known = self._store.runtime().get(RECORD)
        members = None if known is None else msgspec.convert(known, Members)
        found_alone(self._root, f"n{self._node}", self._conf().require_node(self._node).private_ip, members)
        log.warning("etcd_begun_anew", node=self._node)

    async def _has_gone_back(self, answers: list[Known], seen: bool) -> bool:
        """Tell an etcd that went back, which may be whole, from one whose majority is lost.

        :raises WrongState: it is neither.
        """
        if leading := [one.node for one in answers if one.leads]:
            raise WrongState(f"n{leading[0]} is master and answers; there is nothing to recover")
        if seen:
            return True
        try:
            _, head = await asyncio.to_thread(self._store.authority.read_head, _HEALTHY_SECONDS)
        except StoreFailed:
            return False
        # Another node may have noticed, and sent the administrator here, before this one tried to lead.
        if (head.term, head.n) < (self._store.head().term, self._store.head().n):
            return True
        raise WrongState("etcd answers, so it has its majority; there is nothing to recover")

    async def _wait_for_etcd(self, alone: bool) -> None:
        """Wait until etcd answers; one that is on this node alone lets it in, whatever password it knows."""
        until = time.monotonic() + _ANSWER_SECONDS
        while True:
            try:
                await asyncio.to_thread(self._store.authority.read_head)
                return
            except StoreFailed as error:
                if alone and isinstance(error.__cause__, EtcdDenied):
                    alone = False
                    await asyncio.to_thread(regain, self._root)
                elif time.monotonic() > until:
                    raise NodeError(f"etcd does not answer: {error}; see its log on n{self._node}") from None
            await asyncio.sleep(_LOOK_SECONDS)

    async def _longest(self, answers: list[Known]) -> None:
        for one in sorted(answers, key=lambda one: one.position, reverse=True):
            if one.position > self._store.head():
                await fetch(self._store, self._connector, self._conf(), one)

    def _put_right(self, term: int) -> None:
        """Have etcd hold the longest journal, and this node be the one that tries to lead first."""
        self._fill(term)
        authority = self._store.authority
        authority.client.put(authority.keys.next, msgspec.json.encode(Next(self._node)))

    def _fill(self, term: int) -> None:
        store, authority = self._store, self._store.authority
        known, head = authority.read_head()
        term = max(term, self._raised(known.term))
        if (head.term, head.n) > (store.head().term, store.head().n):
            try:
                store.catch_up()
            except Gap:
                log.warning("journal_shorter_than_etcd", n=store.head().n, etcd=head.n)
                authority.begin(term, self._node)
                return
        authority.begin(term, self._node)
        if (head.term, head.n) != (store.head().term, store.head().n):
            state = state_of(store)
            write(authority, state)
            if read_state(authority).fingerprint() != state.fingerprint():
                raise StoreFailed("etcd does not hold what was written")
            log.warning("etcd_put_right", n=state.head.n, before=head.n, fingerprint=str(state.fingerprint()))
