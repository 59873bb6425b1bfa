"""The end of all instances of a node that goes out of service."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from confd.cluster.host import Host
from confd.model.errors import ConfDError
from confd.services.database.engine.layout import layout
from confd.services.database.keeper.client import KeeperClient

_log = structlog.get_logger()

_PATIENCE: Final = 60.0


def stop_instances(host: Host) -> list[str]:
    """Stop every instance and its keeper, side by side; return the databases. Fine when none runs."""
    with ThreadPoolExecutor(thread_name_prefix="ending") as threads:
        return [database for database, ended in threads.map(lambda name: _end(host, name), _instances(host)) if ended]


def _end(host: Host, database: str) -> tuple[str, bool]:
    place = layout(host, database)
    client = KeeperClient(place.state, place.keeper)
    ran = client.status() is not None
    try:
        client.leave("fast", _PATIENCE)
    except ConfDError as error:
        _log.warning("instance_not_stopped", database=database, error=error.message)
    return database, ran


def _instances(host: Host) -> Iterator[str]:
    states = host.path("/exa/metadata/dwad")
    return (path.name for path in sorted(states.glob("*/"))) if states.exists() else iter(())
