"""Ids, names and addresses of nodes. Pure.

Ids are never used again, also after a node was removed: certificates, journals and backups name nodes by them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from confd.exaconf import Node
from confd.exaconf.nodes import FIRST_NODE
from confd.model.errors import AlreadyExists, InvalidParameter, LimitExceeded

RETIRED: Final = "nodes/retired"
"""Runtime record: ids of nodes that were removed, with their UUIDs: neither is ever used again."""

MOST_ID: Final = 65535
"""The highest id of a node; below ``NODES`` of ``confd.store.terms``, which has terms belong to nodes."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")
_AUTOMATIC: Final = re.compile(r"n([0-9]+)")
_UUID: Final = re.compile(r"[0-9A-Fa-f]{40}")
_PREFIX: Final = 24


def next_ids(known: Iterable[int], retired: Iterable[int], count: int) -> list[int]:
    """Return the next free ids: consecutive, after the highest that there ever was; else the lowest that are free.

    :raises LimitExceeded: there are not so many.
    """
    used = {FIRST_NODE - 1, *known, *retired}
    first = max(used) + 1
    if first + count - 1 <= MOST_ID:
        return list(range(first, first + count))
    free = [nid for nid in range(FIRST_NODE, MOST_ID + 1) if nid not in used]
    if len(free) < count:
        raise LimitExceeded(f"ids of nodes go up to {MOST_ID}, of which {len(free)} are free; {count} are needed")
    return free[:count]


def check_id(nid: int, known: Collection[int], retired: Collection[int]) -> None:
    """Refuse an id that a node has or had.

    :raises AlreadyExists: says which.
    """
    if nid in known:
        raise AlreadyExists(f"nid: n{nid} exists already; leave nid out for the next free one")
    if nid in retired:
        raise AlreadyExists(f"nid: n{nid} was removed, and ids are not used again; leave nid out for the next free one")


def check_uuids(nodes: Iterable[Node], retired: Mapping[str, str]) -> None:
    """Refuse the UUID of a removed node: its certificate would be good again.

    :raises AlreadyExists: names the node.
    """
    for node in nodes:
        if was := next((nid for nid, uuid in retired.items() if uuid == node.uuid), None):
            raise AlreadyExists(f"UUID: {node.uuid} was that of n{was}, which was removed; give another one, or none")


def check_name(name: str) -> None:
    """Check the form of a node's name: it is a host name.

    :raises InvalidParameter: says what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise InvalidParameter(f"{name!r} cannot name a node: use letters, digits and '-', beginning with a letter")


def check_uuid(uuid: str) -> str:
    """Return a UUID as it is stored.

    :raises InvalidParameter: it has another form.
    """
    if not _UUID.fullmatch(uuid):
        raise InvalidParameter(f"{uuid!r} is no UUID of a node: give 40 hexadecimal digits")
    return uuid.upper()


def read_net(text: str) -> str:
    """Return an address with prefix length as it is stored.

    :raises InvalidParameter: it cannot be the address of a node.
    """
    address, slash, _ = text.strip().partition("/")
    try:
        net = ipaddress.IPv4Interface(text.strip())
    except ValueError:
        raise InvalidParameter(f"{text!r} is not an address with prefix length such as 10.10.10.11/24") from None
    if not slash:
        raise InvalidParameter(f"{text!r} lacks the prefix length, such as in {address}/24")
    if not _is_host(net.ip, net.network):
        raise InvalidParameter(f"{text!r} is not an address that a node can have")
    return str(net)


def read_address(text: str, like: Iterable[str]) -> str:
    """Return an address that may lack its prefix length, with that of the first network it lies in.

    :param like: known addresses with prefix length.
    :raises InvalidParameter: it cannot be the address of a node.
    """
    if "/" in text:
        return read_net(text)
    try:
        address = ipaddress.IPv4Address(text.strip())
    except ValueError:
        raise InvalidParameter(f"{text!r} is not an address such as 10.10.10.11 or 10.10.10.11/24") from None
    nets = (net for known in like if (net := _network(known)) is not None and address in net)
    return read_net(f"{address}/{next((net.prefixlen for net in nets), _PREFIX)}")


def next_addresses(like: str, known: Iterable[str], count: int) -> list[str]:
    """Return free addresses of a network: those after the highest one in use, then any others.

    :param like: address with prefix length of a node of that network.
    :param known: addresses in use, without prefix length.
    :raises LimitExceeded: there are not so many.
    """
    net = ipaddress.IPv4Interface(like).network
    used = {address for text in known if (address := _address(text)) is not None and address in net}
    found: list[str] = []
    for address in _after(net, max(used, default=net.network_address)):
        if len(found) == count:
            break
        if address not in used and _is_host(address, net):
            found.append(f"{address}/{net.prefixlen}")
    if len(found) < count:
        raise LimitExceeded(f"the network {net} has {len(found)} free addresses, {count} are needed")
    return found


def check_together(nodes: Sequence[Node]) -> None:
    """Refuse nodes that share a name, a UUID or an address, be it private or public.

    :raises AlreadyExists: names what is used, and by whom.
    """
    for node in nodes:
        owner = _AUTOMATIC.fullmatch(node.name)
        if owner is not None and int(owner[1]) != node.id:
            raise AlreadyExists(f"name: {node.name!r} names the node with id {owner[1]}, not n{node.id}")
    for what, pairs in (
        ("name", [(node.name, node.id) for node in nodes]),
        ("UUID", [(node.uuid, node.id) for node in nodes if node.uuid != "IMPORT"]),
        ("address", [(address, node.id) for node in nodes for address in addresses(node)]),
    ):
        _check_distinct(what, pairs)


def addresses(node: Node) -> set[str]:
    """Return the addresses of a node, without prefix length."""
    return {address for address in (node.private_ip, node.public_ip) if address}


def _check_distinct(what: str, pairs: Iterable[tuple[str, int]]) -> None:
    owners: dict[str, int] = {}
    for value, node in pairs:
        other = owners.setdefault(value, node)
        if other != node:
            raise AlreadyExists(f"{what}: {value} is that of n{other}, so n{node} cannot have it; choose another one")


def _after(net: ipaddress.IPv4Network, last: ipaddress.IPv4Address) -> Iterator[ipaddress.IPv4Address]:
    start = int(last) - int(net.network_address)
    return (net[(start + step) % net.num_addresses] for step in range(1, net.num_addresses))


def _is_host(address: ipaddress.IPv4Address, net: ipaddress.IPv4Network) -> bool:
    edges = (net.network_address, net.broadcast_address) if net.prefixlen < 31 else ()
    return address not in edges and not (address.is_multicast or address.is_unspecified or address.is_reserved)


def _network(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Interface(text).network
    except ValueError:
        return None


def _address(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None
