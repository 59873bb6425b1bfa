"""What c4 remembers of a play: one file, ``play.json``, in the play's directory."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from confd.cluster.identity import write_private
from confd.model.errors import NodeError

FILE: Final = "play.json"
PASSWORDS: Final = "passwords"


class Progress(StrEnum):
    """How far the making of a play came: its files are being made, are there, its daemons came up, or did not."""

    MAKING = "making"
    MADE = "made"
    READY = "ready"
    FAILED = "failed"


class PlayNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node of a play; ``runtime`` is its directory for sockets."""

    node: int
    address: str
    root: Path
    runtime: Path

    @property
    def name(self) -> str:
        """Node name, ``n11``."""
        return f"n{self.node}"

    @property
    def socket(self) -> Path:
        """Where the daemon answers calls from this machine."""
        return self.runtime / "confd.sock"


class Ssh(msgspec.Struct, frozen=True, kw_only=True):
    """How the machines of a play are reached; ``program`` are the words of c4 there. No password is kept."""

    user: str
    port: int = 22
    key: str | None = None
    program: tuple[str, ...] = ("c4",)


class Maker(msgspec.Struct, frozen=True):
    """The process that makes a play: its id, and when it began, in clock ticks since boot."""

    pid: int
    started: int | None


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """A play; ``postgresql`` is the version of its databases, installed at ``engine``.

    ``maker`` is there until everything is made, the first database too: a play whose maker is dead stays as it is.
    With ``ssh`` its nodes are on other machines, where their paths are, and ``place`` is its directory here.
    """

    number: int
    id: str
    created: float
    postgresql: str
    engine: Path
    nodes: tuple[PlayNode, ...]
    confd_port: int
    db_port: int
    database: str | None
    active: tuple[int, ...]
    progress: Progress = Progress.MADE
    maker: Maker | None = None
    ssh: Ssh | None = None
    place: Path | None = None

    @property
    def directory(self) -> Path:
        """Where everything of the play is."""
        return self.place or self.nodes[0].root.parent

    def node(self, node: int) -> PlayNode | None:
        """Return one node."""
        return next((known for known in self.nodes if known.node == node), None)

    def without(self, node: PlayNode) -> Play:
        """Return the play without one of its nodes."""
        left = tuple(known for known in self.nodes if known != node)
        return msgspec.structs.replace(self, nodes=left, active=tuple(n for n in self.active if n != node.node))

    def with_progress(self, progress: Progress) -> Play:
        """Return the play at another point of its making."""
        return msgspec.structs.replace(self, progress=progress)

    def save(self) -> None:
        """Write the file; durable on return."""
        encoded = msgspec.json.encode(self, enc_hook=str)
        write_private(self.directory / FILE, msgspec.json.format(encoded) + b"\n")


def load(directory: Path) -> Play:
    """Read a play.

    :raises NodeError: the file is damaged, or cannot be read.
    """
    path = directory / FILE
    try:
        play = msgspec.json.decode(path.read_bytes(), type=Play, dec_hook=lambda kind, text: kind(text))
    except msgspec.DecodeError as error:
        raise NodeError(f"{path} is damaged ({error}); restore it, or end its daemons and delete {directory}") from None
    except OSError as error:
        raise NodeError(f"{path} cannot be read ({error.strerror})") from None
    if not play.nodes:
        raise NodeError(f"{path} is damaged (it names no nodes); restore it, or delete {directory}")
    return play


def write_passwords(directory: Path, passwords: dict[str, str]) -> None:
    """Keep generated passwords, readable for the owner of the play only."""
    lines = [f"{name}={password}\n" for name, password in passwords.items()]
    write_private(directory / PASSWORDS, "".join(lines).encode())
