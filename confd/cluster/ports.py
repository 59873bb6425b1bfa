"""Ports of this machine: whether they can be listened on, and who does."""

from __future__ import annotations

import errno
import os
import pwd
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from confd.cluster.processtable import command_line, processes_of_machine

_LISTEN: Final = "0A"
_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_SHOWN: Final = 100


class Listener(NamedTuple):
    """A listening socket as the kernel lists it."""

    port: int
    uid: int
    inode: int


def hindrance(address: str, port: int) -> OSError | None:
    """Return what the system says against listening there; None when it can be done."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            return error
    return None


def explain(address: str, port: int, error: OSError) -> str:
    """Say why a port cannot be listened on: ``is taken by process 12 (nginx)``."""
    if error.errno != errno.EADDRINUSE:
        return f"cannot be used: {error.strerror or error}"
    found = listeners(address, port)
    return f"is taken by {describe(found[0]) if found else 'an unknown process'}"


def is_own(address: str, port: int) -> bool:
    """Tell whether this process itself listens there."""
    return any(_has(os.getpid(), found.inode) for found in listeners(address, port))


def listeners(address: str, port: int, tables: Iterable[str] = _TABLES) -> list[Listener]:
    """Return who listens on a port of an address, or on all addresses."""
    wanted = {_hex(address), "0" * 8, "0" * 32, "0" * 16 + "FFFF0000" + _hex(address)}
    found: list[Listener] = []
    for table in tables:
        with suppress(FileNotFoundError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            for row in rows:
                local, _, number = row[1].partition(":")
                if row[3] == _LISTEN and local in wanted and int(number, 16) == port:
                    found.append(Listener(port, int(row[7]), int(row[9])))
    return found


def describe(listener: Listener) -> str:
    """Name the process behind a listening socket, as far as this user may see it."""
    pid = _process_of(listener.inode)
    if pid is None:
        return f"a process of user {_user(listener.uid)}"
    return f"process {pid} ({_command(pid)})"


def _command(pid: int) -> str:
    """Return the command line of a process, scripts without their interpreter, long ones cut."""
    words = [word for word in command_line(pid) if word]
    if len(words) > 1 and Path(words[0]).name.startswith("python") and not words[1].startswith("-"):
        words = [Path(words[1]).name, *words[2:]]
    text = " ".join(words)
    return f"{text[: _SHOWN - 3]}..." if len(text) > _SHOWN else text


def _hex(address: str) -> str:
    return socket.inet_aton(address)[::-1].hex().upper()


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _process_of(inode: int) -> int | None:
    return next((pid for pid in processes_of_machine() if _has(pid, inode)), None)


def _has(pid: int, inode: int) -> bool:
    wanted = f"socket:[{inode}]"
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) == wanted:
                    return True
    return False
