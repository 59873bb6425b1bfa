"""Who holds an address: another play, or a process that listens on one of its ports."""

from __future__ import annotations

import errno
import pwd
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from confd.cluster.ports import hindrance
from confd.model.errors import InUse
from confd.play.processes import command_line, processes_of_machine
from confd.play.record import Play, Progress

_LISTEN: Final = "0A"
_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_SHOWN: Final = 100


class Listener(NamedTuple):
    """A listening socket as the kernel lists it."""

    port: int
    uid: int
    inode: int


def check_free(addresses: Iterable[str], ports: Mapping[str, int], plays: Iterable[Play]) -> None:
    """Refuse addresses that another play has, and ports that somebody listens on.

    :param ports: by what they are for.
    :raises InUse: names the holder.
    """
    known = list(plays)
    for address in addresses:
        for play in known:
            _check_play(address, play)
        check_ports(address, ports)


def check_ports(address: str, ports: Mapping[str, int]) -> None:
    """Refuse ports that cannot be listened on.

    :raises InUse: names the process, or what the system says.
    """
    for purpose, port in ports.items():
        if (error := hindrance(address, port)) is not None:
            raise InUse(_refusal(address, port, purpose, error))


def holds(play: Play) -> bool:
    """Tell whether a play keeps its addresses; one that never came up does not."""
    return play.progress is not Progress.FAILED


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


def _check_play(address: str, play: Play) -> None:
    if holds(play) and any(node.address == address for node in play.nodes):
        raise InUse(
            f"{address} belongs to play {play.number} ({play.id}): choose other addresses, such as "
            f"CCC_HOST_ADDRS='{' '.join(_others(play))}', or delete it with: c4 rm -t {play.number}"
        )


def _others(play: Play) -> list[str]:
    shift = 10 * (1 + len(play.nodes) // 10)
    split = [node.address.rpartition(".") for node in play.nodes]
    return [f"{net}.{(int(last) + shift) % 250 or 1}" for net, _, last in split]


def _refusal(address: str, port: int, purpose: str, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"the {purpose} port {port} on {address} cannot be used: {error.strerror}"
    found = listeners(address, port)
    holder = describe(found[0]) if found else "an unknown process"
    return f"the {purpose} port {port} on {address} is taken by {holder}; stop it, or choose another address or port"


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
    wanted = f"socket:[{inode}]"
    for pid in processes_of_machine():
        with suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) == wanted:
                        return pid
    return None
