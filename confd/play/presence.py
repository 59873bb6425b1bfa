"""Which nodes of a play are in its cluster now, and where they answer: EXAConf says so, c4 remembers what it made once.

The newest EXAConf of the play counts. It is searched, not parsed: this happens with every look at a play.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

import msgspec

from confd.play.record import Play, PlayNode

_REVISION: Final = re.compile(r"^\s*Revision = ([0-9]+)\s*$", re.MULTILINE)
_NODE: Final = re.compile(r"^\[Node : ([0-9]+)\]\n((?:(?!\[).*\n)*)", re.MULTILINE)
_DATABASE: Final = re.compile(r"^\[DB : ", re.MULTILINE)
_PORT: Final = re.compile(r"^\s*XMLRPCPort = ([0-9]+)\s*$", re.MULTILINE)
_ADDRESS: Final = re.compile(r"^\s*PrivateNet = ([0-9.]+)/", re.MULTILINE)


def present(play: Play) -> tuple[PlayNode, ...]:
    """Return the nodes that were not removed, with their present addresses; all of them while nothing is known."""
    addresses = {int(number): _ADDRESS.search(body) for number, body in _NODE.findall(_newest(play))}
    if not addresses:
        return play.nodes
    return tuple(_at(node, addresses[node.node]) for node in play.nodes if node.node in addresses)


def removed(play: Play) -> set[int]:
    """Return the nodes of a play that its newest EXAConf does not have."""
    return {node.node for node in play.nodes} - {node.node for node in present(play)}


def confd_port(play: Play) -> int:
    """Return the port on which ConfD answers, once it is started again; general_settings may have changed it."""
    found = _PORT.search(_newest(play))
    return int(found[1]) if found else play.confd_port


def has_database(play: Play) -> bool:
    """Tell whether the cluster has any database, be it up or not."""
    return _DATABASE.search(_newest(play)) is not None


def _newest(play: Play) -> str:
    return max((text for node in play.nodes if (text := _text(node))), key=_revision, default="")


def _at(node: PlayNode, found: re.Match[str] | None) -> PlayNode:
    return msgspec.structs.replace(node, address=found[1]) if found else node


def _text(node: PlayNode) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return (node.root / "etc/EXAConf").read_text()
    return ""


def _revision(text: str) -> int:
    found = _REVISION.search(text)
    return int(found[1]) if found else 0
