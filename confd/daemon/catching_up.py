"""Bringing a node's journal up to etcd's head, before the node leads.

What it lacks is in etcd's log; where that does not reach back so far, in the journals of other nodes. Where nobody has
it, or the journal here went another way, it is kept in a file and made anew from etcd's state. The other
nodes are asked in any case: one that has more than etcd shows that etcd went back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Container, Sequence
from typing import Final

import structlog

from confd.cluster.leading.takeover import Known, ask_all, fetch
from confd.cluster.transport.nodeport import Connector
from confd.exaconf import Conf
from confd.model.errors import WrongState
from confd.store.etcd.state import journal_of, read_state
from confd.store.etcd.store import EtcdStore, WentBack
from confd.store.protocol import Gap

log = structlog.get_logger("catching_up")

_SURVEY_SECONDS: Final = 1.0


async def catch_up(store: EtcdStore, connector: Connector, conf: Conf, own: int, alive: Container[int]) -> None:
    """Bring this node's journal up to etcd's head.

    :param alive: the nodes that are asked how far their journals go.
    :raises WentBack: etcd knows less than this node or another one; says what to do.
    :raises StoreFailed: etcd does not answer.
    """
    survey = asyncio.create_task(_survey(connector, conf, own, alive))
    try:
        await asyncio.to_thread(store.catch_up)
        known = await survey
    except Gap:
        known = await survey
        if not await _fetched(store, connector, conf, known):
            await asyncio.to_thread(_rebuild, store)
    finally:
        survey.cancel()
    _check_not_back(store, known)


async def _survey(connector: Connector, conf: Conf, own: int, alive: Container[int]) -> list[Known]:
    """Ask the nodes that are alive how far their journals go; those that take long are left out."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SURVEY_SECONDS):
            known = await ask_all(connector, conf, own, alive)
            return [one for one in known.values() if one is not None]
    return []


async def _fetched(store: EtcdStore, connector: Connector, conf: Conf, known: Sequence[Known]) -> bool:
    """Get what is lacking from another node, the longest journal first; tell whether one had it."""
    for one in sorted(known, key=lambda one: one.position, reverse=True):
        if one.position <= store.head():
            break
        try:
            await fetch(store, connector, conf, one)
            await asyncio.to_thread(store.catch_up)
        except (Gap, WrongState) as error:
            log.warning("journal_not_fetched", source=one.node, error=str(error))
        else:
            return True
    return False


def _rebuild(store: EtcdStore) -> None:
    """Make this node's journal anew from etcd's state; the history of jobs that are over is then in a file only."""
    state, head = read_state(store.authority), store.head()
    if head.n:
        log.error("journal_set_aside", kept=str(store.set_aside()), n=head.n, term=head.term)
    store.restore(journal_of(state))
    log.warning("journal_rebuilt", n=store.head().n, fingerprint=str(state.fingerprint()))


def _check_not_back(store: EtcdStore, known: Sequence[Known]) -> None:
    end = store.head()
    if ahead := [one for one in known if one.position > end]:
        raise WentBack(
            f"n{ahead[0].node} has {ahead[0].position.n} records and etcd only {end.n}: an old backup of etcd was "
            f"restored; nothing was changed. Put it right on n{ahead[0].node}: "
            "c4 store recover --yes-others-are-down"
        )
