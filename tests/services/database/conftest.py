"""Fixtures: the installation under test, the database's system user, a cluster that cleans up after itself."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from confd.services.database.engine.installation import embedded, relocate, traversable
from tests.services.database.rig import Rig

USER = "openconfd"


@pytest.fixture(scope="session")
def user() -> str | None:
    """The unprivileged user that runs servers; made when it is missing."""
    if os.getuid() != 0:
        return None
    where = ["--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    subprocess.run(["useradd", *where, USER], check=False, capture_output=True)
    return pwd.getpwnam(USER).pw_name


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The installation as the package manager put it."""
    prefix = embedded()
    assert prefix
    return prefix


@pytest.fixture(scope="session")
def installation(wheel: Path, user: str | None) -> Path:
    """An installation that the user can run."""
    if traversable(wheel / "bin", user):
        return wheel
    return relocate(wheel, Path(tempfile.gettempdir()) / "openconfd-tests" / "postgresql")


@pytest.fixture
def make_rig(installation: Path, user: str | None) -> Iterator[Callable[..., Rig]]:
    """Make clusters; when the test ends nothing of them runs or lies around."""
    with rigs(installation, user) as make:
        yield make


@contextlib.contextmanager
def rigs(installation: Path, user: str | None) -> Iterator[Callable[..., Rig]]:
    """Make clusters for a block; at its end nothing of them runs or lies around."""
    made: list[Rig] = []

    def make(*nodes: int) -> Rig:
        made.append(Rig(installation, user, nodes or (11, 12, 13)))
        return made[-1]

    yield make
    for rig in made:
        rig.close()
        left = rig.servers()
        shutil.rmtree(rig.base, ignore_errors=True)
        assert not left


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """Three nodes."""
    return make_rig()
