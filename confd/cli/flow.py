"""YAML's flow style (``{a: 1, b: [x, "y"]}``, and so JSON), with plain scalars kept as written.

Not PyYAML, because that cannot read what administrators type: ``params:"-x=1"`` without a blank,
``day: *``, ``cluster: !x``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_MAX_DEPTH: Final = 64
_BLANKS = re.compile(r"\s*")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_SINGLE = re.compile(r"'((?:[^']|'')*+)'")
_INCLUDE = re.compile(r"\{<[^{}]*\}")
_WORD_KEY = re.compile(r"([A-Za-z_]\w*):")
_PLAIN_KEY = re.compile(r"([^,\[\]{}\"']+?)\s*:(?=[\s\"'\[{,}]|$)")
_PLAIN = re.compile(r"[^,\[\]{}]+")
_PLAIN_TO_END = re.compile(r"[^,\[\]{}\"']*")
_INNER_KEY = re.compile(r"(\w+):\s")
_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))",
    re.DOTALL,
)
_ESCAPES: Final = {"\n": ""} | dict(
    zip('0abt\tnvfre "/\\N_LP', '\0\a\b\t\t\n\v\f\r\x1b "/\\\x85\xa0\u2028\u2029', strict=True)
)


class Unreadable(ValueError):
    """The text is not in flow style; the message says what to write."""


class Unfinished(Unreadable):
    """The text ends inside a collection or quotes: the shell may have split it."""


def read_flow(text: str) -> object:
    """Read one flow collection or quoted scalar that fills the text.

    :raises Unreadable: it does not.
    """
    reader = _Reader(text)
    value = reader.value()
    reader.expect_end()
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def value(self) -> object:
        mark = self._peek()
        if mark in "\"'":
            return self._quoted()
        if mark == "[":
            return self._nested(self._sequence)
        if mark == "{" and (include := _INCLUDE.match(self._text, self._at)):
            return self._take(include)
        if mark == "{":
            return self._nested(self._mapping)
        return self._plain()

    def expect_end(self) -> None:
        self._skip_blanks()
        if self._at < len(self._text):
            raise Unreadable(f"unexpected text {self._rest()!r}")

    def _nested(self, read: Callable[[], object]) -> object:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unreadable(f"values are nested deeper than {_MAX_DEPTH} levels")
        self._at += 1
        result = read()
        self._at += 1
        self._depth -= 1
        return result

    def _sequence(self) -> list[object]:
        items: list[object] = []
        while self._peek() != "]":
            items.append(self.value())
            self._separator("]")
        return items

    def _mapping(self) -> dict[str, object]:
        items: dict[str, object] = {}
        while self._peek() != "}":
            key = self._key()
            if key in items:
                raise Unreadable(f"{key} is given twice")
            items[key] = None if self._peek() in ",}" else self.value()
            self._separator("}")
        return items

    def _separator(self, closer: str) -> None:
        mark = self._peek()
        if mark == ",":
            self._at += 1
        elif mark != closer:
            raise Unreadable(f"expected , or {closer} before {self._rest()!r}; quote a value that holds it")

    def _key(self) -> str:
        if self._peek() in "\"'":
            key = self._quoted()
            if self._peek() != ":":
                raise Unreadable(f"expected a colon after {key!r}")
            self._at += 1
            return key
        match = _WORD_KEY.match(self._text, self._at) or _PLAIN_KEY.match(self._text, self._at)
        if match is None:
            unfinished = _PLAIN_TO_END.fullmatch(self._text, self._at)
            error = Unfinished if unfinished else Unreadable
            raise error(f"expected 'name: value' at {self._rest()!r}")
        self._at = match.end()
        return match[1]

    def _quoted(self) -> str:
        double = self._text[self._at] == '"'
        match = (_DOUBLE if double else _SINGLE).match(self._text, self._at)
        if match is None:
            raise Unfinished(f"no closing quote for {self._rest()!r}")
        self._at = match.end()
        return _ESCAPE.sub(_unescape, match[1]) if double else match[1].replace("''", "'")

    def _plain(self) -> str | None:
        match = _PLAIN.match(self._text, self._at)
        if match is None:
            raise Unreadable(f"a value is missing before {self._rest()!r}")
        text = self._take(match).rstrip()
        if inner := _INNER_KEY.search(text):
            raise Unreadable(f"is a comma missing before {inner[1]}? Otherwise quote {text!r}")
        return None if text == "null" else text

    def _take(self, match: re.Match[str]) -> str:
        self._at = match.end()
        return match[0]

    def _skip_blanks(self) -> None:
        if blanks := _BLANKS.match(self._text, self._at):
            self._at = blanks.end()

    def _peek(self) -> str:
        self._skip_blanks()
        if self._at >= len(self._text):
            raise Unfinished("a closing bracket is missing")
        return self._text[self._at]

    def _rest(self) -> str:
        return self._text[self._at : self._at + 40]


def _unescape(match: re.Match[str]) -> str:
    high, low, *codes, single = match.groups()
    if high:
        # JSON writes a character beyond 16 bits as a pair of surrogates.
        return bytes.fromhex(high + low).decode("utf-16-be")
    for code in codes:
        if code:
            return chr(int(code, 16))
    if single not in _ESCAPES:
        raise Unreadable(f"unknown escape \\{single}; write a backslash as two")
    return _ESCAPES[single]
