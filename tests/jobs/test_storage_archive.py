"""Jobs of archive volumes: what they hold is told truly, and goes with them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from confd.model.errors import InUse
from confd.model.states import NodeState
from confd.services.archive.archive import Archive
from confd.services.archive.layout import layout_of
from confd.services.archive.opening import open_archive
from confd.services.archive.upkeep import Health, Upkeep
from confd.services.backup.order import Link, RestoreOrder, VirtualOrder, WalOrder
from confd.services.database.record import PREFIX, Record
from tests.contract.target import content, get, put
from tests.jobs.stage import MIB, Stage


def _create(stage: Stage, **more: Any) -> None:
    given: dict[str, Any] = {
        "name": "A1",
        "type": "archive",
        "disk": "disk1",
        "size": "10 MiB",
        "nodes": [11],
        "redundancy": 1,
    }
    stage.run("st_volume_create", **(given | more))


def _archive(stage: Stage) -> Archive:
    return open_archive(11, stage.host(11).root, layout_of(stage.conf, "A1"))


def test_usage_is_true(stage: Stage) -> None:
    """Used and free space follow the files, those that are being written included."""
    _create(stage)
    assert _usage(stage) == ("0 B", "10 MiB")
    put(_archive(stage), "a", content(3 * MIB))
    assert _usage(stage) == ("3 MiB", "7 MiB")
    with _archive(stage).create("b") as writer:
        writer.write(content(MIB))
        assert _usage(stage) == ("10 MiB", "0 B")
    assert _usage(stage) == ("3 MiB", "7 MiB")
    _archive(stage).delete(["a"])
    assert _usage(stage) == ("0 B", "10 MiB")
    assert stage.run("st_volume_list").result[0]["used"] == "0 B"


def test_data_volumes_have_no_such_keys(stage: Stage) -> None:
    """What a data volume uses is told by its database."""
    _create(stage, type="data")
    assert "used" not in stage.run("st_volume_info", vname="A1").result


def test_the_whole_size_can_be_used(stage: Stage) -> None:
    """A volume takes exactly the bytes it was made for."""
    _create(stage)
    put(_archive(stage), "a", content(10 * MIB), MIB)
    assert _usage(stage) == ("10 MiB", "0 B")
    assert get(_archive(stage), "a", MIB) == content(10 * MIB)


@pytest.mark.parametrize(("health", "state", "segments"), [
    (Health(), "ONLINE", ["ONLINE"] * 4),
    (Health((12,)), "DEGRADED", ["ONLINE", "DEGRADED", "DEGRADED", "ONLINE"]),
    (Health((12,), recovering=True), "RECOVERING", ["ONLINE", "RECOVERING", "RECOVERING", "ONLINE"]),
])  # fmt: skip
def test_missing_copies_show(stage: Stage, health: Health, state: str, segments: list[str]) -> None:
    """A node that misses copies makes its volume DEGRADED, and RECOVERING while it gets them."""
    _create(stage, nodes=[11, 12], redundancy=2)
    stage.services[Upkeep]._health["A1"] = health
    info = stage.run("st_volume_info", vname="A1").result
    assert (info["state"], [part["state"] for part in info["segments"]]) == (state, segments)
    stage.states[12] = NodeState.OFFLINE
    assert stage.run("st_volume_info", vname="A1").result["state"] == "DEGRADED"


def test_a_volume_that_takes_a_file_is_kept(stage: Stage) -> None:
    """While a backup is written its volume cannot be deleted; afterwards it goes with all files."""
    _create(stage)
    with _archive(stage).create("DB1/backup") as writer:
        writer.write(b"x")
        with pytest.raises(InUse, match=r"is being written .DB1/backup.; wait for the backup or abort it"):
            stage.run("st_volume_delete", vname="A1")
        writer.commit()
    stage.run("st_volume_delete", vname="A1")
    assert not list(stage.root.rglob("segments/*"))
    _create(stage)
    assert _archive(stage).files() == []


@pytest.mark.parametrize("opened", [False, True])
def test_a_volume_with_wal_for_a_restore_is_kept(stage: Stage, opened: bool) -> None:
    """The backup may be on another volume: without the WAL the point in time cannot be reached, now or after a crash."""
    _create(stage, nodes=[12], num_master_nodes=1)
    volume, *further = ("W", "A1") if opened else ("A1",)
    wal = WalOrder(volume=volume, prefix="DB1/wal/g/", first=1, until="2026-01-01 00:00:00", further=tuple(further))
    chain = (Link("DB1/id_1/level_0/node_0/backup_202601010000", 1, "", 1),)
    order = RestoreOrder(id="", volume="B", volume_id=7, level=0, database="DB1", chain=chain, wal=wal)
    record = Record(virtual=VirtualOrder(11, "g", order)) if opened else Record(restore=order, operation="restore")
    stage.records[f"{PREFIX}QA"] = msgspec.to_builtins(record)
    before, text = stage.conf, r"'A1' has WAL for a restore of database QA, of DB1/id_1.* to 2026-01-01 00:00:00 UTC"
    with pytest.raises(InUse, match=text):
        stage.run("st_volume_delete", vname="A1")
    with pytest.raises(InUse, match=text):
        stage.run("node_remove", nid=12, force=True)
    assert stage.conf is before
    stage.records[f"{PREFIX}QA"] = msgspec.to_builtins(Record())
    stage.run("st_volume_delete", vname="A1")


def _usage(stage: Stage) -> tuple[str, str]:
    info = stage.run("st_volume_info", vname="A1").result
    return info["used"], info["free"]
