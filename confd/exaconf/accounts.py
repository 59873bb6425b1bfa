"""Users and groups of ConfD."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final

from confd.exaconf.codecs import SSH_KEYS, within
from confd.exaconf.fields import Key, Name
from confd.exaconf.section import Form, Section
from confd.model.errors import InvalidParameter
from confd.model.secret import Secret

ROOT: Final = "root"
PREDEFINED_USERS: Final = frozenset({ROOT, "exadefusr", "exasaasusr"})
PREDEFINED_GROUPS: Final = frozenset(
    {"root", "exausers", "exaadm", "exadbadm", "exastoradm", "exabfsadm", "exasaasadm"}
)
RESERVED_NAMES: Final = frozenset({"exameta", "exahugepages", "_owner", "_self"})
RESERVED_IDS: Final = frozenset({55554, 55555})
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")


class Group(Section, frozen=True):
    """A group; rights of jobs are given to groups."""

    kind: ClassVar[str] = "Groups"
    form: ClassVar[Form] = Form.INSIDE

    name: Annotated[str, Name()]
    id: Annotated[int, Key("ID", within(0))]


class User(Section, frozen=True):
    """A user; without a password he logs in with a key or not at all."""

    kind: ClassVar[str] = "Users"
    form: ClassVar[Form] = Form.INSIDE

    name: Annotated[str, Name()]
    id: Annotated[int, Key("ID", within(0))]
    group: Annotated[str, Key("Group")]
    login_enabled: Annotated[bool, Key("LoginEnabled")] = True
    additional_groups: Annotated[tuple[str, ...], Key("AdditionalGroups", optional=True)] = ()
    passwd: Annotated[Secret | None, Key("Passwd", optional=True)] = None
    authorized_keys: Annotated[tuple[str, ...], Key("AuthorizedKeys", SSH_KEYS, optional=True)] = ()

    @property
    def groups(self) -> frozenset[str]:
        """Names of all groups of the user, the primary one included."""
        return frozenset((self.group, *self.additional_groups))


def check_account_name(name: str) -> None:
    """Check the name of a user or group.

    :raises InvalidParameter: it could not be a system user.
    """
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f"{name!r} is not usable: 1 to 32 letters, digits, '_', '.', '-', beginning with a letter or '_'"
        )
    if name in RESERVED_NAMES:
        raise InvalidParameter(f"{name!r} is reserved; choose another name")


def check_account_id(number: int) -> None:
    """Check the id of a user or group."""
    if number in RESERVED_IDS:
        raise InvalidParameter(f"{number} is reserved; choose another id")
