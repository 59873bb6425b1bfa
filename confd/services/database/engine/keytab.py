"""Keytabs: the keys of a database's Kerberos principal, as administrators hand them over and as files."""

from __future__ import annotations

import base64
import binascii
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from confd.cluster.host import Host, reporter
from confd.cluster.identity import NodeFiles
from confd.cluster.operations import operation
from confd.model.errors import AlreadyExists
from confd.model.secret import Secret
from confd.services.database.engine.layout import account

REPORT: Final = "keytabs"
"""Under this name nodes report of which databases they have a keytab."""

_MAGIC: Final = b"\x05\x02"
_LENGTH: Final = struct.Struct(">i")
_SHORT: Final = struct.Struct(">H")


def keytab_path(host: Host, database: str) -> Path:
    """Return where a database has its keytab on a node."""
    return host.path(f"/exa/etc/{database}-keytab")


@reporter(REPORT)
def report(host: Host) -> list[str]:
    """Report of which databases this node has a keytab."""
    return [name for name in host.conf().databases if keytab_path(host, name).exists()]


def decode_keytab(text: str) -> bytes:
    """Return the content of a keytab that was given as text: base64 of one, or anything else as it stands."""
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return text.encode()
    return raw if raw.startswith(_MAGIC) else text.encode()


@operation("database.has_keytab")
def has_keytab(host: Host, database: str) -> bool:
    """Tell whether a database has a keytab on this node."""
    return keytab_path(host, database).exists()


@operation("database.read_keytab")
def read_keytab(host: Host, database: str) -> str:
    """Return the keytab of a database on this node as ``write_keytab`` takes it; empty when there is none."""
    try:
        content = keytab_path(host, database).read_bytes()
    except FileNotFoundError:
        return ""
    return NodeFiles(host.root).vault().seal(Secret(base64.b64encode(content).decode()))


@operation("database.write_keytab")
def write_keytab(host: Host, database: str, keytab: str) -> None:
    """Write a keytab, closed to everybody but the server; fine when this one is there.

    :param keytab: base64 of its content, sealed.
    :raises AlreadyExists: there is another one.
    """
    path, content = keytab_path(host, database), _opened(host, keytab)
    if path.exists() and path.read_bytes() != content:
        raise AlreadyExists(f"{path.name} exists on {host.name} already; delete it there before a new one is written")
    owner, fresh = account(host), path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        if os.getuid() == 0:
            os.fchown(file.fileno(), owner.uid, owner.gid)
        os.fsync(file.fileno())
    fresh.rename(path)


@operation("database.remove_keytab")
def remove_keytab(host: Host, database: str, keytab: str) -> None:
    """Undo ``write_keytab``: remove this keytab; another one stays."""
    path = keytab_path(host, database)
    if path.exists() and path.read_bytes() == _opened(host, keytab):
        path.unlink()


def _opened(host: Host, keytab: str) -> bytes:
    return base64.b64decode(NodeFiles(host.root).vault().open(keytab).reveal())


def principals(content: bytes) -> list[str]:
    """Return the principals of a keytab, such as ``postgres/host@REALM``; none of what is not a keytab."""
    return list(dict.fromkeys(_principals(content))) if content.startswith(_MAGIC) else []


def _principals(content: bytes) -> Iterator[str]:
    place = len(_MAGIC)
    while place + _LENGTH.size <= len(content):
        (length,) = _LENGTH.unpack_from(content, place)
        place += _LENGTH.size
        if length > 0:
            try:
                yield _principal(content[place : place + length])
            except struct.error:
                return
        # A negative length is a hole that a removed key left.
        place += abs(length)


def _principal(entry: bytes) -> str:
    (count,) = _SHORT.unpack_from(entry)
    place, parts = _SHORT.size, []
    for _ in range(count + 1):
        (length,) = _SHORT.unpack_from(entry, place)
        place += _SHORT.size
        parts.append(entry[place : place + length].decode(errors="replace"))
        place += length
    realm, *names = parts
    return f"{'/'.join(names)}@{realm}"
