"""Finding, choosing and copying PostgreSQL installations."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from confd.model.errors import NotFound, Unsupported
from confd.services.database.engine.installation import (
    Capability,
    Installation,
    choose,
    find,
    inspect,
    relocate,
    traversable,
)

NEW = Installation("/a", "18.4", frozenset({Capability.INCREMENTAL_BACKUP}))
OLD = Installation("/b", "15.18", frozenset({Capability.TLS}))


def test_embedded_one_is_what_it_says(installation: Path) -> None:
    """Version and abilities are asked from the binary."""
    found = inspect(installation)
    assert found
    assert found.major == 18
    assert Capability.INCREMENTAL_BACKUP in found.capabilities
    assert Capability.TLS not in found.capabilities
    assert find([installation])[0] == found


def test_nothing_there(tmp_path: Path) -> None:
    """A directory without a server is no installation."""
    assert inspect(tmp_path) is None


def test_settings_and_refusals(installation: Path) -> None:
    """The server itself says which settings there are and which values it takes."""
    found = inspect(installation)
    assert found
    assert found.settings()["work_mem"].kind == "INTEGER"
    assert found.refusal({"work_mem": "8MB", "my.own": "x"}) is None
    assert 'invalid value for parameter "work_mem"' in str(found.refusal({"work_mem": "8 apples"}))
    assert "range" in str(found.refusal({"work_mem": "1kB"}))


@pytest.mark.parametrize(
    ("version", "default", "prefix", "warns"),
    [
        ("18", None, "/a", False),
        ("18.4", None, "/a", False),
        ("15", None, "/b", False),
        ("8.32.0", None, "/a", True),
        ("@exasol-8.32.0", None, "/a", True),
        ("6.1.1", "15", "/b", True),
        ("2025.1.0", "8.29", "/a", True),
    ],
)
def test_choice(version: str, default: str | None, prefix: str, warns: bool) -> None:
    """PostgreSQL versions name an installation, Exasol releases mean the default one and warn."""
    choice = choose(version, (NEW, OLD), default)
    assert (choice.installation.prefix, bool(choice.warning)) == (prefix, warns)


@pytest.mark.parametrize("version", ["17", "18.3", "9.6", "newest"])
def test_unknown_version_names_what_is_there(version: str) -> None:
    """The error lists the installations."""
    with pytest.raises(NotFound, match=r"15\.18.*18\.4"):
        choose(version, (NEW, OLD))


def test_missing_ability_says_what_to_do() -> None:
    """No installation at all, or one that cannot: both are UNSUPPORTED."""
    with pytest.raises(Unsupported):
        choose("18", ())
    with pytest.raises(Unsupported, match="tls"):
        NEW.require(Capability.TLS, "client encryption")
    with pytest.raises(Unsupported, match=r"version to 15\.18"):
        NEW.require(Capability.TLS, "client encryption", (NEW, OLD))
    OLD.require(Capability.TLS, "client encryption")


def test_relocated_server_runs(wheel: Path, tmp_path: Path) -> None:
    """A copy answers; making it again, also over an unfinished one, is fine."""
    target = tmp_path / "pg"
    (tmp_path / "pg.new" / "half").mkdir(parents=True)
    prefix = relocate(wheel, target)
    before = (prefix / "bin" / "postgres").stat()
    assert relocate(wheel, target) == prefix
    assert (prefix / "bin" / "postgres").stat().st_ino == before.st_ino
    shown = subprocess.run([prefix / "bin" / "postgres", "--version"], capture_output=True, text=True, check=True)
    assert "18" in shown.stdout
    assert not (prefix / "include").exists()


def test_traversable(tmp_path: Path, user: str | None) -> None:
    """A closed directory on the way keeps the user out."""
    if user is None:
        assert traversable(tmp_path, None)
        return
    tmp_path.chmod(0o700)
    assert not traversable(tmp_path / ".", user)
    assert traversable(Path("/usr/bin"), user)
