"""Noticing that the cluster moved into another store: this node's daemon starts anew in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from confd.model.failpoints import Failpoint, reach
from confd.services.nodes.stores import RECORD, Moved, moved_on
from confd.store.choice import StoreChoice
from confd.store.protocol import Kind, Record, Store

log = structlog.get_logger("switching")

RESTART: Final = 75
"""Exit status of a daemon that wants to be started anew."""

_LOOK_SECONDS: Final = 2.0


class Switch:
    """Compares the store that the journal names with the one this node uses.

    :param adopt: has this node use a store from its next start on.
    :param busy: tells that this node leads, so that it still has to tell the others.
    :param restart: ends the daemon so that it is started anew.
    """

    def __init__(
        self, store: Store, present: StoreChoice, adopt: Callable[[Moved], None], busy: Callable[[], bool],
        restart: Callable[[], None],
    ) -> None:  # fmt: skip
        self._store, self._present = store, present
        self._adopt, self._busy, self._restart = adopt, busy, restart
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        store.watch(self._take)

    async def run(self) -> None:
        """Look whenever a record says so, and now and then."""
        while True:
            self._news.clear()
            if not self._busy():
                self.check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._news.wait()

    def check(self) -> bool:
        """Switch when the journal names another store; whether it does."""
        wanted = moved_on(self._store.runtime(), self._present)
        if wanted is None:
            return False
        log.warning("store_switched", kind=str(wanted.choice.kind), job=wanted.choice.move)
        self._adopt(wanted)
        reach(Failpoint.ADOPTED)
        self._restart()
        return True

    def _take(self, records: Sequence[Record]) -> None:
        if any(record.kind is Kind.RUNTIME and record.key == RECORD for record in records):
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._news.set)
