"""YAML's flow style with plain scalars kept as written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cli.flow import Unfinished, Unreadable, read_flow

# What JSON can say and stays the same: texts, null and collections of them.
JSON = st.recursive(
    st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
).filter(lambda value: isinstance(value, list | dict))


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_json_is_flow_style(value: object, ascii_only: bool, indent: int | None) -> None:
    """Whatever a program prints as JSON is read back, escapes and surrogate pairs included."""
    assert read_flow(json.dumps(value, ensure_ascii=ascii_only, indent=indent)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        ("[ ]", []),
        ("[a, ]", ["a"]),
        ("{a: , b: 1}", {"a": None, "b": "1"}),
        ("{a:1, b:-x, c:[y]}", {"a": "1", "b": "-x", "c": ["y"]}),
        ("{Node : 11: x}", Unreadable),
        ("{'DB : DB1': {Owner: 500:500}}", {"DB : DB1": {"Owner": "500:500"}}),
        ("{a b: c d}", {"a b": "c d"}),
        ("[007, 1e3, true, ~, null, 'null']", ["007", "1e3", "true", "~", None, "null"]),
        ("[http://h:1/p#q, -x=1, *, +all, %a]", ["http://h:1/p#q", "-x=1", "*", "+all", "%a"]),
        (r'["\x41\u00e9\U0001F600\t\/"]', ["Aé😀\t/"]),
        ('["two\nlines"]', ["two\nlines"]),
        ("'it''s'", "it's"),
        ("{a: {< f}}", {"a": "{< f}"}),
        ("[a", Unfinished),
        ("{a:", Unfinished),
        ('"a', Unfinished),
        ("[a] b", Unreadable),
        ("[a]]", Unreadable),
        ("[a,,b]", Unreadable),
        ("[a}", Unreadable),
        (r'"\q"', Unreadable),
        (r'"\uD800"', "\ud800"),
    ],
)
def test_what_administrators_type(text: str, value: object) -> None:
    """Flow style is read as YAML reads it, and what YAML cannot read is refused or taken literally."""
    if isinstance(value, type):
        with pytest.raises(value):
            read_flow(text)
    else:
        assert read_flow(text) == value


def test_nesting_has_a_limit() -> None:
    """Ten thousand brackets are refused and do not exhaust the stack."""
    with pytest.raises(Unreadable, match="deeper"):
        read_flow("[" * 10_000)
