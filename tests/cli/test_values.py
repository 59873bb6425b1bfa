"""Values keep their text; structure, files and guesses are separate steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cli.flow import Unreadable
from confd.cli.values import guess, include, read_mapping, read_value


@pytest.mark.parametrize("text", ["007", "18.10", "*", "+all", " x ", "[a", "{", '"a" b', "a: b", "- a", ""])
def test_what_is_no_flow_style_is_literal(text: str) -> None:
    """A plain word or invalid YAML is the text itself."""
    assert read_value(text) == text


@pytest.mark.parametrize(
    ("text", "value"), [("[11,12]", ["11", "12"]), ('"DB1"', "DB1"), ("{a: 1}", {"a": "1"}), ("'007'", "007")]
)
def test_structure_is_read(text: str, value: object) -> None:
    """Collections and quotes are YAML."""
    assert read_value(text) == value


def test_a_mapping_in_block_style_keeps_its_text() -> None:
    """Block style over several lines nests, and its plain scalars are not folded or converted."""
    text = "a: 007\nb:\n  c: [1, x]\n  d:\n  - yes\n  - 'q'\ne: !x y\nf:\ng: null\n"
    expected = {"a": "007", "b": {"c": ["1", "x"], "d": ["yes", "q"]}, "e": "!x y", "f": None, "g": None}
    assert read_mapping(text) == expected


@pytest.mark.parametrize("text", ["", "a", "- a", "a: b: c", "'x'"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    """Parameters need names."""
    with pytest.raises(Unreadable):
        read_mapping(text)


@given(st.binary())
def test_a_file_comes_unchanged(content: bytes) -> None:
    """A file is its text when it is UTF-8, else its bytes."""
    found = include({"a": ["{< f}"]}, lambda _: content)
    assert isinstance(found, dict)
    value = found["a"][0]
    assert (value.encode() if isinstance(value, str) else value) == content


def test_what_a_file_holds_is_not_read_again() -> None:
    """An inclusion inside a file is text."""
    assert include("a {< f} b {<f}", lambda _: b"{< g}") == "a {< g} b {< g}"


@pytest.mark.parametrize(
    "text", ["007", "18.10", "1e3", "-0", "1_0", "4.4.4.4", "yes", "null", "", "0x1", "+1", "9" * 20]
)
def test_a_doubtful_number_is_not_guessed(text: str) -> None:
    """Text that would print differently as a number stays text."""
    assert guess(text) == text


@given(st.integers(-(2**53), 2**53) | st.booleans() | st.floats(-1e6, 1e6).map(lambda x: round(x, 3)))
def test_a_clear_number_is_guessed(value: object) -> None:
    """Numbers and truth values that print back as typed are guessed, also inside collections."""
    if repr(value) != "-0.0" and "e" not in repr(value).removeprefix("True").removeprefix("False"):
        assert guess({"a": [repr(value)]}) == {"a": [value]}
