"""Which nodes of a play are still in the configuration of its cluster, as the files on this machine say."""

from __future__ import annotations

from confd.exaconf import Conf, parse
from confd.model.errors import ConfDError
from confd.play.record import Play, PlayNode


def removed(play: Play) -> set[int]:
    """Return the nodes of a play that its newest EXAConf here does not have; none as long as there is no EXAConf."""
    found = [conf for node in play.nodes if (conf := read_conf(node)) is not None]
    if not found:
        return set()
    newest = max(found, key=lambda conf: conf.revision)
    return {node.node for node in play.nodes} - set(newest.nodes)


def read_conf(node: PlayNode) -> Conf | None:
    """Return the configuration in the file of a node; None when there is none that can be read."""
    try:
        document = parse((node.root / "etc/EXAConf").read_text())
    except (OSError, ConfDError):
        return None
    return Conf(document.revision, document.sections)
