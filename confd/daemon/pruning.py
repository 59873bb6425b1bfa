"""Forgetting what the retention gives up, on every node: each has a journal of its own."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from confd.store.protocol import Retention, Store

log = structlog.get_logger("pruning")

_PRUNE_SECONDS: Final = 600.0


async def prune(store: Store) -> None:
    """Prune a journal now and from time to time; until it is canceled."""
    while True:
        try:
            forgotten = await asyncio.to_thread(store.prune, Retention())
            if forgotten:
                log.info("history_pruned", jobs=forgotten)
        except Exception:
            log.exception("history_not_pruned")
        await asyncio.sleep(_PRUNE_SECONDS)
