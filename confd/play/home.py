"""The place of all plays of a user: directories, numbers, runtime directories, and finding a play again."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from confd.model.errors import ConfDError, InvalidParameter, NodeError, NotFound, Unsupported, WrongState
from confd.play.parameters import HOME
from confd.play.record import FILE, Play, PlayNode, load

_ROOT_HOME: Final = Path("/var/lib/openconfd")
_ROOT_RUNTIME: Final = Path("/run/openconfd")
# Whoever makes it first owns it; that it is ours is checked when a play is made.
_SHARED_RUNTIME: Final = "/tmp/openconfd-{}"  # noqa: S108
_LOCK: Final = "lock"
_TARGET: Final = re.compile(r"(?P<play>[0-9a-zA-Z]+)(?:\.(?P<node>n?[0-9]+))?(?:/(?P<subsystem>[a-z]+))?")
_DIRECTORY: Final = re.compile(r"[0-9]+_[0-9a-f]{8}")


class Target(NamedTuple):
    """What ``-t N[.NODE][/SUBSYSTEM]`` names."""

    play: str
    node: int | None
    subsystem: str | None


class Unusable(NamedTuple):
    """A play whose file is damaged, or that is not where it was made, by its directory; ``error`` says what to do."""

    number: int
    id: str
    error: ConfDError


def home() -> Path:
    """Return where plays are kept: CCC_HOME."""
    given = os.environ.get(HOME)
    if given:
        return Path(given).absolute()
    return _ROOT_HOME if os.getuid() == 0 else Path.home() / ".ccc"


def config_file() -> Path:
    """Return the file with the parameters of every play, which need not exist."""
    given = os.environ.get(HOME)
    return (Path(given) if given else Path.home() / ".ccc") / "config"


def runtime(play: str) -> Path:
    """Return the runtime directory of a play: short, because paths of unix sockets are.

    Not XDG_RUNTIME_DIR: that is deleted when its user logs out, and a play goes on.
    """
    base = _ROOT_RUNTIME if os.getuid() == 0 else Path(_SHARED_RUNTIME.format(os.getuid()))
    return base / play


def make_runtime(nodes: Iterable[PlayNode]) -> None:
    """Make the runtime directories of nodes, which are gone after a restart of the machine.

    :raises Unsupported: somebody else made the one above them.
    """
    for node in nodes:
        make_passable(node.runtime)
        base = node.runtime.parent.parent
        if base.stat().st_uid != os.getuid():
            raise Unsupported(f"{base} belongs to another user, who could read what is said there; have it deleted")


def clear_runtime(nodes: Iterable[PlayNode]) -> None:
    """Delete the runtime directories of nodes; other nodes of their cluster may have theirs beside them."""
    for node in nodes:
        shutil.rmtree(node.runtime, ignore_errors=True)
        with suppress(OSError):
            node.runtime.parent.rmdir()


def discard(directory: Path) -> None:
    """Delete the directory of a play; what c4 remembers of it goes last, so that it can be tried again."""
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (FILE, _LOCK):
            path.unlink()
    (directory / FILE).unlink(missing_ok=True)
    shutil.rmtree(directory)


def plays() -> list[Play]:
    """Return all plays by number, for who makes a node: it must not take what is another one's.

    :raises ConfDError: one of them cannot be used, and why.
    """
    usable, unusable = look()
    if unusable:
        raise unusable[0].error
    return usable


def look() -> tuple[list[Play], list[Unusable]]:
    """Return the plays that can be used and those that cannot, both by number."""
    place = home()
    paths = [path for path in place.iterdir() if _DIRECTORY.fullmatch(path.name)] if place.is_dir() else []
    usable: list[Play] = []
    unusable: list[Unusable] = []
    for path in paths:
        number, _, play_id = path.name.partition("_")
        try:
            if (path / FILE).exists():
                usable.append(_load_at(path))
        except ConfDError as error:
            unusable.append(Unusable(int(number), play_id, error))
        except OSError as error:
            unusable.append(Unusable(int(number), play_id, NodeError(f"play {number} cannot be looked at: {error}")))
    return sorted(usable, key=lambda play: play.number), sorted(unusable, key=lambda play: play.number)


def _load_at(path: Path) -> Play:
    play = load(path)
    if play.ssh is not None:
        # Its nodes are elsewhere: only what c4 remembers was moved.
        return msgspec.structs.replace(play, place=path)
    if not (play.directory.exists() and play.directory.samefile(path)):
        raise WrongState(
            f"play {play.number} ({play.id}) was made in {play.directory} and is in {path} now; move it "
            f"(or CCC_HOME) back: its nodes know their paths. To give it up, end what runs of it and delete {path}"
        )
    return play


def find(name: str) -> Play:
    """Return the play with a number or an id; the beginning of an id is enough.

    :raises NotFound: there is none; names those that are there.
    :raises ConfDError: it cannot be used, and why.
    """
    usable, unusable = look()
    known: list[Play | Unusable] = [*usable, *unusable]
    meant = [play for play in known if name in (str(play.number), play.id)][:1]
    if not meant and len(name) >= 3:
        meant = [play for play in known if play.id.startswith(name.lower())]
    if len(meant) != 1:
        there = ", ".join(f"{play.number} ({play.id})" for play in known)
        raise NotFound(f"there is no play {name}; " + (f"there is {there}" if there else "c4 host play makes one"))
    if isinstance(meant[0], Unusable):
        raise meant[0].error
    return meant[0]


def parse_target(text: str) -> Target:
    """Read ``N[.NODE][/SUBSYSTEM]``.

    :raises InvalidParameter: it is something else.
    """
    match = _TARGET.fullmatch(text)
    if match is None:
        raise InvalidParameter(f"{text!r} is no target: give PLAY[.NODE][/SUBSYSTEM], such as 1, 1.11 or 1.11/cos")
    node = match["node"]
    return Target(match["play"], int(node.removeprefix("n")) if node else None, match["subsystem"])


def pick(play: Play, node: int | None) -> PlayNode:
    """Return a node of a play, the first one when none is named.

    :raises NotFound: it has no such node.
    """
    found = play.nodes[0] if node is None else play.node(node)
    if found is None:
        there = ", ".join(known.name for known in play.nodes)
        raise NotFound(f"play {play.number} has no node n{node}; it has {there}")
    return found


@contextmanager
def alone(directory: Path | None = None) -> Iterator[None]:
    """Keep other c4 commands from a play's directory, or (None) from making plays, meanwhile."""
    place = directory or home()
    make_passable(place)
    with (place / _LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def new_place() -> tuple[int, str]:
    """Return number and id for a new play; the number is the lowest free one."""
    taken = {play.number for play in plays()}
    number = next(candidate for candidate in range(1, len(taken) + 2) if candidate not in taken)
    return number, secrets.token_hex(4)


def make_passable(path: Path) -> None:
    """Make a directory, and those above it, that the database's user can pass through."""
    for step in (*reversed(path.parents), path):
        if not step.exists():
            step.mkdir(exist_ok=True)
            step.chmod(0o711)
