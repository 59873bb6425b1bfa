"""--url: which server is trusted, and who logs in."""

from __future__ import annotations

from pathlib import Path

import pytest

from confd.cli.confd_client import run
from confd.cli.exits import Unreachable
from confd.cli.trust import Pins
from tests.cli.server import Server, ok, self_signed

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate."""
    return self_signed(tmp_path / "server.pem")


@pytest.fixture
def url(server: Server, certificate: Path) -> str:
    """The address of a server that admin may use."""
    server.gateway.passwords["admin"] = "geheim"
    server.gateway.answers["job_exec"] = ok(["A"])
    return f"https://127.0.0.1:{server.on_tls(certificate)}"


@pytest.fixture
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFD_PASSWORD", "geheim")


@pytest.mark.usefixtures("_password")
def test_a_stranger_gets_no_password(server: Server, url: str, capsys: Captured) -> None:
    """A certificate nobody vouches for is refused before anything is sent, with what can be done."""
    assert run(["--url", url, "db_list"]) == 3
    assert "--ca FILE" in capsys.readouterr().err
    assert server.gateway.calls == []


@pytest.mark.usefixtures("_password")
def test_insecure(url: str, capsys: Captured) -> None:
    """The check can be switched off."""
    assert run(["--url", url, "--insecure", "db_list"]) == 0
    assert capsys.readouterr().out == "- A\n"


@pytest.mark.usefixtures("_password")
def test_given_authority(url: str, certificate: Path, tmp_path: Path, capsys: Captured) -> None:
    """The file given is the only authority."""
    assert run(["--url", url, "--ca", str(certificate), "db_list"]) == 0
    other = self_signed(tmp_path / "other.pem")
    assert run(["--url", url, "--ca", str(other), "db_list"]) == 3
    assert "not trusted" in capsys.readouterr().err


@pytest.mark.usefixtures("_password")
def test_a_confirmed_certificate_is_pinned(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Confirmed once, it is not asked for again."""
    monkeypatch.setattr("confd.cli.place.person", lambda: lambda question: True)
    assert run(["--url", url, "db_list"]) == 0
    monkeypatch.setattr("confd.cli.place.person", lambda: None)
    assert run(["--url", url, "db_list"]) == 0


def test_wrong_password(url: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Not let in is status 3."""
    monkeypatch.setenv("CONFD_PASSWORD", "falsch")
    assert run(["--url", url, "--insecure", "db_list"]) == 3
    assert "does not let you in" in capsys.readouterr().err


def test_nobody_to_ask_for_a_password(url: str, capsys: Captured) -> None:
    """A script is told about CONFD_PASSWORD."""
    assert run(["--url", url, "--insecure", "db_list"]) == 3
    assert "CONFD_PASSWORD" in capsys.readouterr().err


def test_another_certificate_than_pinned_is_refused(tmp_path: Path) -> None:
    """A changed certificate is never accepted by a yes."""
    pins = Pins(tmp_path / "a/pins", lambda question: True)
    pins.check("h:1", b"one")
    pins.check("h:1", b"one")
    pins.check("h:2", b"two")
    with pytest.raises(Unreachable, match="another certificate"):
        pins.check("h:1", b"two")


def test_a_no_is_a_no(tmp_path: Path) -> None:
    """What the person does not trust is neither used nor pinned."""
    pins = Pins(tmp_path / "pins", lambda question: False)
    with pytest.raises(Unreachable, match="not trusted"):
        pins.check("h:1", b"one")
    assert pins.known("h:1") is None
