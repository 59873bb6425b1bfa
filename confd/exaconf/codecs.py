"""How values of each type stand in EXAConf."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import msgspec

from confd.exaconf.quoting import join_items, split_items
from confd.model.secret import Secret
from confd.model.sizes import FORMS, Bytes, format_exact, parse_size

T = TypeVar("T")


class Codec(msgspec.Struct, Generic[T], frozen=True):
    """Text to value and back.

    ``decode`` raises ValueError or a RequestError; ``expected`` then tells the user what to write.
    """

    expected: str
    decode: Callable[[str], T]
    encode: Callable[[T], str]
    secret: bool = False


def _decode_bool(text: str) -> bool:
    try:
        return _BOOLS[text.strip().lower()]
    except KeyError:
        raise ValueError(text) from None


def _decode_int(text: str) -> int:
    if not re.fullmatch(r"\s*-?[0-9]{1,30}\s*", text):
        raise ValueError(text)
    return int(text)


def _decode_pair(text: str) -> tuple[int, int]:
    first, colon, second = text.partition(":")
    if not colon:
        raise ValueError(text)
    return _decode_int(first), _decode_int(second)


def _encode_pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]} : {pair[1]}"


def _decode_ints(text: str) -> tuple[int, ...]:
    return tuple(_decode_int(word) for word in split_items(text))


def _encode_ints(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _decode_pairs(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(_decode_pair(word) for word in split_items(text))


def _encode_pairs(pairs: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(f"{first}:{second}" for first, second in pairs)


def _decode_keys(text: str) -> tuple[str, ...]:
    # Options before a key may hold commas outside quotes: "no-pty,no-agent-forwarding ssh-rsa AAAA".
    keys: list[str] = []
    options: list[str] = []
    for item in split_items(text):
        options.append(item)
        if _SSH_KEY.search(item):
            keys.append(",".join(options))
            options = []
    return (*keys, *options)


_BOOLS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_SSH_KEY: Final = re.compile(r"(?:^|\s)(?:ssh|ecdsa|sk)-\S+\s+AAAA")

TEXT: Final = Codec[str]("text", str, str)
BOOL: Final = Codec[bool]("True or False", _decode_bool, str)
INT: Final = Codec[int]("a whole number", _decode_int, str)
SIZE: Final = Codec[Bytes](FORMS, parse_size, format_exact)
SECRET: Final = Codec[Secret]("text", Secret, Secret.reveal, secret=True)
PAIR: Final = Codec[tuple[int, int]]("a pair of numbers such as 500 : 500", _decode_pair, _encode_pair)
PAIRS: Final = Codec[tuple[tuple[int, int], ...]](
    "pairs of numbers such as 8563:8574, 2581:2592", _decode_pairs, _encode_pairs
)
INTS: Final = Codec[tuple[int, ...]]("whole numbers such as 11, 12", _decode_ints, _encode_ints)
LIST: Final = Codec[tuple[str, ...]]("a comma separated list", split_items, join_items)
WORDS: Final = Codec[tuple[str, ...]](
    "a comma separated list", split_items, lambda items: join_items(items, separator=",")
)
SSH_KEYS: Final = Codec[tuple[str, ...]]("OpenSSH public keys separated by commas", _decode_keys, join_items)

BY_TYPE: Final[dict[Any, Codec[Any]]] = {
    str: TEXT,
    bool: BOOL,
    int: INT,
    Bytes: SIZE,
    Secret: SECRET,
    tuple[int, int]: PAIR,
    tuple[tuple[int, int], ...]: PAIRS,
    tuple[int, ...]: INTS,
    tuple[str, ...]: LIST,
}


def within(least: int, most: int | None = None) -> Codec[int]:
    """Make a codec for whole numbers of a range."""

    def decode(text: str) -> int:
        number = _decode_int(text)
        if number < least or (most is not None and number > most):
            raise ValueError(text)
        return number

    upper = f" to {most}" if most is not None else " or more"
    return Codec(f"a whole number, {least}{upper}", decode, str)


PORT: Final = within(0, 65535)
PERCENT: Final = within(0, 100)


def one_of(words: type[StrEnum]) -> Codec[StrEnum]:
    """Make a codec for a closed set of words; case does not matter when reading."""
    by_text = {word.value.lower(): word for word in words}

    def decode(text: str) -> StrEnum:
        try:
            return by_text[text.strip().lower()]
        except KeyError:
            raise ValueError(text) from None

    return Codec("one of " + ", ".join(words), decode, str)


def optional(codec: Codec[T], none: str) -> Codec[T | None]:
    """Let empty text and ``None`` stand for no value; ``none`` is what is written for it."""

    def decode(text: str) -> T | None:
        return None if text in ("", "None") else codec.decode(text)

    def encode(value: T | None) -> str:
        return none if value is None else codec.encode(value)

    return Codec(codec.expected, decode, encode, codec.secret)
