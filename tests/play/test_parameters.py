"""Parameters: sources, precedence, values, names."""

from __future__ import annotations

from pathlib import Path

import pytest

from confd.model.errors import InvalidParameter, UnknownParameter
from confd.play import parameters
from confd.play.parameters import TABLE


def test_later_sources_win():
    """Defaults count less than files, files less than the environment, that less than the command line."""
    file, environment, line = {"CCC_PLAY_DB_PORT": "1"}, {"CCC_PLAY_DB_PORT": "2"}, {"CCC_PLAY_DB_PORT": "3"}
    assert parameters.merge()["CCC_PLAY_DB_PORT"] == "8563"
    assert parameters.merge(file)["CCC_PLAY_DB_PORT"] == "1"
    assert parameters.merge(file, environment)["CCC_PLAY_DB_PORT"] == "2"
    assert parameters.merge(file, environment, line)["CCC_PLAY_DB_PORT"] == "3"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("CCC_X=a b", "a b"),
        ('CCC_X="a b"', "a b"),
        ("CCC_X='a # b'  # comment", "a # b"),
        ("export CCC_X = a", "a"),
        ("CCC_X=a#b", "a#b"),
        ("CCC_X=a # comment", "a"),
        ("CCC_X= # comment", ""),
        ("CCC_X=", ""),
        ("CCC_X=a=b", "a=b"),
        ("CCC_X=it's", "it's"),
        ('CCC_X=""', ""),
    ],
)
def test_lines_of_a_file(tmp_path: Path, line: str, value: str):
    """A line of a file is read as a shell would mean it."""
    path = tmp_path / "config"
    path.write_text(f"# first\n\n  # second\n{line}\n")
    assert parameters.read_file(path) == {"CCC_X": value}


@pytest.mark.parametrize("line", ["nonsense", "=a", "CCC X=1", 'CCC_X="open', "CCC_X='a' b"])
def test_bad_lines_name_their_place(tmp_path: Path, line: str):
    """A line that is no assignment is refused with file and line number."""
    path = tmp_path / "config"
    path.write_text(f"\n{line}\n")
    with pytest.raises(InvalidParameter, match="config line 2"):
        parameters.read_file(path)


def test_missing_and_binary_files(tmp_path: Path):
    """A file that cannot be read is an error that names it."""
    with pytest.raises(InvalidParameter, match="nothere"):
        parameters.read_file(tmp_path / "nothere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidParameter, match="binary"):
        parameters.read_file(tmp_path / "binary")


def test_unknown_names_get_the_nearest_known_one():
    """A misspelt CCC_ name is refused, wherever it stands; other names are none of our business."""
    with pytest.raises(UnknownParameter, match="did you mean CCC_PLAY_WITH_DB"):
        parameters.read_words(["CCC_PLAY_WTH_DB=no"])
    with pytest.raises(UnknownParameter, match="did you mean CCC_PLAY_DB_PORT"):
        parameters.merge({"CCC_PLAY_DBPORT": "1"})
    with pytest.raises(UnknownParameter, match="environment only"):
        parameters.read_words(["CCC_HOME=/x"])
    assert "PATH" not in parameters.merge({"PATH": "/bin", "CCC_HOME": "/x"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CCC_PLAY_WITH_DB", "maybe"),
        ("CCC_PLAY_DB_PORT", "0"),
        ("CCC_PLAY_DB_PORT", "70000"),
        ("CCC_PLAY_CONFD_PORT", ""),
        ("CCC_PLAY_RESERVE_NODES", "-1"),
        ("CCC_PLAY_DB_MEM_SIZE", "2 GiB"),
    ],
)
def test_values_are_checked(name: str, text: str):
    """A value of the wrong type is refused by name."""
    with pytest.raises(InvalidParameter, match=name):
        parameters.merge({name: text})


def test_words_must_be_assignments():
    """A word without = is refused."""
    with pytest.raises(InvalidParameter, match="NAME=VALUE"):
        parameters.read_words(["CCC_PLAY_WITH_DB"])


def test_without_effect_only_when_set():
    """Only parameters that somebody changed and that do nothing yet are reported."""
    assert parameters.without_effect(parameters.merge()) == []
    found = parameters.without_effect(parameters.merge({"CCC_PLAY_LICENSE": "x", "CCC_PLAY_DB_PORT": "1"}))
    assert [known.name for known in found] == ["CCC_PLAY_LICENSE"]


def test_table_is_consistent():
    """Every row has its own name, a meaning, and a default that its type takes."""
    assert len({known.name for known in TABLE}) == len(TABLE)
    for known in TABLE:
        assert known.name.startswith("CCC_")
        assert known.meaning
        parameters.check(known.name, known.default)
