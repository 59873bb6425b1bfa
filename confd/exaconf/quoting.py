"""Quoting, so that any text survives as value, list item, key or header of a ConfigObj file.

Readers that use ConfigObj with ``list_values`` off see values as they stand, so text is quoted only where
the file would otherwise be read wrongly. Quoted text is a JSON string without inner quotation marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

from confd.model.errors import InvalidParameter

# What ConfigObj takes as one value without comment; the dot does not match a line end.
_VALUE: Final = re.compile(r"""(?!"{3}|'{3})(?:"[^"#]*"|'[^'#]*'|[^'"\#][^#]*|)""")
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]")
_ESCAPED: Final = re.compile(_UNPRINTABLE.pattern[:-1] + '\t"\\\\]')
_ITEM: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+")++')
_ITEMS: Final = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*+")*+')
_NAME: Final = re.compile(r"""[^\s'"\[\]=#,](?:[^'"\[\]=#]*[^\s'"\[\]=#])?""")


def encode_value(text: str) -> str:
    """Write a value so that the file gives exactly this text again."""
    plain = _VALUE.fullmatch(text) and not _UNPRINTABLE.search(text)
    if plain and text == text.strip() and decode_value(text) == text:
        return text
    return _quoted(text)


def decode_value(text: str) -> str:
    """Read a value; quotation marks that the text did not need are part of it."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "\"'":
        return text
    if text in ('""', "''"):
        return ""
    inner = text[1:-1]
    if text[0] == '"' and (unquoted := _unquoted(text)) is not None:
        return unquoted
    if text[0] not in inner and "\\" not in inner and ("#" in inner or inner != inner.strip()):
        return inner
    return text


def split_items(text: str) -> tuple[str, ...]:
    """Read a comma separated list; blanks around items and a trailing comma do not count."""
    pieces = _ITEM.findall(text) if _ITEMS.fullmatch(text) else text.split(",")
    return tuple(_decode_item(piece.strip()) for piece in pieces if piece.strip())


def join_items(items: Iterable[str], separator: str = ", ") -> str:
    """Write a list so that ``split_items`` gives the same items again."""
    return separator.join(_encode_item(item) for item in items)


def encode_name(name: str) -> str:
    """Write a key or the name in a header.

    :raises InvalidParameter: no quoting can carry the name.
    """
    if _NAME.fullmatch(name) and not _UNPRINTABLE.search(name):
        return name
    for mark in "\"'":
        if name.strip() and mark not in name and not _UNPRINTABLE.search(name):
            return f"{mark}{name}{mark}"
    raise InvalidParameter(f"{name!r} cannot be a name in EXAConf: leave out quotation marks and line ends")


def _quoted(text: str) -> str:
    return '"' + _ESCAPED.sub(lambda found: _escape(found[0]), text) + '"'


def _escape(character: str) -> str:
    return "\\\\" if character == "\\" else f"\\u{ord(character):04x}"


def _unquoted(text: str) -> str | None:
    try:
        unquoted = json.loads(text)
    except ValueError:
        return None
    return unquoted if isinstance(unquoted, str) and encode_value(unquoted) == text else None


def _decode_item(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            unquoted = json.loads(text)
        except ValueError:
            return text
        if isinstance(unquoted, str) and _encode_item(unquoted) == text:
            return unquoted
    return text


def _encode_item(item: str) -> str:
    if item and item == item.strip() and _ITEM.fullmatch(item) and _decode_item(item) == item:
        return item
    return _quoted(item)
