"""Quoting of values, list items and names."""

from __future__ import annotations

import configobj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confd.exaconf.quoting import decode_value, encode_name, encode_value, join_items, split_items
from confd.model.errors import InvalidParameter
from tests.exaconf.strategies import TEXT


def read(lines: list[str]) -> configobj.ConfigObj:
    """Read lines as all readers of EXAConf do."""
    return configobj.ConfigObj(lines, list_values=False, interpolation=False)


@given(TEXT)
@settings(deadline=None)
def test_any_value_survives(text: str) -> None:
    """A value is one line of the file and comes back unchanged."""
    written = encode_value(text)
    section = read(["[s]", f"k = {written}"])["s"]
    assert decode_value(section["k"]) == text
    assert not section.inline_comments["k"]
    assert len(written.splitlines()) <= 1


@pytest.mark.parametrize("text", ["a, b", "$6$x$y", "it's", 'say "hi"', '"quoted"', "'q'", "-a=1 -b=\\x", "ä"])
def test_values_are_quoted_only_where_needed(text: str) -> None:
    """Readers that do not unquote see ordinary values as they are."""
    assert encode_value(text) == text
    assert decode_value(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [('"a # b"', "a # b"), ("'a # b'", "a # b"), ('""', ""), ("''", ""), ('"a b"', '"a b"'), ('"', '"')],
)
def test_quotation_marks_go_where_they_were_needed(text: str, value: str) -> None:
    """Quotation marks around a comment sign are not part of the value, others are."""
    assert decode_value(text) == value


@given(st.lists(TEXT))
@settings(deadline=None)
def test_any_list_survives(items: list[str]) -> None:
    """Items come back, also with commas and quotation marks in them, and with a trailing comma."""
    assert split_items(join_items(items)) == tuple(items)
    assert split_items(join_items(items) + ",") == tuple(items)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", ()),
        (",", ()),
        ("a", ("a",)),
        ("a,b , c,", ("a", "b", "c")),
        ('from="1,2" x, y', ('from="1,2" x', "y")),
        ('5" disk, b', ('5" disk', "b")),
    ],
)
def test_lists_as_people_write_them(text: str, items: tuple[str, ...]) -> None:
    """Commas inside quotation marks do not split; a lone quotation mark is an ordinary character."""
    assert split_items(text) == items


@given(TEXT)
@settings(deadline=None)
def test_any_name_survives_or_is_refused(name: str) -> None:
    """A name comes back as key and as header, or is refused."""
    try:
        written = encode_name(name)
    except InvalidParameter:
        return
    config = read(["[keys]", f"{written} = 1", "[headers]", f"[[{written}]]"])
    assert config["keys"] == {name: "1"}
    assert list(config["headers"]) == [name]


@pytest.mark.parametrize("part", ['\\"', '"', '"a", ', "a,", '"\\'])
def test_a_long_list_is_read_in_time_by_its_length(part: str) -> None:
    """A pattern that looks for the end of each quotation anew would never end with these."""
    text = part * 100_000
    assert split_items(text)
    assert join_items([text])
