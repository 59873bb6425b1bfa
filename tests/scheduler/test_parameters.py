"""A caller's value becomes the declared type, or an error that names the parameter: never another value."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.errors import InvalidParameter
from confd.scheduler.parameters import Parameter, Rule, types_of

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
INT64 = 2**63


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


def parameter(annotation: Any) -> Parameter:
    """Declare a parameter of a type."""
    types, nullable, rules = types_of(annotation)
    return Parameter("p", types, "", None, nullable, rules)


def refuse(annotation: Any, value: Any) -> str:
    """Return the message with which a value is refused."""
    with pytest.raises(InvalidParameter) as caught:
        parameter(annotation).read(value)
    assert caught.value.message.startswith("p: ")
    return caught.value.message


@pytest.mark.parametrize(
    ("annotation", "value", "wanted"),
    [
        (str, "007", "007"),
        (str, "18.10", "18.10"),
        (str, "", ""),
        (str, 8, "8"),
        (str, 8.5, "8.5"),
        (str, b"abc", "abc"),
        (int, "007", 7),
        (int, " 42 ", 42),
        (int, "-3", -3),
        (int, 3.0, 3),
        (bool, "True", True),
        (bool, "no", False),
        (bool, 1, True),
        (bool, "0", False),
        (list, "[a, b]", ["a", "b"]),
        (list, ("a",), ["a"]),
        (list[int], ["11", 12], [11, 12]),
        (list[int], 11, [11]),
        (list[int], "11,12", [11, 12]),
        (list[str], [1, "x"], ["1", "x"]),
        (int | None, None, None),
        (str | int, 5, 5),
        (str | int, "5", "5"),
        (Color, "red", "red"),
        (Literal["a", "b"], "b", "b"),
        (Annotated[int, Rule(also=("all",))], "all", "all"),
        (dict[str, Any], {"a": 1}, {"a": 1}),
    ],
)
def test_values_are_read_as_their_callers_mean_them(annotation: Any, value: Any, wanted: Any) -> None:
    """Callers are lenient by tradition; what a cast gives is of the declared type."""
    got = parameter(annotation).read(value)
    assert got == wanted
    assert type(got) is type(wanted)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, True),
        (int, "1.0"),
        (int, 1.5),
        (int, ""),
        (int, "1_000"),
        (int, "٣"),
        (int, "9" * 30),
        (int, "9999999999999999999"),
        (int, math.inf),
        (int, math.nan),
        (int, 1e300),
        (int, 2**70),
        (int, [1]),
        (int, None),
        (bool, 2),
        (bool, "2"),
        (bool, ""),
        (bool, 1.0),
        (bool, None),
        (str, True),
        (str, None),
        (str, ["a"]),
        (str, {"a": 1}),
        (list, ""),
        (list, {"a": 1}),
        (list, True),
        (list[int], ["x"]),
        (list[int], [True]),
        (list[int], [None]),
        (dict[str, Any], "a"),
        (dict[str, Any], [1]),
        (Color, "green"),
        (Color, 1),
        (Literal["a"], "b"),
    ],
)
def test_what_would_lose_something_is_refused(annotation: Any, value: Any) -> None:
    """The message names the parameter, what it got and what is allowed."""
    message = refuse(annotation, value)
    assert "is not" in message


@given(value=VALUES, annotation=st.sampled_from([str, int, bool, list, list[int], list[str], dict[str, Any]]))
def test_any_value_is_read_or_refused(annotation: Any, value: Any) -> None:
    """No value ends in anything but the declared type or InvalidParameter, and reading twice is reading once."""
    known = parameter(annotation)
    try:
        got = known.read(value)
    except InvalidParameter as error:
        assert error.message.startswith("p: ")
        assert len(error.message) < 300
        return
    assert type(got).__name__ in known.types
    assert known.read(got) == got


@given(st.integers(-INT64, INT64 - 1))
def test_numbers_come_through_text_unchanged(number: int) -> None:
    """A number that was sent as text is the same number; one beyond 64 bits is refused."""
    assert parameter(int).read(str(number)) == number
    assert parameter(str).read(number) == str(number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_becomes_an_int_only_if_it_is_one(value: float) -> None:
    """Nothing is rounded."""
    try:
        got = parameter(int).read(value)
    except InvalidParameter:
        assert not value.is_integer() or abs(value) >= INT64
    else:
        assert got == value


@given(st.lists(st.integers(-1000, 1000), min_size=1))
def test_lists_of_numbers_come_through_text(numbers: list[int]) -> None:
    """As the documentation writes them: ``[11, 12]`` or ``11,12``."""
    assert parameter(list[int]).read(str(numbers)) == numbers
    assert parameter(list[int]).read(",".join(map(str, numbers))) == numbers
    assert parameter(list[int]).read([str(number) for number in numbers]) == numbers


def test_ranges_and_checks_are_obeyed() -> None:
    """The message says where the limit is."""
    port = Annotated[int, Rule(minimum=1, maximum=9)]
    assert parameter(port).read("9") == 9
    assert "above the maximum of 9" in refuse(port, 10)
    assert "below the minimum of 1" in refuse(port, "0")

    def even(value: int) -> None:
        if value % 2:
            raise ValueError("must be even")

    assert refuse(Annotated[int, Rule(check=even)], 3) == "p: must be even"
    assert "three of them" in refuse(Annotated[int, Rule(form="three of them")], "x")


def test_checks_of_a_list_see_elements_of_their_type() -> None:
    """Wherever the check is declared, a wrong element is told as such."""

    def distinct(value: list[int]) -> None:
        if len(set(value)) != len(value):
            raise ValueError("each once")

    ids = Annotated[list[int], Rule(check=distinct)]
    assert refuse(ids, ["7", 7]) == "p: each once"
    for wrong in ([[7]], [{}], [None]):
        assert "the element" in refuse(ids, wrong)


def test_texts_have_a_greatest_length() -> None:
    """Wherever they stand in a value; the message says how long they may be."""
    for annotation, value in (
        (str, "x" * 10_001),
        (str, b"x" * 10_001),
        (list[str], ["a", "x" * 10_001]),
        (dict[str, Any], {"x" * 10_001: 1}),
        (dict[str, Any], {"a": {"b": ["x" * 10_001]}}),
    ):
        assert "allowed are 10000" in refuse(annotation, value)
    assert parameter(str).read("x" * 10_000) == "x" * 10_000
    assert "allowed are 20000" in refuse(Annotated[str, Rule(longest=20_000)], "x" * 20_001)
    assert parameter(Annotated[str, Rule(longest=20_000)]).read("x" * 20_000)


def test_secrets_are_not_shown() -> None:
    """An error about a password does not tell it."""
    message = refuse(Annotated[str, Rule(secret=True)], ["hunter2"])
    assert "hunter2" not in message


def test_long_values_are_shortened() -> None:
    """A message stays readable whatever was sent."""
    assert len(refuse(int, "x" * 100_000)) < 200
