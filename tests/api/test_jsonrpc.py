"""JSON calls become the same positional calls as XML-RPC."""

from __future__ import annotations

import contextlib
import json
import xmlrpc.client
from datetime import UTC, datetime
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.api.jsonrpc import decode_call, encode
from confd.api.malformed import Call, Limits, MalformedCall
from confd.api.xmlrpc_answer import encode_result
from confd.model.secret import Secret

LIMITS = Limits()
OPTIONS = {"params": {"bucketfs_name": "b", "public": True}}
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


def call(**fields: object) -> Call:
    """Send a call as JSON and decode it."""
    return decode_call(json.dumps(fields).encode(), LIMITS)


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({"method": "job_exec", "job": "bucket_add", "params": OPTIONS}, ("bucket_add", OPTIONS)),
        ({"method": "job_exec", "job": "db_list"}, ("db_list",)),
        ({"method": "job_exec", "job": "db_list", "params": None}, ("db_list",)),
        ({"method": "job_start", "job": "bucket_add", "params": OPTIONS}, ("bucket_add", OPTIONS)),
        ({"method": "job_wait", "job_id": "11.1", "params": {"timeout": 5}}, ("11.1", {"timeout": 5})),
        ({"method": "job_result", "job_id": "11.1"}, ("11.1",)),
        ({"method": "job_finished", "job": "11.1"}, ("11.1",)),
        ({"method": "job_info", "job_id": "11.1"}, ({"job_id": "11.1"},)),
        ({"method": "job_info", "params": {"job_id": "11.1"}}, ({"job_id": "11.1"},)),
        ({"method": "job_info", "args": [{"job_id": "11.1"}]}, ({"job_id": "11.1"},)),
        ({"method": "job_desc", "job": "db_list"}, ("db_list",)),
        ({"method": "job_list"}, ()),
        ({"method": "subscribe", "params": {"after": "c"}}, ({"after": "c"},)),
        ({"method": "unsubscribe", "params": {"cursor": "c"}}, ("c",)),
        ({"method": "user_login", "params": {"password": "p", "name": "n"}}, ("n", "p")),
        ({"method": "user_login", "args": ["n", "p"]}, ("n", "p")),
        ({"method": "system.methodHelp", "args": ["job_start"]}, ("job_start",)),
    ],
)
def test_named_keys_become_positions(fields: dict[str, object], params: tuple[object, ...]) -> None:
    """Each documented form gives the arguments that XML-RPC would send."""
    assert call(**fields) == Call(str(fields["method"]), params)


@given(st.lists(JSON))
def test_values_arrive_unchanged(values: list[object]) -> None:
    """Whatever stands in args is the positional argument."""
    assert call(method="m", args=values).params == tuple(values)


@given(st.integers())
def test_whole_numbers_that_cannot_travel_are_text(number: int) -> None:
    """Beyond 64 bits they are passed on as the client wrote them, wherever they stand."""
    wanted = number if -(2**63) <= number < 2**63 else str(number)
    assert call(method="m", args=[number, [{"a": number}], 1]).params == (wanted, [{"a": wanted}], 1)
    for far in (2**63 + abs(number), -(2**63) - 1 - abs(number)):
        assert call(method="m", args=[[far]]).params == ([str(far)],)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "JSON object"),
        (b'"x"', "JSON object"),
        (b"{}", "method"),
        (b'{"method": 5}', "method"),
        (b'{"method": ""}', "method"),
        (b'{"method": "m", "parms": {}}', "unknown key 'parms'; known are args, job"),
        (b'{"method": "m", "params": []}', "args"),
        (b'{"method": "m", "args": {}}', "must be a list"),
        (b'{"method": "m", "args": [], "job": "x"}', "leave out"),
        (b'{"method": "m", "job": "x", "job_id": "y"}', "not both"),
        (b'{"method": "m", "job": 5}', "must be text"),
        (b'{"method": "user_login", "params": {"name": "n"}}', "name, password"),
        (b'{"method": "\xff"}', "not JSON in UTF-8"),
        (b'{"method": "m", "args": ["\\ud800"]}', "not JSON"),
        (b'{"method": "m"} x', "not JSON"),
        ('{"method": "m"}'.encode("utf-16"), "not JSON"),
    ],
)
def test_what_is_no_call_is_refused(body: bytes, message: str) -> None:
    """The error names the key or the place."""
    with pytest.raises(MalformedCall, match=message):
        decode_call(body, LIMITS)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_limited_before_parsing(opening: str, closing: str) -> None:
    """Ten thousand levels are refused, whether they are closed or not; the limit itself is read."""

    def nested(depth: int) -> bytes:
        return f'{{"method": "m", "args": [{opening * depth}1{closing * depth}]}}'.encode()

    decode_call(nested(62), LIMITS)
    for body in (nested(63), nested(10_000), opening.encode() * 10_000):
        with pytest.raises(MalformedCall, match="deeper than 64"):
            decode_call(body, LIMITS)


def test_the_number_of_values_is_limited_before_parsing() -> None:
    """Elements, members and strings count, in valid JSON or not."""
    few = Limits(max_values=10)
    decode_call(b'{"method": "m", "args": [1,1,1,1,1,1]}', few)
    for body in (b'{"method": "m", "args": [' + b"1," * 10 + b"1]}", b"{" * 11 + b"}", b'""' * 30 + b"," * 9):
        with pytest.raises(MalformedCall):
            decode_call(body, few)


def test_brackets_inside_strings_do_not_count() -> None:
    """A text of brackets, commas and escaped quotes is one value."""
    text = '[{,"\\' * 200_000
    assert call(method="m", args=[text]).params == (text,)


@given(st.text(st.sampled_from('[]{},"\\1:')))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No body ends in anything but a call or a MalformedCall."""
    with contextlib.suppress(MalformedCall):
        decode_call(text.encode(), Limits(max_values=8, max_depth=4))


class Colour(StrEnum):
    """A text enum."""

    RED = "red"


class Number(int):
    """A subclass of int."""


@pytest.mark.parametrize(
    "value",
    [
        {11: (1, None), Colour.RED: Colour.RED},
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        [Secret("x"), Number(3), 2**62, "\ud800", {"\udcff": True}],
    ],
)
def test_results_are_the_same_as_over_xmlrpc(value: object) -> None:
    """Both protocols turn keys, enums, dates, secrets and broken text into the same."""
    ((over_xml,), _) = xmlrpc.client.loads(encode_result(value).decode())
    assert json.loads(encode(value)) == over_xml


def test_bytes_are_base64_text() -> None:
    """JSON has no bytes."""
    assert encode({"keytab": b"\x00\xff"}) == b'{"keytab":"AP8="}'


def test_unknown_types_are_defects() -> None:
    """What no client could read is not sent in some form."""
    with pytest.raises(TypeError, match="cannot send"):
        encode(object())
