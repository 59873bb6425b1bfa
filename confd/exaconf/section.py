"""What all sections of EXAConf have in common."""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar

import msgspec

from confd.exaconf.fields import plan
from confd.exaconf.tree import Extra, join_header


class Form(Enum):
    """Where a unit of configuration stands in the file."""

    SINGLE = "single"
    """One section without a name: ``[Global]``."""
    NAMED = "named"
    """One section per object: ``[Node : 11]``."""
    INSIDE = "inside"
    """One subsection per object: ``[[admin]]`` below ``[Users]``."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A section or subsection.

    ``extra`` keeps unknown keys and subsections, ``comments`` the comments (places as in ``Tree``), ``kept``
    the names of optional keys that stood in the file with their default and therefore keep being written.
    """

    extra: dict[str, Extra] = msgspec.field(default_factory=dict)
    comments: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    kept: tuple[str, ...] = ()


class Section(Entry, frozen=True):
    """A unit of configuration: what is stored, compared and locked as one."""

    kind: ClassVar[str] = ""
    form: ClassVar[Form] = Form.SINGLE

    @property
    def key(self) -> str:
        """The name of the unit in the configuration, such as ``Node : 11`` or ``Users : admin``."""
        return self.kind if self.form is Form.SINGLE else key_of(type(self), name_of(self))


def name_of(section: Entry) -> Any:
    """Return the name (of a node the id) by which a section is looked up in its kind."""
    name = plan(type(section)).name
    return getattr(section, name[0]) if name else getattr(section, "kind", None)


def key_of(kind: type[Section], name: object) -> str:
    """Return the key of the unit of this kind that has this name."""
    return join_header(kind.kind, str(name))
