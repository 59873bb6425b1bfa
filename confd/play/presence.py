"""Which nodes of a play are in its cluster now, and where: EXAConf says so, c4 remembers what it made once."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

import msgspec

from confd.play.record import Play, PlayNode

_REVISION: Final = re.compile(r"^\s*Revision = ([0-9]+)\s*$", re.MULTILINE)
_NODE: Final = re.compile(r"^\[Node : ([0-9]+)\]\n((?:(?!\[).*\n)*)", re.MULTILINE)
_ADDRESS: Final = re.compile(r"^\s*PrivateNet = ([0-9.]+)/", re.MULTILINE)


def present(play: Play) -> tuple[PlayNode, ...]:
    """Return the nodes that were not removed, with their present addresses; all of them while nothing is known.

    The newest EXAConf of the play counts. It is searched, not parsed: this happens with every look at a play.
    """
    texts = [text for node in play.nodes if (text := _text(node))]
    newest = max(texts, key=_revision, default="")
    addresses = {int(number): _ADDRESS.search(body) for number, body in _NODE.findall(newest)}
    if not addresses:
        return play.nodes
    return tuple(_at(node, addresses[node.node]) for node in play.nodes if node.node in addresses)


def removed(play: Play) -> set[int]:
    """Return the nodes of a play that its newest EXAConf does not have."""
    return {node.node for node in play.nodes} - {node.node for node in present(play)}


def _at(node: PlayNode, found: re.Match[str] | None) -> PlayNode:
    return msgspec.structs.replace(node, address=found[1]) if found else node


def _text(node: PlayNode) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return (node.root / "etc/EXAConf").read_text()
    return ""


def _revision(text: str) -> int:
    found = _REVISION.search(text)
    return int(found[1]) if found else 0
