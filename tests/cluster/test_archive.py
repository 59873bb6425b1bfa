"""An archive volume of real daemons: one of them is killed while a backup is written."""

from __future__ import annotations

from typing import Any

from confd.exaconf import Conf
from confd.exaconf.text import parse
from confd.services.archive.archive import Archive
from confd.services.archive.layout import layout_of
from confd.services.archive.opening import open_archive
from tests.cluster.harness import Cluster, until
from tests.contract.target import content, get, put

MIB = 1 << 20


def _info(cluster: Cluster, name: str) -> dict[str, Any]:
    info = cluster.run("st_volume_info", vname=name)
    assert isinstance(info, dict)
    return info


def _archive(cluster: Cluster, node: int, name: str) -> Archive:
    conf = Conf(1, parse((cluster.root(node) / "etc/EXAConf").read_text()).sections)
    return open_archive(node, cluster.root(node), layout_of(conf, name))


def test_a_daemon_dies_while_a_file_is_written(plain: Cluster, name: str) -> None:
    """The file is written to its end; the volume is DEGRADED, and whole again after the daemon's return."""
    given = {"disk": "disk1", "size": "60 MiB", "nodes": [11, 12, 13], "redundancy": 2, "partition_size": "8 MiB"}
    plain.run("st_volume_create", name=name, type="archive", **given)
    archive = _archive(plain, 12, name)
    put(archive, "old", content(5 * MIB), MIB)
    with archive.create("new") as writer:
        writer.write(content(20 * MIB, 2))
        plain.kill(13)
        writer.write(content(20 * MIB, 3))
        writer.commit()
    until(lambda: _info(plain, name)["state"] == "DEGRADED", "the volume is DEGRADED")
    archive.delete(["old"])
    assert get(archive, "new", MIB) == content(20 * MIB, 2) + content(20 * MIB, 3)
    plain.start()
    until(lambda: _info(plain, name)["state"] == "ONLINE" and _whole(plain, name), "all copies are back")
    until(lambda: _info(plain, name)["used"] == "40 MiB", "the usage is told")
    archive.close()
    plain.run("st_volume_delete", vname=name)


def _whole(cluster: Cluster, name: str) -> bool:
    looks = _archive(cluster, 13, name).looks()
    parts = sum(len(numbers) for look in looks.values() for numbers in look.held.values())
    return parts == 2 * len(looks[13].files[0].parts) if len(looks) == 3 and looks[13].files else False
