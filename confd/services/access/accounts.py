"""Users and groups of the configuration: finding them, and what belongs to them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar

from confd.exaconf import (
    BucketFs,
    Conf,
    Configuration,
    Database,
    Group,
    ObjectVolume,
    RemoteVolume,
    Section,
    User,
    Volume,
)
from confd.model.errors import NotFound

A = TypeVar("A", bound=Section)
Owned = Database | Volume | RemoteVolume | ObjectVolume | BucketFs

_OWNED: Final[dict[str, type[Owned]]] = {
    "database": Database,
    "volume": Volume,
    "remote volume": RemoteVolume,
    "object volume": ObjectVolume,
    "BucketFS service": BucketFs,
}
_NUMBER: Final = re.compile(r"[0-9]{1,10}")


def find_group(conf: Configuration, group: str | int) -> Group:
    """Return a group by its name or id.

    :raises NotFound: there is none.
    """
    if isinstance(group, str) and (named := conf.find(Group, group)) is not None:
        return named
    if isinstance(group, int) or _NUMBER.fullmatch(group):
        found = group_by_id(conf, int(group))
        if found is not None:
            return found
        raise NotFound(f"There is no group with id {group}; group_list shows all")
    return conf.require_group(group)


def find_user(conf: Configuration, user: str | int) -> User:
    """Return a user by name or id.

    :raises NotFound: there is none.
    """
    if isinstance(user, str) and (named := conf.find(User, user)) is not None:
        return named
    if isinstance(user, int) or _NUMBER.fullmatch(user):
        found = user_by_id(conf, int(user))
        if found is not None:
            return found
        raise NotFound(f"There is no user with id {user}; user_list shows all")
    return conf.require_user(user)


def user_by_id(conf: Configuration, uid: int) -> User | None:
    """Return the user with an id."""
    return next((user for user in _all(conf, User) if user.id == uid), None)


def group_by_id(conf: Configuration, gid: int) -> Group | None:
    """Return the group with an id."""
    return next((group for group in _all(conf, Group) if group.id == gid), None)


def find_owner(conf: Configuration, owner: Sequence[str | int]) -> tuple[int, int]:
    """Return (uid, gid) of an owner given as ids or names.

    :raises NotFound: user or group is unknown.
    """
    user, group = owner
    return find_user(conf, user).id, find_group(conf, group).id


def owned_by(conf: Conf, *, uid: int | None = None, gid: int | None = None) -> list[str]:
    """Name everything that belongs to a user or a group: ``volume V1``, ``database DB1``."""
    return [
        f"{noun} {section.name}"
        for noun, kind in _OWNED.items()
        for section in conf.view(kind).values()
        if section.owner[0] == uid or section.owner[1] == gid
    ]


def _all(conf: Configuration, kind: type[A]) -> list[A]:
    # Ids are guarded by locks of their own, so looking through all of them is no read that could conflict.
    return [section for section in conf.sections.values() if isinstance(section, kind)]
