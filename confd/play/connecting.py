"""What ``c4 connect`` runs: a shell or a command with a node's environment, or the database's client."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from confd.model.errors import InvalidParameter, NotFound, Unsupported
from confd.play.record import PASSWORDS, Play, PlayNode, Ssh

SUBSYSTEMS = ("cos", "host", "db")


class Launch(NamedTuple):
    """A program to become: its words, environment and directory."""

    words: tuple[str, ...]
    environment: dict[str, str]
    directory: Path


def launch(
    play: Play, node: PlayNode, subsystem: str, command: Sequence[str], interactive: bool, environ: Mapping[str, str]
) -> Launch:
    """Return what a connection runs.

    One word of command is text for the shell; several are a program and its arguments, as they stand.

    :raises InvalidParameter: an unknown subsystem.
    """
    if subsystem not in SUBSYSTEMS:
        raise InvalidParameter(f"there is no subsystem {subsystem!r}; there is {', '.join(SUBSYSTEMS)}")
    if play.ssh is not None:
        return _elsewhere(play, play.ssh, node, subsystem, command, interactive, environ)
    if subsystem == "db":
        return _database(play, node, command, environ)
    environment = dict(environ)
    if subsystem == "cos":
        environment |= {"EXA_ROOT": str(node.root), "CONFD_SOCKET": str(node.socket)}
    environment["PATH"] = f"{_programs()}:{environ.get('PATH', os.defpath)}"
    words = _shell(f"[{node.name if subsystem == 'cos' else 'host'} play {play.number}]$ ", interactive, environment)
    if len(command) == 1:
        words = ("/bin/sh", "-c", command[0])
    elif command:
        words = ("/bin/sh", "-c", f"exec {shlex.join(command)}")
    return Launch(words, environment, node.root if subsystem == "cos" else Path.home())


def _elsewhere(
    play: Play, ssh: Ssh, node: PlayNode, subsystem: str, command: Sequence[str], interactive: bool,
    environ: Mapping[str, str],
) -> Launch:  # fmt: skip
    """Connect with the ssh program to c4 on the node's machine, which knows the play by the same id."""
    from confd.play.ssh import client_words

    if subsystem == "db":
        return _database(play, node, command, environ)
    if shutil.which("ssh") is None:
        raise Unsupported("there is no program ssh here; install openssh-client, or log in to the machine yourself")
    there = (
        *ssh.program,
        "connect",
        "-t",
        f"{play.id}.{node.node}/{subsystem}",
        *(("--", *command) if command else ()),
    )
    words = client_words(ssh, node.address, there, interactive and not command)
    return Launch(words, dict(environ), Path.home())


def _programs() -> Path:
    """Return where the programs of this installation are: beside this one, else beside its Python."""
    beside = Path(sys.argv[0]).absolute().parent
    return beside if (beside / "confd_client").exists() else Path(sys.executable).parent


def _shell(prompt: str, interactive: bool, environment: dict[str, str]) -> tuple[str, ...]:
    environment["PS1"] = prompt
    bash = shutil.which("bash")
    if not interactive:
        return (bash or "/bin/sh",)
    return (bash, "--noprofile", "--norc", "-i") if bash else ("/bin/sh", "-i")


def _database(play: Play, node: PlayNode, command: Sequence[str], environ: Mapping[str, str]) -> Launch:
    if play.database is None:
        raise NotFound(f"play {play.number} was made without a database; connect to ConfD with -t {play.number}/cos")
    client = shutil.which("psql") or shutil.which(str(play.engine / "bin/psql"))
    if client is None:
        raise Unsupported(
            f"there is no psql here; any PostgreSQL client gets in: {node.address}:{play.db_port}, user sys, "
            f"database {play.database}"
        )
    address = node.address if node.node in play.active else next(n.address for n in play.nodes if n.node in play.active)
    words: tuple[str, ...] = (client, "-h", address, "-p", str(play.db_port), "-U", "sys", "-d", play.database)
    words += ("-c", " ".join(command)) if command else ()
    environment = dict(environ)
    passwords = play.directory / PASSWORDS
    if "PGPASSWORD" not in environ and passwords.exists():
        from confd.play.parameters import read_file

        kept = read_file(passwords).get("CCC_PLAY_DB_PASSWORD")
        environment |= {"PGPASSWORD": kept} if kept else {}
    return Launch(words, environment, Path.home())
