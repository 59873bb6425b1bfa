"""Examples are written so that they read back the same."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cli.running import typed
from confd.cli.spelling import command_line
from confd.cli.values import guess
from confd.cli.words import parse_words
from confd.scheduler import registry

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
VALUES = st.recursive(TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


@given(st.dictionaries(st.from_regex("[a-z_]{1,8}", fullmatch=True), VALUES))
def test_what_is_written_reads_back(params: dict[str, object]) -> None:
    """Whatever texts, lists and mappings: the line means the parameters."""
    line = command_line("j", params)
    assert parse_words(shlex.split(line)[1:], lambda path: b"").params == _without_includes(params, line)


def _without_includes(params: dict[str, object], line: str) -> dict[str, object]:
    # A text that asks for a file is not an example of a text.
    return params if "{<" not in line else parse_words(shlex.split(line)[1:], lambda path: b"").params


@pytest.mark.parametrize("name", sorted(registry.load()))
def test_examples_of_all_jobs(name: str) -> None:
    """The examples of help and reference, typed into a shell, are accepted by the job."""
    job = registry.load()[name]
    for example in job.examples:
        read = parse_words(shlex.split(command_line(name, example))[1:], lambda path: b"").params
        # Elements of a list without declared types, [uid, gid], stay texts for the job to read.
        assert guess(job.read(typed(read))) == guess(job.read(example))
