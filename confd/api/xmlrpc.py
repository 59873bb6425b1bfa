"""XML-RPC calls read through expat, answers written as text."""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn
from xml.parsers import expat

from confd.api.malformed import NOT_WELL_FORMED, Call, Limits, MalformedCall
from confd.api.xmlrpc_answer import encode_fault, encode_result

__all__ = ["Call", "Limits", "MalformedCall", "decode_call", "encode_fault", "encode_result"]

_INT = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_FLOAT = re.compile(r"[+-]?([0-9]++(?:\.[0-9]*+)?|\.[0-9]++)([eE][+-]?[0-9]+)?", re.ASCII)
_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]*?encoding\s*=\s*["']([^"'>]*)""")
_INT64: Final = 2**63
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_LIKE_ASCII: Final = ("us-ascii", "ascii", "iso-8859-", "windows-125")


def _integer(text: str) -> int:
    text = text.strip()
    if not _INT.fullmatch(text) or not -_INT64 <= (value := int(text)) < _INT64:
        raise MalformedCall(f"not an integer of 64 bits: {text[:40]!r}")
    return value


def _double(text: str) -> float:
    text = text.strip()
    if not _FLOAT.fullmatch(text) or math.isinf(value := float(text)):
        raise MalformedCall(f"not a number: {text[:40]!r}")
    return value


def _boolean(text: str) -> bool:
    text = text.strip()
    if text not in {"0", "1"}:
        raise MalformedCall(f"a boolean is 0 or 1, not {text[:40]!r}")
    return text == "1"


def _base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError as error:
        raise MalformedCall(f"not base64: {error}") from None


def _nil(text: str) -> None:
    if text.strip():
        raise MalformedCall("nil has no text")


_SCALARS: Final[dict[str, Callable[[str], object]]] = {
    "string": str,
    "int": _integer,
    "i1": _integer,
    "i2": _integer,
    "i4": _integer,
    "i8": _integer,
    "boolean": _boolean,
    "double": _double,
    "float": _double,
    "base64": _base64,
    "dateTime.iso8601": str.strip,
    "nil": _nil,
}

# The grammar: which element may open in which state. A state is the name of the innermost open
# element, with a "+" for each mandatory child that it has already had.
_OPENS: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"methodCall"}),
    "methodCall": frozenset({"methodName"}),
    "methodCall+": frozenset({"params"}),
    "params": frozenset({"param"}),
    "param": frozenset({"value"}),
    "value": frozenset({*_SCALARS, "array", "struct"}),
    "array": frozenset({"data"}),
    "data": frozenset({"value"}),
    "struct": frozenset({"member"}),
    "member": frozenset({"name"}),
    "member+": frozenset({"value"}),
}
_OPENS.update({state: frozenset() for state in (*_SCALARS, "name", "methodName", "methodCall++")})
_OPENS.update({state: frozenset() for state in ("param+", "value+", "array+", "member++")})
_TEXTS: Final = {"name", "value", "methodName"}
_NEWLINE: Final = ["\n"]
_CONTAINERS: Final = {"struct", "array"}
_AFTER: Final = {"params": "methodCall++", "data": "array+"}
_INCOMPLETE: Final = {"methodCall", "param", "array", "member", "member+"}


class _Reader:
    """Builds the values of one call from expat's events.

    All state is in flat lists: the depth of a hostile body costs no recursion.
    """

    __slots__ = ("_limits", "_names", "_open", "_states", "_text", "_value", "_values", "method", "params")

    def __init__(self, text: list[str], limits: Limits) -> None:
        self.method = ""
        self.params: list[object] = []
        self._text = text
        self._limits = limits
        self._values = 0
        self._states = [""]
        self._open: list[Any] = [self.params]
        self._names: list[str] = []
        self._value: object = None

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        states = self._states
        if tag not in _OPENS[states[-1]]:
            tag = _without_prefix(tag, states[-1])
        if text := self._text:
            if text != _NEWLINE:
                _expect_blank(text)
            text.clear()
        if tag in _SCALARS:
            states[-1] = tag
            return
        states.append(tag)
        if tag in _CONTAINERS:
            if len(self._open) > self._limits.max_depth:
                raise self._limits.too_deep()
            self._open.append({} if tag == "struct" else [])

    def end(self, _tag: str) -> None:
        states, text = self._states, self._text
        state = states[-1]
        if state in _SCALARS:
            self._value = _SCALARS[state]("".join(text))
            states[-1] = "value+"
        elif state in _TEXTS:
            states.pop()
            if state == "name":
                self._name("".join(text))
            elif state == "value":
                self._store("".join(text))
            else:
                self.method = "".join(text).strip()
                states[-1] = "methodCall+"
        else:
            if text and text != _NEWLINE:
                _expect_blank(text)
            states.pop()
            if state == "value+":
                self._store(self._value)
            elif state != "member++":
                self._close(state)
        if text:
            text.clear()

    def _store(self, value: object) -> None:
        """End a value: put it where the element around it says."""
        self._values += 1
        if self._values > self._limits.max_values:
            raise self._limits.too_many()
        states = self._states
        if states[-1] == "member+":
            self._open[-1][self._names.pop()] = value
            states[-1] = "member++"
        else:
            self._open[-1].append(value)
            if states[-1] == "param":
                states[-1] = "param+"

    def _name(self, name: str) -> None:
        if name in self._open[-1]:
            raise MalformedCall(f"member {name[:80]!r} is given twice")
        self._names.append(name)
        self._states[-1] = "member+"

    def _close(self, state: str) -> None:
        """End an element that holds other elements."""
        states = self._states
        if state in {"struct", "array+"}:
            self._value = self._open.pop()
            states[-1] = "value+"
        elif state in _INCOMPLETE:
            raise MalformedCall(f"<{state.rstrip('+')}> is incomplete")
        elif state in _AFTER:
            states[-1] = _AFTER[state]


def _expect_blank(text: list[str]) -> None:
    if found := "".join(text).strip():
        raise MalformedCall(f"unexpected text {found[:40]!r}")


def _without_prefix(tag: str, state: str) -> str:
    """Read ``ex:nil`` as ``nil``, whatever the prefix; refuse an element that may not open here."""
    local = tag.rpartition(":")[2]
    if local not in _OPENS[state]:
        where = f"inside <{state.rstrip('+')}>" if state else "at the top"
        raise MalformedCall(f"unexpected element <{tag[:40]}> {where}")
    return local


def _refuse_doctype(*_declaration: object) -> NoReturn:
    # Raised at the declaration itself, so that no entity is ever expanded or fetched.
    raise MalformedCall("document type and entity declarations are not allowed", fault=NOT_WELL_FORMED)


def _check_encoding(body: bytes) -> None:
    # Expat would detect these by itself, whatever encoding it was told.
    if body.startswith(_UTF16_MARKS) or b"\0" in body[:4]:
        raise MalformedCall("the encoding is not UTF-8", fault=NOT_WELL_FORMED)
    declared = _ENCODING.match(body)
    if declared is None:
        return
    name = declared[1].decode("latin-1").lower()
    # PHP declares iso-8859-1 and sends pure ASCII, which reads the same.
    if name not in {"utf-8", "utf8"} and not (name.startswith(_LIKE_ASCII) and body.isascii()):
        raise MalformedCall(f"the encoding is {name[:40]}; send UTF-8", fault=NOT_WELL_FORMED)


def decode_call(body: bytes, limits: Limits) -> Call:
    """Read a method call.

    Strings, names and dates come out as ``str``, base64 as ``bytes``, nil as ``None``, arrays as lists
    and structs as dicts; nothing else is converted.

    :raises MalformedCall: the body is no XML-RPC call, is not UTF-8, declares a document type, or is
        beyond a limit.
    """
    limits.check_size(body)
    _check_encoding(body)
    text: list[str] = []
    reader = _Reader(text, limits)
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse_doctype
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise MalformedCall(f"not well-formed XML in UTF-8: {error}", fault=NOT_WELL_FORMED) from None
    limits.check_method(reader.method)
    return Call(reader.method, tuple(reader.params))
