"""c4 as a command: what it says and how it ends, without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from confd.cli.c4 import main
from confd.services.database.scram import check_verifier


@pytest.fixture
def c4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run c4 with a home of its own."""
    monkeypatch.setenv("CCC_HOME", str(tmp_path / "home"))

    def run(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, words, input=stdin)

    return run


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["host", "play", "CCC_PLAY_WTH_DB=no"], 2, "did you mean CCC_PLAY_WITH_DB?"),
        (["host", "play", "CCC_HOST_ADDRS=10.0.0.1"], 2, "is reached over SSH"),
        (["host", "play", "-i", "/nothere"], 2, "cannot read /nothere"),
        (["host", "play", "CCC_PLAY_DATABASE_NAME=a/b"], 2, "a/b"),
        (["connect"], 2, "which play? give -t"),
        (["connect", "-t", "1/cos"], 1, "there is no play 1; c4 host play makes one"),
        (["connect", "-t", "1/2/3"], 2, "no target"),
        (["stop", "-t", "9"], 1, "no play 9"),
        (["wait", "9"], 1, "no play 9"),
        (["config", "-e", ".play.confdport"], 1, "did you mean .play.confd_port?"),
        (["pwdhash"], 2, "the password is empty"),
    ],
)
def test_errors_are_one_message(c4, words: list[str], status: int, text: str):
    """Every mistake ends with a message and a status: 2 for wrong input, 1 for what cannot be done."""
    ended = c4(*words, stdin="")
    assert ended.exit_code == status
    assert text in ended.output
    assert "Traceback" not in ended.output


def test_ps_without_plays(c4):
    """Without plays c4 ps shows the head of the table."""
    assert c4("ps").output.startswith("N  PLAY_ID")


def test_a_play_that_cannot_be_used_is_listed_with_what_to_do(c4, tmp_path: Path):
    """The others are listed as ever."""
    damaged = tmp_path / "home/3_0a1b2c3d"
    damaged.mkdir(parents=True)
    (damaged / "play.json").write_text("{")
    shown = c4("ps")
    assert shown.exit_code == 0
    assert shown.output.startswith("N  PLAY_ID")
    assert f"restore it, or end its daemons and delete {damaged}\n" in shown.output
    refused = c4("rm", "-t", "3")
    assert refused.exit_code == 1
    assert "is damaged" in refused.output


def test_parameters_without_effect_say_so(c4):
    """A parameter that does nothing yet says so in one line, and the rest goes on."""
    ended = c4("host", "play", "CCC_PLAY_LICENSE=x", "CCC_HOST_ADDRS=10.0.0.1")
    assert "c4: CCC_PLAY_LICENSE has no effect yet (licence)" in ended.output


def test_config_shows_what_is_in_effect(c4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Config shows file, environment and defaults merged, secrets hidden."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/config").write_text("CCC_PLAY_DB_PORT=1111\nCCC_PLAY_CONFD_PORT=2222\n")
    monkeypatch.setenv("CCC_PLAY_CONFD_PORT", "3333")
    monkeypatch.setenv("CCC_PLAY_DB_PASSWORD", "geheim")
    assert c4("config", "-e", ".play.confd_port").output == "3333\n"
    assert c4("config", "-K", "d_port").output == "CCC_PLAY_CONFD_PORT=3333\nCCC_PLAY_ETCD_PORT=2379\n"
    full = c4("config", "-F").output
    assert "geheim" not in full
    assert "no effect yet" in full


@pytest.mark.parametrize(("words", "stdin"), [(["geheim"], None), ([], "geheim\n"), (["-i"], "geheim\ngeheim\n")])
def test_pwdhash(c4, words: list[str], stdin: str | None):
    """Pwdhash makes a verifier from an argument, stdin or a question."""
    ended = c4("pwdhash", *words, stdin=stdin)
    assert check_verifier(ended.stdout.strip().splitlines()[-1])
    assert "geheim" not in ended.stdout


def test_help_shows_one_command_a_line(c4):
    """The overview of commands is not wrapped like a paragraph."""
    lines = c4("--help").output.splitlines()
    assert "  c4 ps                              what runs" in lines
    assert not any("\\b" in line for line in lines)
