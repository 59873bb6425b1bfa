"""Groups: rights of jobs are given to groups."""

from __future__ import annotations

from typing import Any, Final

from confd.exaconf import Group, key_of
from confd.exaconf.accounts import PREDEFINED_GROUPS
from confd.jobs import locks
from confd.jobs.types import GroupName, NewGroupName, NewId
from confd.model.errors import AlreadyExists, InUse
from confd.scheduler.context import Context
from confd.scheduler.registry import MODIFY, READ, Allow, job
from confd.services.access.accounts import group_by_id, owned_by

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm"))


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.group("groupname"), locks.number("gid", "groupid")])
def group_create(ctx: Context, groupname: NewGroupName, groupid: NewId) -> None:
    """Add a group.

    A group made here owns objects and holds users; jobs name the groups that may run them, and it is in none.

    :param groupname: Name of the new group.
    :param groupid: Numeric id of the new group.

    Examples:
    {groupid: 42, groupname: exausers}

    """
    if ctx.conf.find(Group, groupname) is not None:
        raise AlreadyExists(f"group {groupname!r} exists already; group_list shows all")
    if (holder := group_by_id(ctx.conf, groupid)) is not None:
        raise AlreadyExists(f"group id {groupid} belongs to {holder.name!r}; choose another id")
    ctx.conf.put(Group(name=groupname, id=groupid))


@job(MODIFY, allow=_ADMINISTRATORS, locks=locks.group("groupname"))
def group_delete(ctx: Context, groupname: GroupName) -> None:
    """Remove a group.

    Refused for the predefined groups, and as long as users are in it or something belongs to it.

    :param groupname: Group to remove.

    Examples:
    {groupname: exausers}

    """
    group = ctx.conf.require_group(groupname)
    if groupname in PREDEFINED_GROUPS:
        raise InUse(f"group {groupname!r} is predefined and cannot be deleted: rights of jobs are given to it")
    members = [user.name for user in ctx.committed.users.values() if groupname in user.groups]
    if members:
        raise InUse(f"{', '.join(members[:10])} belong to group {groupname!r}; move them with user_modify first")
    if owned := owned_by(ctx.committed, gid=group.id):
        raise InUse(f"group {groupname!r} owns {', '.join(owned[:10])}; delete these or change their owner first")
    ctx.conf.delete(key_of(Group, groupname))


@job(READ, allow=_ADMINISTRATORS)
def group_info(ctx: Context, groupname: GroupName) -> dict[str, Any]:
    """Return the details of a group.

    :param groupname: Name of the group.

    Examples:
    {groupname: exausers}

    """
    return _details(ctx.conf.require_group(groupname))


@job(READ, allow=_ADMINISTRATORS)
def group_list(ctx: Context) -> dict[str, Any]:
    """Return all groups with their ids by name.

    Examples:
    {}

    """
    return {name: _details(group) for name, group in ctx.conf.groups.items()}


def _details(group: Group) -> dict[str, Any]:
    return {"id": group.id}
