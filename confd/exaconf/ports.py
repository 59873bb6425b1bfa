"""Ports that a configuration names: those of the daemon are for nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from confd.exaconf.configuration import Configuration
from confd.exaconf.sections import RemoteVolume, Volume
from confd.model.errors import InvalidParameter


class Use(NamedTuple):
    """A port and the place where it stands, such as ``[DB : DB1] Port``."""

    port: int
    place: str


def daemon_ports(conf: Configuration) -> list[Use]:
    """Return the ports on which the daemon and the SSH of every node listen."""
    known = conf.global_
    named = (("CoredPort", known.cored_port), ("XMLRPCPort", known.xmlrpc_port), ("SSHPort", known.ssh_port))
    return [Use(port, f"[Global] {key}") for key, port in named]


def served_ports(conf: Configuration) -> list[Use]:
    """Return the ports of databases and file services; databases of different nodes may have the same one."""
    uses = [Use(database.port, f"[{database.key}] Port") for database in conf.databases.values()]
    volumes: list[Volume | RemoteVolume] = [*conf.volumes.values(), *conf.remote_volumes.values()]
    for volume in volumes:
        uses += [Use(port, f"[{volume.key}] {name.capitalize()}Port") for name, port in volume.ports.items()]
    for service in conf.bucketfs.values():
        uses += [
            Use(service.http_port, f"[{service.key}] HttpPort"),
            Use(service.https_port, f"[{service.key}] HttpsPort"),
        ]
    return [use for use in uses if use.port]


def check_not_of_daemon(conf: Configuration, port: int, parameter: str) -> None:
    """Refuse a port for something else that the daemon of every node listens on.

    :raises InvalidParameter: says whose it is.
    """
    for use in daemon_ports(conf):
        if use.port == port:
            raise InvalidParameter(f"{parameter}: {port} is {use.place}, a port of every node itself; give another one")


def clashes(conf: Configuration) -> Iterator[str]:
    """Ports of the daemon are for nothing else."""
    own = daemon_ports(conf)
    for place, use in enumerate(own):
        for other in (*own[place + 1 :], *served_ports(conf)):
            if use.port == other.port:
                yield f"{other.place}: {other.port} is {use.place} as well; the ports must differ"
