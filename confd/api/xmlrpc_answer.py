"""XML-RPC answers: results and faults written as text."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from datetime import date
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from confd.model.secret import HIDDEN, Secret

_HEAD: Final = "<?xml version='1.0'?>\n<methodResponse>"
_CACHED_NAME: Final = 64
_INT32: Final = 2**31
_INT64: Final = 2**63
# Everything outside the Char production of XML 1.0.
_ILLEGAL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: str) -> str:
    """Make text safe inside an element; what XML cannot carry becomes U+FFFD."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if not text.isprintable():
        # Parsers turn CR into LF; a reference survives.
        text = _ILLEGAL.sub("\ufffd", text).replace("\r", "&#13;")
    return text


def _text(value: str) -> str:
    # The tests are spelled out because nearly every text passes them.
    if not value.isprintable() or "&" in value or "<" in value or ">" in value:
        value = escape(value)
    return f"<value><string>{value}</string></value>"


def _integer(value: int) -> str:
    if -_INT32 <= value < _INT32:
        return f"<value><int>{value}</int></value>"
    if -_INT64 <= value < _INT64:
        return f"<value><i8>{value}</i8></value>"
    return _text(str(value))


def _array(values: list[Any] | tuple[Any, ...]) -> str:
    inside = "".join([_WRITERS.get(type(value), _other)(value) for value in values])
    return f"<value><array><data>{inside}</data></array></value>"


def _struct(values: dict[Any, Any]) -> str:
    parts = []
    for key, value in values.items():
        name = key if type(key) is str else _key_text(key)
        head = _member(name) if len(name) <= _CACHED_NAME else _member.__wrapped__(name)
        parts.append(f"{head}{_WRITERS.get(type(value), _other)(value)}</member>")
    return f"<value><struct>{''.join(parts)}</struct></value>"


@lru_cache(maxsize=1024)
def _member(name: str) -> str:
    return f"<member><name>{escape(name)}</name>"


def _key_text(key: object) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str | int) and not isinstance(key, bool):
        return str(key)
    message = f"cannot send a key of type {type(key).__name__}"
    raise TypeError(message)


def _value(value: Any) -> str:
    return _WRITERS.get(type(value), _other)(value)


def _other(value: object) -> str:
    """Write the types that are rare: enums, subclasses, dates, masked secrets."""
    if isinstance(value, Enum):
        return _value(value.value)
    if isinstance(value, date):
        return _text(value.isoformat().replace("+00:00", "Z"))
    if isinstance(value, Secret):
        return _text(HIDDEN)
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    message = f"cannot send a value of type {type(value).__name__}"
    raise TypeError(message)


_WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    str: _text,
    bool: lambda value: f"<value><boolean>{value:d}</boolean></value>",
    int: _integer,
    float: lambda value: f"<value><double>{float(value)!r}</double></value>",
    type(None): lambda _: "<value><nil/></value>",
    list: _array,
    tuple: _array,
    dict: _struct,
    bytes: lambda value: f"<value><base64>{b64encode(value).decode()}</base64></value>",
}


def encode_result(value: object) -> bytes:
    """Write the answer that carries ``value``.

    :raises TypeError: a value of a type that no client could read; a defect of the caller.
    """
    text = f"{_HEAD}<params><param>{_value(value)}</param></params></methodResponse>\n"
    return text.encode()


def encode_fault(code: int, message: str) -> bytes:
    """Write the answer that tells of a protocol error."""
    fault = _value({"faultCode": code, "faultString": message})
    return f"{_HEAD}<fault>{fault}</fault></methodResponse>\n".encode()
