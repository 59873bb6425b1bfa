"""Users and groups of ConfD."""

from __future__ import annotations

from typing import Annotated, ClassVar

from confd.exaconf.codecs import SSH_KEYS, within
from confd.exaconf.fields import Key, Name
from confd.exaconf.section import Form, Section
from confd.model.secret import Secret


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
