"""Extra database parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.errors import InvalidParameter
from confd.services.database.params import (
    Param,
    Setting,
    check_params,
    edit_params,
    effective,
    format_params,
    parse_params,
)

KNOWN = {
    name.lower(): Setting(name, "user", "STRING") for name in ("work_mem", "TimeZone", "search_path", "fsync", "port")
}
params = st.lists(
    st.builds(
        Param,
        st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True),
        st.none() | st.from_regex(r"[A-Za-z0-9.:/]{0,8}|'[a-z ]{0,8}'|\"[a-z ']{0,8}\"", fullmatch=True),
    ),
    max_size=5,
).map(tuple)


@given(params)
def test_round_trip(some: tuple[Param, ...]) -> None:
    """What is written is read again."""
    assert parse_params(format_params(some)) == some


@given(params, params)
def test_replace_forgets_what_was(current: tuple[Param, ...], replace: tuple[Param, ...]) -> None:
    """``params`` alone gives just these."""
    assert edit_params(format_params(current), format_params(replace)) == format_params(replace)


@given(params, params)
def test_added_are_there_once(current: tuple[Param, ...], add: tuple[Param, ...]) -> None:
    """Each added name is there once, with its last value; others stay."""
    after = parse_params(edit_params(format_params(current), None, format_params(add)))
    last = {param.name.lower(): param for param in add}
    assert {param.name.lower(): param for param in after if param.name.lower() in last} == last
    assert len([param for param in after if param.name.lower() in last]) == len(last)
    assert [p for p in after if p.name.lower() not in last] == [p for p in current if p.name.lower() not in last]


@given(params, params)
def test_deleted_names_are_gone(current: tuple[Param, ...], delete: tuple[Param, ...]) -> None:
    """A name without value is deleted whatever its value."""
    words = [f"-{param.name}" for param in delete]
    left = {param.name.lower() for param in parse_params(edit_params(format_params(current), None, None, words))}
    assert not left & {param.name.lower() for param in delete}


def test_the_case_of_letters_does_not_count() -> None:
    """PostgreSQL takes Work_Mem for work_mem, so adding replaces it and deleting deletes it."""
    assert edit_params("-Work_Mem=1MB", None, "-work_mem=2MB") == "-work_mem=2MB"
    assert edit_params("-Work_Mem=1MB -a", None, None, "-work_mem") == "-a"


@pytest.mark.parametrize(
    ("current", "replace", "add", "delete", "after"),
    [
        ("-p=1 -q=2", None, None, "-p", "-q=2"),
        ("-p=1 -q=2", None, None, "-p=2", "-p=1 -q=2"),
        ("-p=1", "-q=1", "-p=3", "-q", "-p=3"),
        ("-p=1", None, ["-dropStatisticsSchema=1 -x=0"], None, "-p=1 -dropStatisticsSchema=1 -x=0"),
        ("-p=1", "", None, None, ""),
        ("-s='a b'", None, None, '-s="a b"', ""),
    ],
)
def test_order(current: str, replace: str | None, add: list[str] | None, delete: str | None, after: str) -> None:
    """Params replaces, then params_add adds, then params_delete removes."""
    assert edit_params(current, replace, add, delete) == after


@pytest.mark.parametrize("text", ["work_mem=1", "- a=1", "-1=2", "--work_mem=1"])
def test_malformed(text: str) -> None:
    """A word of another form is named."""
    with pytest.raises(InvalidParameter, match="-name=value"):
        parse_params(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-fsync=off", "acknowledged rows"),
        ("-FSYNC=off", "acknowledged rows"),
        ("-port=1", "parameter port"),
        ("-shared_preload_libraries=x", "foreign code"),
        ("-synchronous_commit=off", "as many nodes"),
        ("-work_mem", "needs a value"),
        ("-work_mme=4MB", "did you mean work_mem"),
    ],
)
def test_refused(text: str, message: str) -> None:
    """Managed, incomplete and mistyped settings are refused with the reason."""
    with pytest.raises(InvalidParameter, match=message):
        check_params(parse_params(text), KNOWN)


def test_foreign_words_are_kept_with_a_warning() -> None:
    """Words of other systems have no effect; only settings reach the server."""
    words = parse_params(
        "-forceProtocolEncryption=1 -timezone=UTC -work_mem=1MB -work_mem=2MB -my.own='a b' -allowPlaintext=1"
    )
    assert ["forceProtocolEncryption" in warning for warning in check_params(words, KNOWN, {"allowPlaintext"})] == [
        True
    ]
    assert effective(words, KNOWN) == {"timezone": "UTC", "work_mem": "2MB", "my.own": "a b"}


@pytest.mark.parametrize("place", ["replace", "add", "delete"])
def test_parameters_have_a_greatest_length(place: str) -> None:
    """What is given, in one text or in many, and what comes out; the message says how long it may be."""
    for words in ("-a=" + "x" * 9_998, ["-a=1"] * 2_001):
        with pytest.raises(InvalidParameter, match="allowed are 10000"):
            edit_params("", **{place: words})
    longest = "-a=" + "x" * 9_997
    assert edit_params("-b", longest) == longest
    with pytest.raises(InvalidParameter, match="allowed are 10000"):
        edit_params("-b=1", None, longest)
