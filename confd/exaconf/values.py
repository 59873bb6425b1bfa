"""What values may be beyond what their type says. Pure.

The same check stands behind a field of EXAConf (``Key(..., check=...)``) and behind the parameter of a job.
A stored revision is read without these checks: what an earlier version took in must not keep a daemon from starting.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from confd.model.errors import InvalidParameter
from confd.model.sizes import FORMS, Bytes, parse_size

LEAST_MEMORY: Final = 64
"""MiB that an instance of a database needs."""

_MIB: Final = 1 << 20
_PERMISSIONS: Final = re.compile(r"(?:[r-][w-][x-]){1,3}")
_SECTOR: Final = 512
_LARGEST_BLOCK: Final = 2**30


def check_networks(networks: Sequence[str]) -> None:
    """Check the networks of a cluster."""
    if "private" not in networks or not set(networks) <= {"private", "public"}:
        raise InvalidParameter(f"{', '.join(networks)!r} cannot be: give private, or private and public")


def check_hugepages(text: str) -> None:
    """Check how huge pages are administered."""
    if text not in ("host", "auto") and not (text.isascii() and text.isdecimal()):
        raise InvalidParameter(f"{text!r} cannot be: give 0 (off), host, auto or a number of pages")


def check_tracker(text: str) -> None:
    """Check where issues are filed."""
    if text not in ("Jira", "Salesforce"):
        raise InvalidParameter(f"{text!r} is not known: give Jira or Salesforce")


def check_port(port: int) -> None:
    """Check a port that cannot be off."""
    if port == 0:
        raise InvalidParameter("0 is no port; give 1 to 65535")


def check_addresses(addresses: Sequence[str]) -> None:
    """Check a list of IP addresses."""
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InvalidParameter(f"{address!r} is no IP address; give some such as 8.8.8.8, 9.9.9.9") from None


def check_rotation(types: Sequence[str]) -> None:
    """Check where rotated logs go."""
    if not types or not set(types) <= {"local", "remote"}:
        raise InvalidParameter(f"{', '.join(types)!r} cannot be: give local, remote or both")


def check_zone(name: str) -> None:
    """Check the name of a time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidParameter(f"{name!r} is no time zone; give one such as Europe/Berlin or UTC") from None


def check_permissions(text: str) -> None:
    """Check access permissions such as ``rwx`` or ``rwxr-x---``."""
    if not _PERMISSIONS.fullmatch(text):
        raise InvalidParameter(f"{text!r} are no permissions: give rwx for the owner, or rwxrwxrwx for all three")


def check_file(path: str) -> None:
    """Check the path of a file."""
    if not path.startswith("/") or not path.isprintable():
        raise InvalidParameter(f"{path!r} cannot be the path of a file; give one such as /exa/etc/ssl/ssl.crt")


def check_positive_size(size: str | int) -> None:
    """Check a size that cannot be nothing."""
    if parse_size(size, require_unit=isinstance(size, str) and not size.isdigit()) <= 0:
        raise InvalidParameter(f"{size!r} is nothing: give {FORMS}")


def check_block_size(size: str | int) -> None:
    """Check a block or stripe size: whole sectors of 512 bytes."""
    if not 0 < parse_size(size) <= _LARGEST_BLOCK or parse_size(size) % _SECTOR:
        raise InvalidParameter(f"{size!r} is not a block size: give a multiple of 512 bytes up to 1 GiB, such as 4 KiB")


def check_share(mem_size: Bytes, nodes: int) -> None:
    """Refuse what PostgreSQL cannot run with.

    :raises InvalidParameter: says how much it needs.
    """
    if mem_size < LEAST_MEMORY * nodes * _MIB:
        raise InvalidParameter(
            f"{mem_size // _MIB} MiB are too little for {nodes} active nodes; PostgreSQL needs at least "
            f"{LEAST_MEMORY} MiB on each, so give {LEAST_MEMORY * nodes} MiB or more"
        )
