"""How the fields of a section are declared: one annotation per field says where it stands in the file.

    class Node(Section, frozen=True):
        id: Annotated[int, Name()]                                  # [Node : 11]
        private_net: Annotated[str, Key("PrivateNet")]              # PrivateNet = 10.10.10.11/24
        state: Annotated[str, Key("State", optional=True)] = ""     # not written while unset
        disks: Annotated[dict[str, Disk], Parts("Disk")] = ...      # [[Disk : disk1]]

The text form follows from the type unless the annotation names a codec.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from confd.exaconf.codecs import BY_TYPE, Codec, one_of, optional


class Name(msgspec.Struct, frozen=True):
    """The field is the name in the header; ``key`` repeats it inside the section."""

    key: str | None = None


class Key(msgspec.Struct, frozen=True):
    """The field is a key; an optional one is written only when it differs from its default or was there.

    ``check`` says what is wrong with a value that could be read; it counts when a file or a job sets it.
    """

    name: str
    codec: Codec[Any] | None = None
    optional: bool = False
    none: str = ""
    aliases: tuple[str, ...] = ()
    check: Callable[[Any], None] | None = None


class Parts(msgspec.Struct, frozen=True):
    """The field is a dict of named subsections ``[[<kind> : <name>]]``."""

    kind: str


class Part(msgspec.Struct, frozen=True):
    """The field is the one subsection ``[[<kind>]]``."""

    kind: str


class KeyField(msgspec.Struct, frozen=True):
    """A key of a class with everything needed to read and write it."""

    attribute: str
    name: str
    names: tuple[str, ...]
    codec: Codec[Any]
    optional: bool
    required: bool
    default: object
    check: Callable[[Any], None] | None = None


class PartField(msgspec.Struct, frozen=True):
    """A subsection of a class, or all subsections of one kind."""

    attribute: str
    kind: str
    type: type[Any]
    named: bool


class Plan(msgspec.Struct, frozen=True):
    """All declared fields of a class in the order of writing."""

    name: tuple[str, Codec[Any]] | None
    name_key: str | None
    keys: tuple[KeyField, ...]
    parts: tuple[PartField, ...]


@cache
def plan(cls: type[msgspec.Struct]) -> Plan:
    """Read the declarations of a class."""
    hints = get_type_hints(cls, include_extras=True)
    name, name_key = None, None
    keys: list[KeyField] = []
    parts: list[PartField] = []
    for field in msgspec.structs.fields(cls):
        hint, mark = _declared(hints[field.name])
        if isinstance(mark, Name):
            name, name_key = (field.name, _codec(hint, "")), mark.key
        elif isinstance(mark, Key):
            keys.append(_key_field(field, hint, mark))
        elif isinstance(mark, Parts):
            parts.append(PartField(field.name, mark.kind, get_args(hint)[1], named=True))
        elif isinstance(mark, Part):
            parts.append(PartField(field.name, mark.kind, hint, named=False))
    return Plan(name, name_key, tuple(keys), tuple(parts))


def _declared(hint: Any) -> tuple[Any, object]:
    if get_origin(hint) is not Annotated:
        return hint, None
    inner, mark, *_ = get_args(hint)
    return inner, mark


def _key_field(field: msgspec.structs.FieldInfo, hint: Any, mark: Key) -> KeyField:
    codec = mark.codec or _codec(hint, mark.none)
    if mark.codec and _is_optional(hint):
        codec = optional(mark.codec, mark.none)
    return KeyField(
        attribute=field.name,
        name=mark.name,
        names=(mark.name, *mark.aliases),
        codec=codec,
        optional=mark.optional,
        required=field.required,
        default=field.default,
        check=mark.check,
    )


def _codec(hint: Any, none: str) -> Codec[Any]:
    if _is_optional(hint):
        inner = next(arm for arm in get_args(hint) if arm is not _NONE)
        return optional(_codec(inner, none), none)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return one_of(hint)
    return BY_TYPE[hint]


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and _NONE in get_args(hint)


_NONE: Final = type(None)
