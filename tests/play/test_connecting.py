"""What c4 connect runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from confd.model.errors import InvalidParameter, NotFound
from confd.play.connecting import Launch, launch
from confd.play.record import Play, write_passwords
from tests.play.conftest import make_play


def run(started: Launch, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run it as a child instead of becoming it."""
    return subprocess.run(
        started.words, env=started.environment, cwd="/", input=stdin, capture_output=True, text=True, check=False
    )


@pytest.fixture
def play(home: Path) -> Play:
    """A play with two nodes."""
    return make_play(home)


def test_one_word_is_for_the_shell(play: Play):
    """One word of command is a line for the shell, which sees the node; its status comes back."""
    ended = run(launch(play, play.nodes[1], "cos", ["echo $EXA_ROOT $CONFD_SOCKET; exit 3"], False, {"PATH": "/bin"}))
    assert ended.stdout.split() == [str(play.nodes[1].root), str(play.nodes[1].socket)]
    assert ended.returncode == 3


def test_several_words_stay_as_they_are(play: Play):
    """Several words reach the program one by one, whatever is in them."""
    words = ["printf", "%s|", "{db_name: A B}", "$HOME", "'"]
    assert run(launch(play, play.nodes[0], "cos", words, False, {"PATH": "/bin"})).stdout == "{db_name: A B}|$HOME|'|"


def test_shell_reads_all_of_stdin(play: Play):
    """Without command and terminal the shell runs what comes on stdin."""
    ended = run(launch(play, play.nodes[0], "cos", [], False, {"PATH": "/bin"}), "read a\nword\necho got $a\nexit 4\n")
    assert (ended.stdout, ended.returncode) == ("got word\n", 4)


def test_interactive_shell_has_a_prompt(play: Play):
    """A shell for a person says where it is."""
    started = launch(play, play.nodes[0], "cos", [], True, {"PATH": "/bin"})
    assert "-i" in started.words
    assert started.environment["PS1"] == "[n11 play 1]$ "


def test_programs_are_on_the_path(play: Play):
    """confd_client of this installation is found."""
    started = launch(play, play.nodes[0], "cos", ["command -v confd_client"], False, {"PATH": "/bin"})
    assert run(started).stdout.strip().endswith("/confd_client")


def test_host_is_the_machine_itself(play: Play):
    """The host subsystem has no node."""
    assert "EXA_ROOT" not in launch(play, play.nodes[0], "host", [], False, {}).environment


def test_database_client(play: Play, monkeypatch: pytest.MonkeyPatch):
    """The db subsystem is psql as sys, with the password that was generated."""
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/psql")
    write_passwords(play.directory, {"CCC_PLAY_DB_PASSWORD": "secret"})
    started = launch(play, play.nodes[1], "db", ["select", "1"], False, {})
    assert started.words == (
        "/usr/bin/psql", "-h", "127.1.1.12", "-p", "8563", "-U", "sys", "-d", "Exasol", "-c", "select 1",
    )  # fmt: skip
    assert started.environment["PGPASSWORD"] == "secret"


def test_refusals(home: Path, play: Play):
    """Unknown subsystems, and the database of a play without one, are refused."""
    with pytest.raises(InvalidParameter, match="cos, host, db"):
        launch(play, play.nodes[0], "web", [], False, {})
    bare = Play(**{name: getattr(play, name) for name in play.__struct_fields__} | {"database": None})
    with pytest.raises(NotFound, match="without a database"):
        launch(bare, play.nodes[0], "db", [], False, {})
