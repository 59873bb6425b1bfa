"""XML-RPC calls are read as the standard library writes them, and nothing hostile is."""

from __future__ import annotations

import contextlib
import xmlrpc.client
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.api.malformed import Call, Limits, MalformedCall
from confd.api.xmlrpc import decode_call

LIMITS = Limits()
# Expat turns CR into LF, and XML cannot carry most control characters.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))
SCALARS = st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.floats(-1e300, 1e300) | TEXT | st.binary()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


def body(value: str) -> bytes:
    """Wrap one value into a call."""
    call = f"<methodCall><methodName>m</methodName><params><param>{value}</param></params></methodCall>"
    return call.encode()


def value_of(value: str) -> object:
    """Decode one value."""
    (found,) = decode_call(body(value), LIMITS).params
    return found


@given(st.lists(VALUES).map(tuple))
def test_reads_what_the_standard_library_writes(params: tuple[object, ...]) -> None:
    """Every value that Python's client can send arrives as it was."""
    sent = xmlrpc.client.dumps(params, "job_exec", allow_none=True).encode()  # type: ignore[arg-type]
    assert decode_call(sent, LIMITS) == Call("job_exec", params)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<value>bare</value>", "bare"),
        ("<value/>", ""),
        ("<value> <string> x </string> </value>", " x "),
        ("<value><i8>-9223372036854775808</i8></value>", -(2**63)),
        ("<value><ex:i8>99999999999</ex:i8></value>", 99999999999),
        ("<value><ex:nil/></value>", None),
        ("<value xmlns:ext='u'><ext:nil/></value>", None),
        ("<value><int> 007 </int></value>", 7),
        ("<value><string>007</string></value>", "007"),
        ("<value><double>-1.5e3</double></value>", -1500.0),
        ("<value><base64>AAH/\n</base64></value>", b"\x00\x01\xff"),
        ("<value><dateTime.iso8601>20200707T14:05:00</dateTime.iso8601></value>", "20200707T14:05:00"),
        ("<value><string>a<![CDATA[<b>]]>&amp;<!-- c -->&#10;</string></value>", "a<b>&\n"),
        ("<value><array><data/></array></value>", []),
        ("<value><struct/></value>", {}),
    ],
)
def test_forms_of_other_clients(text: str, value: object) -> None:
    """Extensions, bare text and blanks are read as their writers mean them."""
    assert value_of(text) == value


def test_a_date_of_the_standard_library_is_text() -> None:
    """Jobs take dates as text."""
    sent = xmlrpc.client.dumps((datetime(2020, 7, 7, 14, 5),), "m").encode()  # noqa: DTZ001
    assert decode_call(sent, LIMITS).params == ("20200707T14:05:00",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "<param> is incomplete"),
        ("<value>a<int>1</int></value>", "unexpected text 'a'"),
        ("<value><int>1</int>b</value>", "unexpected text 'b'"),
        ("<value><int>1</int><int>2</int></value>", "unexpected element <int>"),
        ("<value><int></int></value>", "integer"),
        ("<value><int>1_0</int></value>", "integer"),
        ("<value><int>٣</int></value>", "integer"),
        ("<value><i8>9223372036854775808</i8></value>", "integer"),
        ("<value><double>nan</double></value>", "number"),
        ("<value><double>1e999</double></value>", "number"),
        ("<value><boolean>2</boolean></value>", "boolean"),
        ("<value><base64>a!</base64></value>", "base64"),
        ("<value><nil>x</nil></value>", "nil"),
        ("<value><array/></value>", "<array> is incomplete"),
        ("<value><struct><member><name>a</name></member></struct></value>", "<member> is incomplete"),
        ("<value><struct><member><value/><name>a</name></member></struct></value>", "unexpected element"),
        ("<value><struct>" + 2 * "<member><name>a</name><value/></member>" + "</struct></value>", "twice"),
        ("<value><object/></value>", "unexpected element <object>"),
        ("<value>&lol;</value>", "undefined entity"),
        ("<value>", "mismatched tag"),
    ],
)
def test_bad_values_are_refused(text: str, message: str) -> None:
    """The error names what is wrong with the call."""
    with pytest.raises(MalformedCall, match=message):
        value_of(text)


def test_members_of_nested_structs_may_have_the_same_name() -> None:
    """Only names within one struct must differ."""
    inner = "<struct><member><name>params</name><value>x</value></member></struct>"
    outer = inner.replace("<value>x</value>", f"<value>{inner}</value>")
    assert value_of(f"<value>{outer}</value>") == {"params": {"params": "x"}}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"<methodCall/>",
        b"<methodCall><methodName/></methodCall>",
        b"<methodCall><methodName>" + b"m" * 129 + b"</methodName></methodCall>",
        b"<methodCall><methodName>a</methodName><methodName>b</methodName></methodCall>",
        b"<methodResponse/>",
        b"<methodCall><params/></methodCall>",
        body("<value>a</value>") + b"<x/>",
        body("<value>\x00</value>"),
    ],
)
def test_what_is_no_call_is_refused(text: bytes) -> None:
    """A body without a method call ends in a clean error."""
    with pytest.raises(MalformedCall):
        decode_call(text, LIMITS)


def test_params_may_be_left_out() -> None:
    """A call without arguments needs no params element."""
    assert decode_call(b"<methodCall><methodName> m </methodName></methodCall>", LIMITS) == Call("m")


@pytest.mark.parametrize(
    "declaration",
    [
        b'<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        b"<!DOCTYPE methodCall>",
    ],
)
def test_document_types_are_refused(declaration: bytes) -> None:
    """No entity is declared, expanded or fetched."""
    with pytest.raises(MalformedCall, match="not allowed"):
        decode_call(declaration + body("<value>&c;</value>"), LIMITS)


@pytest.mark.parametrize(
    ("encoding", "text", "accepted"),
    [
        ("UTF-8", "é".encode(), True),
        ("utf-8", "é".encode("latin-1"), False),
        ("iso-8859-1", "é".encode("latin-1"), False),
        ("iso-8859-1", "é".encode(), False),
        ("iso-8859-1", b"&#233;", True),
        ("us-ascii", b"&#233;", True),
        ("utf-7", b"&#233;", False),
    ],
)
def test_only_utf8_is_read(encoding: str, text: bytes, *, accepted: bool) -> None:
    """Another declared encoding is fine while it reads the same, as PHP's ASCII does."""
    sent = f"<?xml version='1.0' encoding='{encoding}'?>".encode() + body("<value>@</value>").replace(b"@", text)
    if accepted:
        assert decode_call(sent, LIMITS).params == ("é",)
    else:
        with pytest.raises(MalformedCall, match="UTF-8"):
            decode_call(sent, LIMITS)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_wide_encodings_are_refused(encoding: str) -> None:
    """A byte order mark does not switch the encoding."""
    with pytest.raises(MalformedCall, match="UTF-8"):
        decode_call(body("<value>a</value>").decode().encode(encoding), LIMITS)


@pytest.mark.parametrize("kind", ["array", "struct"])
def test_depth_is_limited(kind: str) -> None:
    """Sixty-four levels are read; ten thousand are refused at the limit."""
    head, tail = {
        "array": ("<array><data><value>", "</value></data></array>"),
        "struct": ("<struct><member><name>a</name><value>", "</value></member></struct>"),
    }[kind]
    value_of(f"<value>{head * 64}{tail * 64}</value>")
    for depth in (65, 10_000):
        with pytest.raises(MalformedCall, match="deeper than 64"):
            value_of(f"<value>{head * depth}{tail * depth}</value>")


def test_the_number_of_values_is_limited() -> None:
    """Values count wherever they stand; the limit itself is allowed."""
    few = Limits(max_values=4)
    decode_call(body(f"<value><array><data>{'<value/>' * 3}</data></array></value>"), few)
    with pytest.raises(MalformedCall, match="more than 4 values"):
        decode_call(body(f"<value><array><data>{'<value/>' * 4}</data></array></value>"), few)


def test_the_size_is_limited() -> None:
    """A large body is not parsed."""
    with pytest.raises(MalformedCall, match="bytes"):
        decode_call(b"<" * 11, Limits(max_bytes=10))


TAGS = ["value", "int", "struct", "member", "name", "array", "data", "nil"]
PIECES = [f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS] + ["1", "\n", "<value>1</value>"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No body ends in anything but a call or a MalformedCall."""
    with contextlib.suppress(MalformedCall):
        decode_call(body(text), LIMITS)


@pytest.mark.parametrize("text", ["0" * 1_000_000 + "x", "." + "0" * 1_000_000 + "x", "1e" + "0" * 1_000_000 + "x"])
def test_a_long_number_is_refused_in_time_by_its_length(text: str) -> None:
    """Nobody has logged in yet: a pattern that goes back over the digits would keep the node from everything else."""
    with pytest.raises(MalformedCall, match="not a number"):
        decode_call(body(f"<value><double>{text}</double></value>"), LIMITS)
