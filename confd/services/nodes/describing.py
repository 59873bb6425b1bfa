"""Descriptions of nodes as lists of jobs give them, and what becomes of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from confd.exaconf import Component, Configuration, Disk, Docker, Node
from confd.exaconf.nodes import SUSPENDED
from confd.model.errors import InvalidParameter, NotFound
from confd.services.nodes.naming import MOST_ID, check_name, check_uuid, next_addresses, read_address

_NUMBERS: Final[tuple[str, ...]] = ("nid", "space_warn_threshold", "bg_rec_limit")
_FLAGS: Final[tuple[str, ...]] = ("offline", "no_partition_extend")
_TEXTS: Final[tuple[str, ...]] = ("name", "private_ip", "public_ip", "uuid")
_OTHER_NAMES: Final = {"priv_net": "private_ip", "pub_net": "public_ip", "private": "private_ip", "public": "public_ip"}
_PERCENT: Final = 100


class NewNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node that is to be; its addresses with prefix length."""

    nid: int
    name: str
    private_net: str
    uuid: str
    public_net: str | None = None
    offline: bool = False
    no_partition_extend: bool = False
    space_warn_threshold: int | None = None
    bg_rec_limit: int | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a list, as it was given."""

    nid: int
    name: str = ""
    private_ip: str = ""
    public_ip: str = ""
    uuid: str = ""
    offline: bool = False
    no_partition_extend: bool = False
    space_warn_threshold: int | None = None
    bg_rec_limit: int | None = None


class DiskOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A disk of a clone, as it was given."""

    name: str
    component: Component = Component.EXASTORAGE
    devices: tuple[str, ...] = ()
    drives: tuple[str, ...] = ()
    mapping: tuple[str, ...] = ()
    ephemeral: bool = False
    direct_io: bool = True


def read_entries(given: Sequence[object]) -> list[Entry]:
    """Read a list of descriptions.

    :raises InvalidParameter: names the entry by its place, and the key.
    """
    if not given:
        raise InvalidParameter("give at least one node")
    entries = [_entry(place, one) for place, one in enumerate(given, 1)]
    ids = [entry.nid for entry in entries]
    if twice := sorted({nid for nid in ids if ids.count(nid) > 1}):
        raise InvalidParameter(f"node {twice[0]} is there twice")
    return entries


def section_of(conf: Configuration, new: NewNode) -> Node:
    """Return the section of a new node: suspended until its daemon comes up, unless it is to count at once."""
    docker = isinstance(conf.get(Docker.kind), Docker)
    return Node(
        id=new.nid,
        name=new.name,
        private_net=new.private_net,
        public_net=new.public_net,
        uuid=new.uuid,
        docker_volume=f"n{new.nid}" if docker else "",
        state="" if new.offline else SUSPENDED,
        space_warn_threshold=new.space_warn_threshold,
        bg_rec_limit=new.bg_rec_limit,
        no_partition_extend=new.no_partition_extend,
    )


def clones(
    template: Node, ids: Sequence[int], uuids: Sequence[str], used: Sequence[str], disks: Mapping[str, Disk]
) -> list[Node]:
    """Return nodes with the options of another one, and everything that must differ of their own.

    :param used: addresses in use, without prefix length.
    :raises LimitExceeded: a network has not so many free addresses.
    """
    private = next_addresses(template.private_net.replace("x", str(template.id)), used, len(ids))
    public: list[str | None] = [None] * len(ids)
    if template.public_net:
        taken = [*used, *(net.partition("/")[0] for net in private)]
        public = [*next_addresses(template.public_net.replace("x", str(template.id)), taken, len(ids))]
    return [
        msgspec.structs.replace(
            template,
            id=nid,
            name=f"n{nid}",
            private_net=private[place],
            public_net=public[place],
            affinity=nid,
            uuid=uuids[place],
            docker_volume=f"n{nid}" if template.docker_volume else "",
            state=SUSPENDED,
            disks=dict(disks),
        )
        for place, nid in enumerate(ids)
    ]


def disks_of_clone(template: Node, wanted: Sequence[Any] | None) -> dict[str, Disk]:
    """Return the disks of a clone: those of the template, some of them by name, or others described by keys.

    :raises NotFound: the template has no such disk.
    :raises InvalidParameter: a description has another form.
    """
    if wanted is None:
        return dict(template.disks)
    chosen = [_disk(template, one) for one in wanted]
    if len({disk.name for disk in chosen}) < len(chosen):
        raise InvalidParameter("disks: one is there twice")
    return {disk.name: disk for disk in chosen}


def readdressed(node: Node, entry: Entry, like: Sequence[str]) -> Node:
    """Return a node with other addresses; a network that is not given keeps its prefix length.

    :raises InvalidParameter: no address is given, or one cannot be read.
    """
    if not entry.private_ip and not entry.public_ip:
        raise InvalidParameter(f"nodes: the entry of n{node.id} has no address; give private, public or both")
    changed = node
    try:
        if entry.private_ip:
            changed = msgspec.structs.replace(changed, private_net=_moved(node.private_net, entry.private_ip, like))
        if entry.public_ip:
            changed = msgspec.structs.replace(changed, public_net=_moved(node.public_net, entry.public_ip, like))
    except InvalidParameter as error:
        raise InvalidParameter(f"nodes: the entry of n{node.id}: {error.message}") from None
    return changed


def _moved(net: str | None, given: str, like: Sequence[str]) -> str:
    prefix = (net or "").partition("/")[2]
    if "/" not in given:
        # A text that is no address is named as it was given.
        read_address(given, like)
    return read_address(f"{given}/{prefix}" if prefix and "/" not in given else given, like)


def _entry(place: int, given: object) -> Entry:
    here = f"entry {place}"
    if not isinstance(given, Mapping):
        raise InvalidParameter(f"{here} is {given!r}, not a mapping with nid and the node's options")
    values: dict[str, Any] = {
        _OTHER_NAMES.get(str(key), str(key)): value for key, value in given.items() if value is not None
    }
    if unknown := sorted(values.keys() - {*_NUMBERS, *_FLAGS, *_TEXTS}):
        raise InvalidParameter(
            f"{here}: {unknown[0]!r} is not known; keys are {', '.join((*_NUMBERS, *_TEXTS, *_FLAGS))}"
        )
    if "nid" not in values:
        raise InvalidParameter(f"{here}: nid is missing")
    numbers = {key: _number(f"{here}: {key}", values[key]) for key in _NUMBERS if key in values}
    if not 1 <= numbers["nid"] <= MOST_ID:
        raise InvalidParameter(f"{here}: nid is {numbers['nid']}, ids of nodes go from 1 to {MOST_ID}")
    flags = {key: _flag(f"{here}: {key}", values[key]) for key in _FLAGS if key in values}
    texts = {key: _text(f"{here}: {key}", values[key]) for key in _TEXTS if key in values}
    if not 0 <= numbers.get("space_warn_threshold", 0) <= _PERCENT or numbers.get("bg_rec_limit", 1) < 1:
        raise InvalidParameter(f"{here}: space_warn_threshold is 0 to 100 (percent), bg_rec_limit 1 or more (MiB/s)")
    if "name" in texts:
        check_name(texts["name"])
    if "uuid" in texts:
        texts["uuid"] = check_uuid(texts["uuid"])
    read: dict[str, Any] = {**numbers, **flags, **texts}
    return msgspec.convert(read, Entry)


def _number(what: str, given: Any) -> int:
    text = str(given).strip()
    if isinstance(given, bool) or not text.isdecimal():
        raise InvalidParameter(f"{what} is {given!r}, not a whole number")
    return int(text)


def _flag(what: str, given: Any) -> bool:
    if not isinstance(given, bool):
        raise InvalidParameter(f"{what} is {given!r}, neither True nor False")
    return given


def _text(what: str, given: Any) -> str:
    if not isinstance(given, str) or not given.strip():
        raise InvalidParameter(f"{what} is {given!r}, not a text")
    return given.strip()


def _disk(template: Node, wanted: Any) -> Disk:
    if isinstance(wanted, str):
        if wanted not in template.disks:
            known = ", ".join(template.disks) or "none"
            raise NotFound(f"disks: n{template.id} has no disk {wanted!r} to copy; it has {known}")
        return template.disks[wanted]
    try:
        options = msgspec.convert(wanted, DiskOptions)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"disks: {wanted!r} is neither the name of a disk nor its options ({error})") from None
    return Disk(**msgspec.structs.asdict(options))
