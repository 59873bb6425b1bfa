"""Who holds an address: another play, or a process that listens on one of its ports."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

from confd.cluster.ports import explain, hindrance
from confd.model.errors import InUse
from confd.play.record import Play, Progress


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
    why = explain(address, port, error)
    advice = "; stop it, or choose another address or port" if error.errno == errno.EADDRINUSE else ""
    return f"the {purpose} port {port} on {address} {why}{advice}"
