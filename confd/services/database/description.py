"""What ``db_info`` shows of a database. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from confd.exaconf import Database, DriverSource, Volume
from confd.exaconf.section import Entry
from confd.model.secret import HIDDEN, Secret
from confd.model.sizes import Bytes, format_size
from confd.model.states import DatabaseState
from confd.services.database.engine.configuration import TEMP_LIMIT
from confd.services.database.observed import Usage
from confd.services.database.planning.seats import seats
from confd.services.database.supervision.observation import Observation

_NONE: Final = "None"
_GIB: Final = 1 << 30
_SIZES: Final = frozenset({"mem_size", "volume_quota"})
_NOT_SETTINGS: Final = frozenset({"extra", "comments", "kept", "name"})


def describe_database(
    database: Database,
    volume: Volume,
    seen: Observation,
    usage: Mapping[int, Usage],
    addresses: Mapping[int, str],
    fingerprint: str | None = None,
) -> dict[str, Any]:
    """Return the result of ``db_info``.

    :param usage: of the nodes that could be asked.
    :param addresses: of the nodes, by id.
    :param fingerprint: of the certificate that clients see; left out when there is none.
    """
    stopped = seen.state is DatabaseState.SETUP
    failed = [node for node in database.nodes if node in seen.missing or node in seen.unavailable]
    active = [node for node in database.active_nodes if node not in failed]
    clients = [addresses[node] for node in _for_clients(database, volume, seen)]
    shown = {
        "config": describe_config(database),
        "connectible": "Yes" if seen.connectible else "No",
        "connection string": connection_string(clients, database.port),
        "info": describe_problems(database, volume, seen),
        "name": database.name,
        "nodes": {
            "active": _names(active),
            "failed": _names(failed),
            "reserve": _names(node for node in database.reserve_nodes if node not in failed),
        },
        "operation": seen.record.operation or _NONE,
        "persistent volume": volume.name,
        "quota": _gibibytes(database.volume_quota or 0),
        "state": seen.state.value,
        "temporary volume": temporary_name(None if stopped else seen.record.temporary_volume),
        "usage persistent": 0 if stopped else _usages(usage, volume.size, volume.id, "persistent"),
        "usage temporary": 0 if stopped else _usages(usage, TEMP_LIMIT, seen.record.temporary_volume, "temporary"),
    }
    return shown | ({"certificate fingerprint": fingerprint} if fingerprint else {})


def _for_clients(database: Database, volume: Volume, seen: Observation) -> Sequence[int]:
    """Return the nodes that clients are to try: those with an instance for them, as far as they answer."""
    opened = seen.record.virtual
    if opened is not None:
        return (opened.node,)
    taking = seats(database, volume, seen.record.suspended).active
    present = [node for node in taking if node not in (*seen.missing, *seen.unavailable)]
    return present or taking or database.active_nodes


def describe_config(database: Database) -> dict[str, Any]:
    """Return all settings of a database, passwords hidden; what is not set is an empty text."""
    settings = {
        name: _setting(name, getattr(database, name))
        for name in database.__struct_fields__
        if name not in _NOT_SETTINGS
    }
    return settings | {
        "ldap_server": ",".join(database.ldap_servers),
        "interfaces": ",".join(database.interfaces),
    }


def describe_problems(database: Database, volume: Volume, seen: Observation) -> str:
    """Return the info text: empty for a healthy or stopped database whose last operation went well."""
    texts = [seen.info] if seen.info else []
    if seen.state is not DatabaseState.SETUP:
        texts += _displaced(database, volume, seen.unavailable)
    if database.volume_quota and any(one.read_only and one.node == seen.record.primary for one in seen.instances):
        texts.append(
            f"The quota of {format_size(database.volume_quota)} is reached: only sys can write until something is "
            "deleted (and vacuumed), or volume_quota is raised."
        )
    if seen.record.maintenance and seen.state is DatabaseState.RUNNING:
        texts.append("In maintenance mode: only sys gets in, until it is stopped and started.")
    if seen.missing and seen.state is DatabaseState.RUNNING:
        texts.append(f"{len(seen.missing)} segments of the database volume are not online (missing redundancy)")
    if (last := seen.record.last) is not None and last.code:
        texts.append(f"The last {last.kind} ({last.name}) failed: {last.message.rstrip('.')}.")
    return " ".join(texts)


def _displaced(database: Database, volume: Volume, unavailable: Collection[int]) -> Iterable[str]:
    """Name the active nodes whose share of the volume is still on the node that they replaced."""
    homeless = [node for node in database.active_nodes if node not in volume.nodes]
    spare = [node for node in volume.nodes if node not in database.active_nodes]
    for node, home in zip(homeless, spare, strict=False):
        yield f"Payload of database node {node} resides on volume master node {home}."
        if home in unavailable:
            yield (
                f"n{home} is offline or suspended: n{node} serves nothing until it returns, or its segment has moved "
                "(by itself after volume_move_delay, or by st_volume_move_node)."
            )


def connection_string(addresses: Iterable[str], port: int) -> str:
    """Return addresses as clients take them, runs of neighbours shortened: ``10.50.1.11..14:2568``."""
    ordered = sorted(ipaddress.ip_address(address) for address in addresses)
    runs = groupby(enumerate(ordered), key=lambda place: (place[1].version, int(place[1]) - place[0], _net(place[1])))
    return ",".join(_run([address for _, address in run]) for _, run in runs) + f":{port}"


def temporary_name(volume: int | None) -> str:
    """Return the name of a temporary volume."""
    return _NONE if volume is None else f"v{volume:04d}"


def _net(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return str(address).rpartition("." if address.version == 4 else ":")[0]


def _run(addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> str:
    first, last = str(addresses[0]), str(addresses[-1])
    if len(addresses) == 1:
        return first
    if addresses[0].version == 6:
        return ",".join(map(str, addresses))
    return f"{first}..{last.rpartition('.')[2]}"


def _gibibytes(size: int) -> int | float:
    """Return a size as it was given to db_create, if it is whole GiB; a smaller one is not shown as none."""
    return size // _GIB if size % _GIB == 0 else round(size / _GIB, 4)


def _names(nodes: Iterable[int]) -> list[str]:
    return [f"n{node}" for node in nodes]


def _usages(usage: Mapping[int, Usage], size: Bytes, volume: int | None, kind: str) -> list[dict[str, str]]:
    return [
        {
            "host": f"n{node}",
            "size": format_size(size),
            "used": format_size(getattr(used, kind)),
            "volume id": str(volume),
        }
        for node, used in sorted(usage.items())
    ]


def _setting(name: str, value: Any) -> Any:
    match value:
        case None:
            return ""
        case Secret():
            return HIDDEN
        case tuple():
            return list(value)
        case dict():
            return {key: describe_entry(entry) for key, entry in value.items()}
        case DriverSource():
            return describe_entry(value)
    return format_size(value) if name in _SIZES else value


def describe_entry(entry: Entry) -> dict[str, Any]:
    """Return the settings of a part of a database, without those that are not set."""
    shown = {name: getattr(entry, name) for name in entry.__struct_fields__ if name not in _NOT_SETTINGS}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in shown.items() if value is not None
    }
