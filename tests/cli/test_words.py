"""Command lines become a job, its parameters and options."""

from __future__ import annotations

import contextlib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cli.words import Invocation, UsageError, parse_words
from tests.cli.documented_lines import DOCUMENTED, FILES, LICENCE, Line


def read_file(path: str) -> bytes:
    """Read from FILES."""
    try:
        return FILES[path]
    except KeyError:
        raise FileNotFoundError(2, "No such file or directory", path) from None


def parse(line: str) -> Invocation:
    """Parse a line as it is typed into a shell, after ``confd_client``."""
    return parse_words(shlex.split(line), read_file)


OTHER: list[Line] = [
    ("--help", None, {}, {"help": True}),
    ("-h", None, {}, {"help": True}),
    ("-c help", None, {}, {"help": True}),
    ("help db_start", "db_start", {}, {"help": True}),
    ("db_start --help", "db_start", {}, {"help": True}),
    ("-j db_list", "db_list", {}, {"json": True}),
    ("-a '{vid: 0}' -c st_volume_delete -j", "st_volume_delete", {"vid": "0"}, {"json": True}),
    ("db_start --dry-run db_name: A", "db_start", {"db_name": "A"}, {"dry_run": True}),
    (
        "--url https://h:20003 --user=bob db_list",
        "db_list",
        {},
        {"url": "https://h:20003", "user": "bob"},
    ),
    ("user_passwd username: a passwd: 007", "user_passwd", {"username": "a", "passwd": "007"}, {}),
    ("j version: 18.10 passwd: -j", "j", {"version": "18.10", "passwd": "-j"}, {}),
    ("j passwd: null", "j", {"passwd": "null"}, {}),
    ("""-c j -a '{"comment": null, "name": "null"}'""", "j", {"comment": None, "name": "null"}, {}),
    ("j day: * comment: ''", "j", {"day": "*", "comment": ""}, {}),
    ("-c j -a '{day: *, tag: !x, at: @h}'", "j", {"day": "*", "tag": "!x", "at": "@h"}, {}),
    (
        "j nid: [11, 12] owner: [500, 500] -j",
        "j",
        {"nid": ["11", "12"], "owner": ["500"] * 2},
        {"json": True},
    ),
    ("j changes: {Global: {A: 1}} name: x", "j", {"changes": {"Global": {"A": "1"}}, "name": "x"}, {}),
    ("j -a {db_name: A, level: 0}", "j", {"db_name": "A", "level": "0"}, {}),
    ("j -a db_name: A", "j", {"db_name": "A"}, {}),
    ("j backup_name: full backup level: 0", "j", {"backup_name": "full backup", "level": "0"}, {}),
    ("j passwd: [abc name: x", "j", {"passwd": "[abc", "name": "x"}, {}),
    ("j passwd: '[abc' name: x -j", "j", {"passwd": "[abc", "name": "x"}, {"json": True}),
    ("""j passwd: '"secret:"' """, "j", {"passwd": "secret:"}, {}),
    ("""j 'params:"-x=1"' name: y""", "j", {"params": "-x=1", "name": "y"}, {}),
    ("j -- name: --json", "j", {"name": "--json"}, {}),
    ("j comment: 'note: it is [x'", "j", {"comment": "note: it is [x"}, {}),
    ("j -a ''", "j", {}, {}),
    ("j a: '{< -}' b: 'x {<-} y'", "j", {"a": 'a "line"\nC:\\n\n', "b": 'x a "line"\nC:\\n\n y'}, {}),
    ("j -a 'a: 1\nb:\n- x\n- [y, 2]\nc: |\n  z\n'", "j", {"a": "1", "b": ["x", ["y", "2"]], "c": "z\n"}, {}),
    (f"j -a {shlex.quote('license: ' + LICENCE)}", "j", {"license": LICENCE}, {}),
]


@pytest.mark.parametrize(("line", "job", "params", "fields"), DOCUMENTED + OTHER)
def test_every_line_means_what_it_says(
    line: str, job: str | None, params: dict[str, object], fields: dict[str, object]
) -> None:
    """Each documented command line and its variants give the job, parameters and options meant."""
    assert parse(line) == Invocation(job, params, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("", "no job named"),
        ("db_name: A", "no job named"),
        ("j db_name:", "db_name: '' for empty text"),
        ("j comment: level: 0", "level:"),
        ("j db_name=A", "write db_name: A"),
        ("j db_name:A", "write db_name: A"),
        ("j db_name: A params:-x=1", "write params: -x=1"),
        ("j A", "unexpected word 'A'"),
        ("j --jason", "unknown option --jason"),
        ("j a: 1 a: 2", "a is given twice"),
        ("j -a '{a: 1, a: 2}'", "a is given twice"),
        ("j -a '{a: 1'", "closing bracket"),
        ("j -a '{a: 1 b: 2}'", "comma missing before b"),
        ("j -a 'a: 1 b: 2'", "braces and commas"),
        ("j -c", "-c needs a value"),
        ("j -c k", "given twice"),
        ("""j -a '{a: "D\\U"}'""", "backslash"),
        ("j a: '\"{< nowhere}\"'", "cannot read nowhere"),
        ("j a: 'x {< file.keytab}'", "file.keytab is not UTF-8"),
        ("j -a '{a}'", "name: value"),
    ],
)
def test_wrong_usage_says_what_to_write(line: str, advice: str) -> None:
    """A wrong command line is refused with the right way to write it."""
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert advice in caught.value.message


def test_standard_input_is_read_once() -> None:
    """Two parameters may both take standard input, which can be read only once."""
    asked: list[str] = []

    def read(path: str) -> bytes:
        asked.append(path)
        return b"x"

    found = parse_words(["j", "a:", "{< -}", "b:", "{<-}"], read)
    assert (found.params, asked) == ({"a": "x", "b": "x"}, ["-"])


@given(st.text(st.characters(exclude_characters="{", exclude_categories=["Cs"]), min_size=1))
def test_quoted_text_survives_unchanged(text: str) -> None:
    """A text in YAML's single quotes, given as one word, reaches the job as it is."""
    quoted = "'" + text.replace("'", "''") + "'"
    assert parse_words(["j", "a:", quoted], read_file).params == {"a": text}


@given(st.lists(st.text(st.sampled_from("ab:{}[]\"'\\,- <*\n"))))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    """No command line ends in anything but an invocation or advice."""
    with contextlib.suppress(UsageError):
        parse_words(["j", *words], lambda _: b"x")
