"""Which nodes of a play are in its cluster."""

from __future__ import annotations

from pathlib import Path

from confd.exaconf import Global, Node, Section, render
from confd.play.presence import confd_port, present
from confd.play.record import Play, PlayNode


def play(root: Path) -> Play:
    """A play of three nodes."""
    nodes = tuple(
        PlayNode(node=n, address=f"127.0.0.{n}", root=root / f"n{n}", runtime=root / f"r{n}") for n in (11, 12, 13)
    )
    return Play(
        number=1, id="x", created=0.0, postgresql="18", engine=root, nodes=nodes, confd_port=20003, db_port=8563,
        database=None, active=(11, 12, 13),
    )  # fmt: skip


def write(root: Path, node: int, revision: int, **addresses: str) -> None:
    """Write the EXAConf of a node."""
    made: list[Section] = [Global(cluster_name="x", xmlrpc_port=20_000 + revision)]
    made += [Node(id=int(n[1:]), name=n, private_net=f"{address}/8") for n, address in addresses.items()]
    path = root / f"n{node}/etc/EXAConf"
    path.parent.mkdir(parents=True)
    path.write_text(render({section.key: section for section in made}, revision))


def test_all_nodes_while_nothing_is_known(tmp_path: Path) -> None:
    """A play that never came up has the nodes it was made with."""
    assert present(play(tmp_path)) == play(tmp_path).nodes


def test_the_newest_file_counts(tmp_path: Path) -> None:
    """Removed nodes are left out, and nodes are where they moved; what a removed node still has does not matter."""
    write(tmp_path, 11, 10, n11="127.0.0.11", n12="127.0.0.99")
    write(tmp_path, 12, 9, n11="127.0.0.11", n12="127.0.0.12", n13="127.0.0.13")
    assert [(node.node, node.address) for node in present(play(tmp_path))] == [(11, "127.0.0.11"), (12, "127.0.0.99")]


def test_the_port_follows_the_configuration(tmp_path: Path) -> None:
    """Daemons listen where the newest file says when they start; before there is one, where the play was to."""
    assert confd_port(play(tmp_path)) == 20_003
    write(tmp_path, 11, 10, n11="127.0.0.11")
    write(tmp_path, 12, 9, n12="127.0.0.12")
    assert confd_port(play(tmp_path)) == 20_010
