"""Users of the cluster: who may log in, and to which groups he belongs."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from confd.exaconf import User, key_of
from confd.exaconf.accounts import PREDEFINED_USERS, ROOT
from confd.jobs import locks
from confd.jobs.types import GroupNames, GroupRef, NewId, NewUserName, Password, SshKeys, UserId, UserName
from confd.model.errors import AlreadyExists, InUse
from confd.model.secret import Secret
from confd.scheduler.context import Context
from confd.scheduler.registry import MODIFY, READ, SELF, Allow, Substitute, job
from confd.services.access.accounts import find_group, find_user, owned_by, user_by_id
from confd.services.access.passwords import encode

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm"))
_OR_HIMSELF: Final = Allow(users=("root", SELF), groups=("root", "exaadm"))


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[
        locks.user("username"),
        locks.number("uid", "userid"),
        locks.group("group", "additional_groups", share=True),
    ],
)
def user_create(
    ctx: Context,
    username: NewUserName,
    userid: NewId,
    password: Password,
    group: GroupRef,
    login_enabled: bool,
    *,
    additional_groups: GroupNames | None = None,
    authorized_keys: SshKeys | None = None,
    encode_passwd: bool = True,
) -> None:
    """Add a user, who can log in on every node at once.

    Users administer the cluster; users of a database are made with SQL.

    :param username: Name of the new user.
    :param userid: Numeric id of the new user.
    :param password: Password; empty or '*' switches login by password off.
    :param group: Primary group, by name or id.
    :param login_enabled: May the user log in?
    :param additional_groups: Names of further groups.
    :param authorized_keys: SSH public keys for login.
    :param encode_passwd: True hashes the password. False stores a hash as it is; other text is hashed also then.

    Examples:
    {username: user_1, userid: 1001, password: secret_password, group: exausers, login_enabled: true}

    """
    if ctx.conf.find(User, username) is not None:
        raise AlreadyExists(f"user {username!r} exists already; change it with user_modify and user_passwd")
    if (holder := user_by_id(ctx.conf, userid)) is not None:
        raise AlreadyExists(f"user id {userid} belongs to {holder.name!r}; choose another id")
    primary = find_group(ctx.conf, group).name
    ctx.conf.put(
        User(
            name=username,
            id=userid,
            group=primary,
            login_enabled=login_enabled,
            additional_groups=_groups(ctx, additional_groups or [], primary),
            passwd=_secret(encode(password, force=encode_passwd)),
            authorized_keys=tuple(authorized_keys or ()),
        )
    )


@job(MODIFY, allow=_ADMINISTRATORS, locks=locks.user("username"))
def user_delete(ctx: Context, username: UserName) -> None:
    """Remove a user.

    Refused for the users that the cluster itself needs, for the caller himself, and as long as something belongs to the
    user.

    :param username: User to remove.

    Examples:
    {username: user_1}

    """
    user = ctx.conf.require_user(username)
    if username in PREDEFINED_USERS:
        raise InUse(f"user {username!r} is predefined and cannot be deleted: the cluster itself needs it")
    if username == ctx.caller.name:
        raise InUse(f"{username!r} runs this job; let another administrator delete the user")
    if owned := owned_by(ctx.committed, uid=user.id):
        raise InUse(f"user {username!r} owns {', '.join(owned[:10])}; delete these or change their owner first")
    ctx.conf.delete(key_of(User, username))


@job(READ, allow=_ADMINISTRATORS, substitutes=[Substitute("userid", "username")])
def user_info(ctx: Context, username: UserName | None, *, userid: UserId | None = None) -> dict[str, Any]:
    """Return the details of a user; the password is not among them.

    :param username: Name of the user.
    :param userid: Numeric id; may be given instead of username.

    Examples:
    {username: root}
    {userid: 1000}

    """
    user = ctx.conf.require_user(username) if username is not None else find_user(ctx.conf, userid or 0)
    return {"name": user.name, **_details(user)}


@job(READ, allow=_ADMINISTRATORS)
def user_list(ctx: Context) -> dict[str, Any]:
    """Return all users with their details by name.

    Examples:
    {}

    """
    return {name: _details(user) for name, user in ctx.conf.users.items()}


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[locks.user("username"), locks.group("group", "additional_groups", share=True)],
)
def user_modify(
    ctx: Context,
    username: UserName,
    *,
    group: GroupRef | None = None,
    additional_groups: GroupNames | None = None,
    authorized_keys: SshKeys | None = None,
    login_enabled: bool | None = None,
) -> None:
    """Change groups, keys or login of a user; what is left out stays as it is.

    :param username: User to change.
    :param group: New primary group, by name or id.
    :param additional_groups: Further groups; replaces the former list.
    :param authorized_keys: SSH public keys; replaces the former list.
    :param login_enabled: May the user log in?

    Examples:
    {username: user_1}
    {username: admin4, group: exabfsadm, additional_groups: [exastoradm, exausers]}

    """
    user = ctx.conf.require_user(username)
    if username == ROOT and login_enabled is False:
        raise InUse("login of user root cannot be disabled: nobody might get in any more")
    primary = user.group if group is None else find_group(ctx.conf, group).name
    further = user.additional_groups if additional_groups is None else additional_groups
    keys = user.authorized_keys if authorized_keys is None else authorized_keys
    ctx.conf.put(
        msgspec.structs.replace(
            user,
            group=primary,
            additional_groups=_groups(ctx, further, primary),
            authorized_keys=tuple(keys),
            login_enabled=user.login_enabled if login_enabled is None else login_enabled,
        )
    )


@job(MODIFY, allow=_OR_HIMSELF, locks=locks.user("username"))
def user_passwd(ctx: Context, username: UserName, password: Password, *, encode_passwd: bool = True) -> None:
    """Set the password of a user; sessions and remembered logins end.

    :param username: User whose password changes.
    :param password: New password; empty or '*' switches login by password off.
    :param encode_passwd: True hashes the password. False stores a hash as it is; other text is hashed also then.

    Examples:
    {username: user_1, password: new_password}

    """
    user = ctx.conf.require_user(username)
    passwd = _secret(encode(password, force=encode_passwd))
    ctx.conf.put(msgspec.structs.replace(user, passwd=passwd))


def _groups(ctx: Context, names: list[str] | tuple[str, ...], primary: str) -> tuple[str, ...]:
    found = dict.fromkeys(find_group(ctx.conf, name).name for name in names)
    found.pop(primary, None)
    return tuple(found)


def _secret(stored: str | None) -> Secret | None:
    return None if stored is None else Secret(stored)


def _details(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "group": user.group,
        "login_enabled": user.login_enabled,
        "additional_groups": list(user.additional_groups),
        "authorized_keys": list(user.authorized_keys),
    }
