"""Types of parameters that several jobs share: what a value must be, and what shells complete for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from confd.exaconf.accounts import check_account_id, check_account_name
from confd.exaconf.values import check_block_size, check_permissions, check_positive_size
from confd.model.errors import InvalidParameter
from confd.model.sizes import FORMS, parse_size
from confd.scheduler.parameters import Live, Rule
from confd.services.storage.places import check_device

_VOLUME_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_AUTOMATIC_NAME: Final = re.compile(r"[vr][0-9]{4,}")
_SSH_KEY: Final = re.compile(r"(?:^|\s)(?:ssh|ecdsa|sk)-\S+ +\S")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f]")
_MOST_SECTORS: Final = 2**50
_MOST_ID: Final = 2**31 - 1


def check_volume_name(name: str) -> None:
    """Check the name of a new volume of any kind."""
    if not _VOLUME_NAME.fullmatch(name):
        raise InvalidParameter(
            f"{name!r} cannot name a volume: use 1 to 64 letters, digits, '_', '.', '-', beginning with a letter or '_'"
        )
    if _AUTOMATIC_NAME.fullmatch(name):
        raise InvalidParameter(f"{name!r} has the form of names that are given automatically; choose another name")


def check_disk_name(name: str) -> None:
    """Check the name of a disk."""
    if not _VOLUME_NAME.fullmatch(name):
        raise InvalidParameter(f"{name!r} cannot name a disk: use letters, digits, '_', '.', '-' such as disk1")


def check_owner(owner: Sequence[object]) -> None:
    """Check the form of an owner."""
    if len(owner) != 2 or not all(isinstance(part, (str, int)) and not isinstance(part, bool) for part in owner):
        raise InvalidParameter(f"{list(owner)!r} is not an owner: give [uid, gid] or [user name, group name]")


def check_ssh_keys(keys: Sequence[str]) -> None:
    """Check lines of an authorized_keys file."""
    for key in keys:
        if not _SSH_KEY.search(key) or _CONTROL.search(key):
            raise InvalidParameter(f"{key[:40]!r} is not an OpenSSH public key such as 'ssh-ed25519 AAAA... me@host'")


def check_settings(changes: Mapping[str, object]) -> None:
    """Check that there is something to change."""
    if not changes:
        raise InvalidParameter("give at least one section, such as {Global: {NameServers: 8.8.8.8}}")


def check_sector_size(size: str) -> None:
    """Check the size of a sector: with unit, a multiple of 512 bytes."""
    parse_size(size, require_unit=True)
    check_block_size(size)


def check_size(size: str) -> None:
    """Check the size of a volume: with unit, more than nothing."""
    if parse_size(size, require_unit=True) <= 0:
        raise InvalidParameter(f"{size!r} is nothing: give {FORMS}")


def check_priority(text: str) -> None:
    """Check an I/O priority."""
    if not text.isdecimal() or int(text) > 20:
        raise InvalidParameter(f"{text!r} is not a priority: give 0 (highest) to 20 (lowest)")


def check_distinct(nodes: Sequence[int]) -> None:
    """Check a list of nodes: at least one, none twice."""
    if not nodes or len(set(nodes)) != len(nodes):
        raise InvalidParameter(f"{list(nodes)!r}: give at least one node, each once")


DatabaseName = Annotated[str, Rule(live=Live.DATABASE)]
VolumeName = Annotated[str, Rule(live=Live.VOLUME)]
NewVolumeName = Annotated[str, Rule(check=check_volume_name)]
VolumeId = Annotated[int, Rule(minimum=0, description="Id of the volume.")]
VolumeAlias = Annotated[VolumeName, Rule(description="Name of the volume; may be given instead of vid.")]
NodeId = Annotated[int, Rule(live=Live.NODE)]
NodeIds = Annotated[list[int], Rule(live=Live.NODE, check=check_distinct)]
DiskName = Annotated[str, Rule(check=check_disk_name)]
DeviceName = Annotated[str, Rule(check=check_device)]
SectorCount = Annotated[int, Rule(minimum=0, maximum=_MOST_SECTORS)]

UserName = Annotated[str, Rule(live=Live.USER)]
NewUserName = Annotated[str, Rule(check=check_account_name)]
UserId = Annotated[int, Rule(minimum=0, maximum=_MOST_ID)]
NewId = Annotated[int, Rule(minimum=0, maximum=_MOST_ID, check=check_account_id)]
GroupName = Annotated[str, Rule(live=Live.GROUP)]
NewGroupName = Annotated[str, Rule(check=check_account_name)]
GroupRef = Annotated[str | int, Rule(live=Live.GROUP)]
GroupNames = Annotated[list[str], Rule(live=Live.GROUP)]
SshKeys = Annotated[list[str], Rule(check=check_ssh_keys)]
Password = Annotated[str, Rule(secret=True)]

Size = Annotated[str, Rule(check=check_size, form="size with unit, e.g. '10 GiB'")]
BlockSize = Annotated[str | int, Rule(check=check_block_size, form="size with unit or bytes, e.g. '4 KiB'")]
PartSize = Annotated[str | int, Rule(check=check_positive_size, form="size with unit or bytes, e.g. '4 GiB'")]
SectorSize = Annotated[str, Rule(check=check_sector_size, form="size with unit, e.g. '4 KiB'")]
Owner = Annotated[list[Any] | tuple[Any, ...], Rule(check=check_owner, form="[uid, gid] or [user name, group name]")]
Permissions = Annotated[str, Rule(check=check_permissions)]
Priority = Annotated[str, Rule(check=check_priority)]
Port = Annotated[int, Rule(minimum=0, maximum=65535)]
Count = Annotated[int, Rule(minimum=1)]
Settings = Annotated[dict[str, Any], Rule(check=check_settings, form="{Section: {Key: value}}")]
