"""The CCC_* parameters of a play: one table, and reading them from files, environment and command line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from confd.model.errors import InvalidParameter, UnknownParameter

PREFIX: Final = "CCC_"
HOME: Final = "CCC_HOME"
_QUOTED: Final = re.compile(r"""(["'])(.*)\1\s*(?:#.*)?""")
_COMMENT: Final = re.compile(r"\s#.*")
_NAME: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)")
_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0", ""})


class Kind(StrEnum):
    """Type of a parameter's value."""

    TEXT = "text"
    SECRET = "secret"  # noqa: S105 - the name of a type
    BOOL = "bool"
    PORT = "port"
    NUMBER = "number"
    WORDS = "words"


class Parameter(NamedTuple):
    """One row of the table; ``effect`` is False for those that are accepted and do nothing yet."""

    name: str
    kind: Kind
    default: str
    meaning: str
    effect: bool = True


_T, _S, _B, _P, _N, _W = Kind.TEXT, Kind.SECRET, Kind.BOOL, Kind.PORT, Kind.NUMBER, Kind.WORDS

TABLE: Final = tuple(Parameter(*row) for row in (
    ("CCC_HOST_ADDRS", _W, "127.0.0.11 127.0.0.12 127.0.0.13", "one node per address, ids from 11"),
    ("CCC_HOST_EXTERNAL_ADDRS", _W, "", "addresses of the nodes seen from outside", False),
    ("CCC_HOST_DATADISK", _T, "", "block devices of disk1, comma separated", False),
    ("CCC_HOST_IMAGE_USER", _T, "", "user for SSH to the hosts; without one all nodes are on this machine"),
    ("CCC_HOST_IMAGE_PASSWORD", _S, "", "password for SSH to the hosts, when no key does it"),
    ("CCC_HOST_KEY_PAIR_FILE", _T, "", "key for SSH to the hosts; those of the agent and ~/.ssh when missing"),
    ("CCC_HOST_SSH_PORT", _P, "22", "port of SSH on the hosts"),
    ("CCC_HOST_C4", _T, "c4", "c4 of the OpenConfD that is installed on the hosts, as typed there"),
    ("CCC_PLAY_ADMIN_PASSWORD", _S, "", "password of the ConfD user admin; generated when missing"),
    ("CCC_PLAY_DB_PASSWORD", _S, "", "password of the database user sys; generated when missing"),
    ("CCC_PLAY_CONFD_PORT", _P, "20003", "port of ConfD"),
    ("CCC_PLAY_DB_PORT", _P, "8563", "port of the database"),
    ("CCC_PLAY_WITH_DB", _B, "true", "make and start a database on a data volume"),
    ("CCC_PLAY_DATABASE_NAME", _T, "Exasol", "name of the database"),
    ("CCC_PLAY_DB_MEM_SIZE", _N, "", "memory of the database in MiB, over all its nodes"),
    ("CCC_PLAY_RESERVE_NODES", _N, "", "how many of the nodes stand by, the last ones"),
    ("CCC_PLAY_ACCESS_NODE", _B, "false", "the first address becomes n10, without disks and instances"),
    ("CCC_PLAY_STORE", _T, "sqlite", "where the cluster keeps its state: sqlite (on the nodes) or etcd"),
    ("CCC_PLAY_ETCD_BINARY", _T, "", "etcd that the nodes run; the installed one when missing"),
    ("CCC_PLAY_ETCD_PORT", _P, "2379", "port of etcd; the next one is for its members among themselves"),
    ("CCC_PLAY_ETCD_ENDPOINTS", _W, "", "etcd that exists, such as https://10.0.0.1:2379, instead of an own one"),
    ("CCC_PLAY_ETCD_USER", _T, "", "user for that etcd"),
    ("CCC_PLAY_ETCD_PASSWORD_FILE", _T, "", "file with his password"),
    ("CCC_PLAY_ETCD_CA_FILE", _T, "", "file with the certificates that sign that etcd's"),
    ("CCC_PLAY_ETCD_CERT_FILE", _T, "", "certificate to show to that etcd"),
    ("CCC_PLAY_ETCD_KEY_FILE", _T, "", "its private key"),
    ("CCC_PLAY_ROOTLESS", _B, "false", "run without root; a play runs as the user who starts it", False),
    ("CCC_PLAY_WORKING_COPY", _T, "", "version to run", False),
    ("CCC_PLAY_LICENSE", _T, "", "licence", False),
    ("CCC_ADMINUI_START_SERVER", _B, "false", "start the administration pages", False),
    ("CCC_ADMINUI_ADMIN_PASSWORD", _S, "", "password of the administration pages", False),
))  # fmt: skip

_BY_NAME: Final = {parameter.name: parameter for parameter in TABLE}


def parameter(name: str) -> Parameter:
    """Return a row of the table.

    :raises UnknownParameter: with the nearest known name.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name == HOME:
        raise UnknownParameter(f"{HOME} is taken from the environment only: {HOME}=DIRECTORY c4 ...")
    near = difflib.get_close_matches(name.upper(), _BY_NAME, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "c4 config lists all"
    raise UnknownParameter(f"unknown parameter {name}; {hint}")


def read_file(path: Path) -> dict[str, str]:
    """Read lines ``NAME=VALUE``; values may be quoted, ``#`` begins a comment.

    :raises InvalidParameter: the file is missing, or a line is something else.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"cannot read {path}: {error}") from None
    given: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, value = _assignment(line, f"{path} line {number}")
        given[name] = value
    return given


def read_words(words: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` words of a command line; the shell has taken their quotes."""
    given: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise InvalidParameter(f"{word!r} is not NAME=VALUE, such as CCC_PLAY_WITH_DB=false")
        given[parameter(name).name] = value
    return given


def merge(*sources: Mapping[str, str]) -> dict[str, str]:
    """Return every parameter's text: defaults, then sources, later ones win; all are checked.

    :raises UnknownParameter: one that begins with CCC_ and is not known. Other names are left alone.
    """
    merged = {known.name: known.default for known in TABLE}
    for source in sources:
        for name, value in source.items():
            if name.startswith(PREFIX) and name != HOME:
                merged[parameter(name).name] = value
    for name, text in merged.items():
        check(name, text)
    return merged


def without_effect(given: Mapping[str, str]) -> list[Parameter]:
    """Return the parameters that somebody set and that do nothing yet."""
    return [known for known in TABLE if not known.effect and given.get(known.name, known.default) != known.default]


def check(name: str, text: str) -> None:
    """Check that a text is a value of a parameter.

    :raises InvalidParameter: it is not.
    """
    reader = _READERS.get(_BY_NAME[name].kind)
    try:
        if reader is not None:
            reader(text)
    except ValueError as error:
        raise InvalidParameter(f"{name}={text}: {error}") from None


def as_bool(text: str) -> bool:
    """Read a truth value."""
    lowered = text.strip().lower()
    if lowered in _YES | _NO:
        return lowered in _YES
    raise ValueError("must be true or false")


def as_number(text: str) -> int | None:
    """Read a number; empty text is none."""
    if not text.strip():
        return None
    if not re.fullmatch("[0-9]{1,9}", text.strip()):
        raise ValueError("must be a whole number, 0 or more")
    return int(text)


def as_port(text: str) -> int:
    """Read a port."""
    number = as_number(text)
    if number is None or not 0 < number < 65536:
        raise ValueError("must be a port, 1 to 65535")
    return number


_READERS: Final[dict[Kind, Callable[[str], object]]] = {
    Kind.BOOL: as_bool,
    Kind.NUMBER: as_number,
    Kind.PORT: as_port,
}


def _assignment(line: str, where: str) -> tuple[str, str]:
    left, separator, right = line.partition("=")
    name = _NAME.fullmatch(left.strip())
    if not separator or not name:
        raise InvalidParameter(f"{where}: expected NAME=VALUE, found {line.strip()!r}")
    text = right.strip()
    if text[:1] in ('"', "'"):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            raise InvalidParameter(f"{where}: the quote {text[0]} is not closed")
        return name[1], quoted[2]
    return name[1], _COMMENT.sub("", f" {right}").strip()
