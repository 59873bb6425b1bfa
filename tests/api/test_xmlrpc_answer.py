"""XML-RPC answers are what Python's client reads."""

from __future__ import annotations

import xmlrpc.client
from datetime import UTC, date, datetime
from enum import IntEnum, StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.api.xmlrpc_answer import encode_fault, encode_result
from confd.model.secret import Secret

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")) | st.sampled_from(
    ["a\r\nb\tc\r", "<&>]]>", "\x7f\x85", "😀", " "]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(SCALARS | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


class Colour(StrEnum):
    """A text enum."""

    RED = "red"


class Level(IntEnum):
    """A number enum."""

    HIGH = 3


class Name(str):
    """A subclass of text."""

    __slots__ = ()


def read(answer: bytes) -> object:
    """Read an answer as Python's client does."""
    ((value,), _) = xmlrpc.client.loads(answer.decode(), use_builtin_types=True)
    return value


@given(VALUES)
def test_the_standard_library_reads_every_value(value: object) -> None:
    """A result arrives as it was, line ends and large integers included."""
    assert read(encode_result(value)) == value


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ((1, (2,)), [1, [2]]),
        ({11: "a", Colour.RED: 1, Level.HIGH: 2}, {"11": "a", "red": 1, "3": 2}),
        ([Colour.RED, Level.HIGH, Name("n")], ["red", 3, "n"]),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (date(2026, 1, 2), "2026-01-02"),
        ("a\x00b\x1f\ud800\uffff", "a\ufffdb\ufffd\ufffd\ufffd"),
        ({"\x01": 1}, {"\ufffd": 1}),
        (2**63, str(2**63)),
        (Secret("x"), "***"),
        ("k" * 100, "k" * 100),
        ({"<" * 100: 1}, {"<" * 100: 1}),
    ],
)
def test_values_without_an_own_form(value: object, arrives: object) -> None:
    """Tuples, enums, dates, odd keys and illegal characters arrive in the nearest form."""
    assert read(encode_result(value)) == arrives


@pytest.mark.parametrize(
    ("value", "tag"),
    [(2**31 - 1, "int"), (2**31, "i8"), (-(2**31), "int"), (-(2**31) - 1, "i8"), (True, "boolean")],
)
def test_integers_take_the_smallest_form(value: int, tag: str) -> None:
    """Clients without i8 read everything that fits 32 bits."""
    assert f"<{tag}>".encode() in encode_result(value)


@pytest.mark.parametrize("value", [object(), {1.5: 1}, {None: 1}, {True: 1}, {1}])
def test_unknown_types_are_defects(value: object) -> None:
    """What no client could read is not sent in some form."""
    with pytest.raises(TypeError, match="cannot send"):
        encode_result(value)


def test_a_fault_is_raised_by_the_client() -> None:
    """Code and message arrive as xmlrpc.client.Fault."""
    with pytest.raises(xmlrpc.client.Fault) as caught:
        xmlrpc.client.loads(encode_fault(-32601, "no method <x>\x00"))
    assert (caught.value.faultCode, caught.value.faultString) == (-32601, "no method <x>\ufffd")
