"""Every documented example of the other database jobs, on real servers: nodes, backups, restores, snapshots.

One story, because backups build on each other. Names and numbers that only the documentation's cluster has (volumes,
backup ids, a date that has passed) are replaced; a database of one node stands for one of many.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
import pytest

from confd.scheduler.registry import load
from tests.cluster.harness import SYS_PASSWORD, Cluster, cluster, until
from tests.jobs.test_catalogue import CATALOGUE

PORTS = {"exa_db": 9601, "MY_DATABASE": 9602, "DB1": 9603, "exasol": 9604, "qa": 9605, "VIRTUAL_DB": 9606}
LATER = "2099-05-14 5:00:00"


@pytest.fixture(scope="module")
def place() -> Iterator[Cluster]:
    """Five nodes, an archive volume, a volume for snapshots, and small databases with the names of the examples."""
    with cluster("CCC_PLAY_WITH_DB=false", nodes=5) as made:
        for name, kind in (("ArchiveVolume1", "archive"), ("Snapshots", "data")):
            nodes = [11] if kind == "archive" else [11, 12, 13]
            made.run("st_volume_create", name=name, type=kind, disk="disk1", size="512 MiB", nodes=nodes, redundancy=1)
        for name in PORTS:
            define(made, name)
        yield made


def define(place: Cluster, name: str) -> None:
    """Make a volume and a database of one node on it."""
    size = {"name": f"V_{name}", "size": "300 MiB", "type": "data", "disk": "disk1", "nodes": [11], "redundancy": 1}
    place.run("st_volume_create", **size)
    snapshots = {"snapshot_sync_volume": "Snapshots"} if name == "exa_db" else {}
    place.run(
        "db_create", db_name=name, version="18", data_volume_name=f"V_{name}", mem_size="256 MiB", nodes=[11],
        num_active_nodes=1, port=PORTS[name], **snapshots,
    )  # fmt: skip


def examples(job: str, **replaced: Any) -> list[dict[str, Any]]:
    """Return the examples of a job, with what is replaced in each that has it."""
    return [
        example | {name: value for name, value in replaced.items() if name in example}
        for example in load()[job].examples
    ]


def run(place: Cluster, job: str, **given: Any) -> Any:
    """Run an example; what it returns has the documented shape."""
    output = place.run(job, **given)
    documented = CATALOGUE[job].get("result_example")
    if documented is None:
        assert output is None, (job, output)
    else:
        check_shape(output, documented, job)
    return output


def check_shape(output: Any, documented: Any, where: str) -> None:
    """Compare keys and types; further keys are our own."""
    if isinstance(documented, dict):
        assert documented.keys() <= output.keys(), (where, documented.keys() - output.keys())
        for key, value in documented.items():
            check_shape(output[key], value, f"{where}.{key}")
    elif isinstance(documented, list):
        assert isinstance(output, list), where
        for one in output if documented else ():
            check_shape(one, documented[0], where)
    else:
        assert isinstance(output, type(documented)), (where, output)


def sql(place: Cluster, name: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement as sys."""
    with psycopg.connect(
        host=place.addresses[11], port=PORTS[name], user="sys", password=SYS_PASSWORD, dbname=name, autocommit=True
    ) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def await_backup(place: Cluster, name: str) -> dict[str, Any]:
    """Wait for the end of a backup; its line in the list."""
    info = until(
        lambda: (found := place.run("db_info", db_name=name))["operation"] == "None" and found, "the backup ends"
    )
    assert info["info"] == "", info
    return newest(place, name)


def newest(place: Cluster, name: str) -> dict[str, Any]:
    """Return the newest backup of a database."""
    return max(run(place, "db_backup_list", db_name=name), key=lambda backup: backup["bid"])


def test_nodes(place: Cluster) -> None:
    """Reserve nodes come, are suspended, resumed, activated, and go."""
    for given in examples("db_add_reserve_nodes"):
        run(place, "db_add_reserve_nodes", **given)
        reserve = place.run("db_info", db_name=given["db_name"])["nodes"]["reserve"]
        assert reserve == [f"n{node}" for node in given["node_list"]]
    for job in ("db_suspend_nodes", "db_resume_nodes", "db_remove_reserve_nodes"):
        for given in examples(job):
            run(place, job, **given)
    assert place.run("db_info", db_name="exa_db")["nodes"] == {"active": ["n11"], "failed": [], "reserve": []}
    run(place, "db_add_reserve_nodes", db_name="exa_db", node_list=[12, 13])
    for given in examples("db_enlarge"):
        name = given["db_name"]
        reserve = [int(node[1:]) for node in place.run("db_info", db_name=name)["nodes"]["reserve"]]
        place.run("st_volume_append_node", vname=f"V_{name}", node_num=2, node_ids=reserve)
        run(place, "db_enlarge", **given)
        info = run(place, "db_info", db_name=name)
        assert (info["state"], len(info["nodes"]["active"])) == ("running", 3)
    place.run("db_stop", db_name="MY_DATABASE")


def test_backups(place: Cluster) -> None:
    """Backups run, are followed, aborted, listed, kept for longer, restored in each way, and deleted."""
    assert set(run(place, "db_list")) == set(PORTS)
    for name in ("DB1", "exasol"):
        place.run("db_start", db_name=name)
    for given in examples("db_backup_start", backup_volume_name="ArchiveVolume1"):
        name = given["db_name"]
        sql(place, name, "CREATE TABLE IF NOT EXISTS t AS SELECT 42 AS answer")
        run(place, "db_backup_start", **given)
        assert await_backup(place, name)["usable"]
    _follow_and_abort(place)
    mine = newest(place, "exa_db")
    volume = int(mine["id"].split()[0])
    for given in examples(
        "db_backup_change_expiration",
        backup_volume_id=volume, backup_files=mine["expire_alterable"].split()[1], expire_time=LATER,
    ):  # fmt: skip
        run(place, "db_backup_change_expiration", **given)
    for given in examples("db_backup_list"):
        listed = place.run("db_backup_list", **given)
        assert {one["system"] for one in listed} >= {"exa_db"}
        # Those of other databases are documented without it.
        assert all(("expire_alterable" in one) == (one["system"] == given["db_name"]) for one in listed)
    assert mine["id"] in {one["id"] for one in listed}
    _restore(place, mine["id"])
    _delete(place, mine["id"])


def _follow_and_abort(place: Cluster) -> None:
    """Hold a backup while it is asked for, then end it."""
    before = place.run("db_backup_list", db_name="exa_db")
    with _held_backup(place):
        for given in examples("db_backup_progress"):
            assert run(place, "db_backup_progress", **given)["Type"] == "Backup"
        for given in examples("db_backup_abort"):
            run(place, "db_backup_abort", **given)
    assert place.run("db_backup_list", db_name="exa_db") == before


@contextlib.contextmanager
def _held_backup(place: Cluster) -> Iterator[None]:
    """Take a backup and stop its program on the way."""
    sql(
        place, "exa_db", "CREATE TABLE slow AS SELECT sha512(n::text::bytea) AS noise FROM generate_series(1, 200000) n"
    )
    place.run("db_backup_start", db_name="exa_db", backup_volume_name="ArchiveVolume1", level=0)
    (state,) = place.home.glob("*/n*/metadata/backups/exa_db/worker")
    worker = psutil.Process(int(state.read_text()))
    # Stopped before it is that program, it would stop the worker, too, which waits for it to be one.
    (program,) = until(
        lambda: [child for child in worker.children() if child.name() == "pg_basebackup"], "pg_basebackup runs"
    )
    program.suspend()
    yield


def _restore(place: Cluster, backup: str) -> None:
    """A database is restored, others are made from its backup or opened on it."""
    run(place, "db_backup_start", db_name="DB1", backup_volume_name="ArchiveVolume1", level=0)
    foreign = await_backup(place, "DB1")["id"]
    sql(place, "exa_db", "DELETE FROM t")
    place.run("db_stop", db_name="exa_db")
    for given in examples("db_restore"):
        name = given["db_name"]
        run(place, "db_restore", **given | {"backup_id": backup if name == "exa_db" else foreign})
        assert place.run("db_state", db_name=name) == "running"
    assert sql(place, "exa_db", "SELECT answer FROM t") == [(42,)]


def _delete(place: Cluster, backup: str) -> None:
    """Backups of several databases go at once; a second time they are unknown."""
    foreign = newest(place, "DB1")["id"]
    place.run("db_stop", db_name="VIRTUAL_DB")
    alone, both = examples("db_backups_delete")
    assert len(alone["backup_list"]) == 1
    run(place, "db_backups_delete", **both | {"backup_list": [backup, foreign]})
    answer = place.try_run("db_backups_delete", **alone | {"backup_list": [backup]})
    assert answer["result_name"] == "NOT_FOUND"
    for given in examples("db_backup_delete_unusable"):
        run(place, "db_backup_delete_unusable", **given)
    assert place.run("db_backup_list", db_name="DB1") == []


def test_schedules_and_snapshots(place: Cluster) -> None:
    """Schedules are stored, changed and removed; a snapshot is made, listed and deleted."""
    volume = next(one["id"] for one in place.run("st_volume_list") if one["name"] == "ArchiveVolume1")
    for given in examples("db_backup_add_schedule", backup_volume_name="ArchiveVolume1", backup_volume_id=int(volume)):
        run(place, "db_backup_add_schedule", **given)
        assert given["backup_name"] in place.run("db_info", db_name=given["db_name"])["config"]["backups"]
    for job in (
        "db_backup_modify_schedule", "db_backup_remove_schedule", "db_snapshot_backup_add_schedule",
        "db_snapshot_backup_modify_schedule", "db_snapshot_backup_remove_schedule", "db_snapshot_backup_start",
        "db_snapshot_backup_list",
    ):  # fmt: skip
        for given in examples(job):
            output = run(place, job, **given)
    (snapshot,) = output
    for given in examples("db_snapshot_backups_delete", snapshot_backup_list=[snapshot["id"]]):
        run(place, "db_snapshot_backups_delete", **given)
    assert run(place, "db_snapshot_backup_list", db_name="exa_db") == []
    assert [run(place, "db_state", **given) for given in examples("db_state")] == ["running"]
    place.run("db_stop", db_name="DB1")
    for given in examples("db_delete"):
        run(place, "db_delete", **given)
    assert "DB1" not in place.run("db_list")
