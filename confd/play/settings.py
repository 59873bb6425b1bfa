"""What a play is to be: the parameters as typed values that agree with each other."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from confd.exaconf.values import check_share
from confd.model.errors import InvalidParameter
from confd.model.secret import Secret
from confd.model.sizes import Bytes
from confd.play.parameters import as_bool, as_number, as_port
from confd.play.record import Ssh
from confd.play.store import StoreSettings, settle_store

NODE_PORT: Final = 3250
SSH_PORT: Final = 20002
"""Nobody listens there yet; the configuration names it, so it is for nothing else."""

DATABASE_PORT: Final = 8563
ACCESS_NODE: Final = 10
FIRST_NODE: Final = 11
_MAX_NODES: Final = 64


class Seat(msgspec.Struct, frozen=True):
    """A node and its address."""

    node: int
    address: str

    @property
    def name(self) -> str:
        """Node name, ``n11``."""
        return f"n{self.node}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a play is to be; empty passwords are to be generated."""

    seats: tuple[Seat, ...]
    admin_password: Secret
    db_password: Secret
    confd_port: int
    db_port: int
    with_db: bool
    database: str
    memory: int | None
    reserve: int
    ssh: Ssh | None = None
    store: StoreSettings = StoreSettings()

    @property
    def data_nodes(self) -> tuple[int, ...]:
        """Nodes with disks, in order."""
        return tuple(seat.node for seat in self.seats if seat.node != ACCESS_NODE)

    @property
    def active_nodes(self) -> tuple[int, ...]:
        """Nodes with an instance of the default database."""
        return self.data_nodes[: len(self.data_nodes) - self.reserve]

    @property
    def ports(self) -> dict[str, int]:
        """Ports that every address must have free."""
        used = {"ConfD": self.confd_port, "node": NODE_PORT}
        return used | ({"database": self.db_port} if self.with_db else {}) | self.store.ports


def settle(texts: Mapping[str, str]) -> Settings:
    """Make settings of all parameters' texts.

    :raises InvalidParameter: parameters do not go together.
    """
    ssh = _ssh(texts)
    addresses = _addresses(texts["CCC_HOST_ADDRS"].split(), ssh)
    first = ACCESS_NODE if as_bool(texts["CCC_PLAY_ACCESS_NODE"]) else FIRST_NODE
    settings = Settings(
        seats=tuple(Seat(first + place, address) for place, address in enumerate(addresses)),
        admin_password=Secret(texts["CCC_PLAY_ADMIN_PASSWORD"]),
        db_password=Secret(texts["CCC_PLAY_DB_PASSWORD"]),
        confd_port=as_port(texts["CCC_PLAY_CONFD_PORT"]),
        db_port=as_port(texts["CCC_PLAY_DB_PORT"]),
        with_db=as_bool(texts["CCC_PLAY_WITH_DB"]),
        database=texts["CCC_PLAY_DATABASE_NAME"],
        memory=as_number(texts["CCC_PLAY_DB_MEM_SIZE"]),
        reserve=as_number(texts["CCC_PLAY_RESERVE_NODES"]) or 0,
        ssh=ssh,
        store=settle_store(texts),
    )
    _check_nodes(settings)
    _check_ports(settings)
    _check_memory(settings)
    return settings


def _ssh(texts: Mapping[str, str]) -> Ssh | None:
    """Return how other machines are reached; None when no user is given for that: then all nodes are here."""
    user, key = texts["CCC_HOST_IMAGE_USER"].strip(), texts["CCC_HOST_KEY_PAIR_FILE"].strip()
    if not user:
        if key:
            raise InvalidParameter(
                "CCC_HOST_KEY_PAIR_FILE is given without CCC_HOST_IMAGE_USER; say who logs in with it"
            )
        return None
    path = Path(key).expanduser().absolute() if key else None
    if path is not None and not path.is_file():
        raise InvalidParameter(f"CCC_HOST_KEY_PAIR_FILE: there is no file {path}")
    return Ssh(
        user=user, port=as_port(texts["CCC_HOST_SSH_PORT"]), key=str(path) if path else None,
        program=tuple(shlex.split(texts["CCC_HOST_C4"])),
    )  # fmt: skip


def _addresses(words: list[str], ssh: Ssh | None) -> list[str]:
    if not words:
        raise InvalidParameter("CCC_HOST_ADDRS is empty: give one address per node, such as 127.0.0.11")
    if len(words) > _MAX_NODES:
        raise InvalidParameter(f"CCC_HOST_ADDRS has {len(words)} addresses; a play takes {_MAX_NODES}")
    for word in words:
        try:
            address = ipaddress.IPv4Address(word)
        except ValueError:
            raise InvalidParameter(f"CCC_HOST_ADDRS: {word!r} is not an IPv4 address") from None
        if not address.is_loopback and ssh is None:
            raise InvalidParameter(
                f"CCC_HOST_ADDRS: {word} is reached over SSH: give CCC_HOST_IMAGE_USER and CCC_HOST_KEY_PAIR_FILE, "
                "or use loopback addresses such as 127.0.0.11 for nodes on this machine"
            )
        if words.count(word) > 1:
            raise InvalidParameter(f"CCC_HOST_ADDRS: {word} is there twice; each node needs its own")
    return words


def _check_nodes(settings: Settings) -> None:
    nodes = len(settings.data_nodes)
    if not nodes:
        raise InvalidParameter("CCC_PLAY_ACCESS_NODE=true needs a second address: the first one is for n10")
    if settings.reserve >= nodes:
        raise InvalidParameter(
            f"CCC_PLAY_RESERVE_NODES={settings.reserve} leaves none of {nodes} nodes active; give at most {nodes - 1}"
        )


def _check_memory(settings: Settings) -> None:
    if not settings.with_db or not settings.memory:
        return
    try:
        check_share(Bytes(settings.memory << 20), len(settings.active_nodes))
    except InvalidParameter as error:
        raise InvalidParameter(f"CCC_PLAY_DB_MEM_SIZE={settings.memory}: {error.message}") from None


def _check_ports(settings: Settings) -> None:
    names = {SSH_PORT: "SSH"}
    for name, port in settings.ports.items():
        if port in names:
            raise InvalidParameter(f"port {port} is wanted for {names[port]} and for {name}; choose another one")
        names[port] = name
