"""A real database, driven by jobs."""

from __future__ import annotations

import socket
from typing import Any

import psycopg
import pytest

from tests.cluster.harness import SYS_PASSWORD, Cluster, until


def connect(cluster: Cluster, node: int, database: str = "Exasol", port: int = 8563, **more: Any) -> Any:
    """Connect as a stock PostgreSQL client."""
    return psycopg.connect(
        host=cluster.addresses[node], port=port, user="sys", password=SYS_PASSWORD, dbname=database,
        autocommit=True, connect_timeout=10, **more,
    )  # fmt: skip


def postgres_processes(cluster: Cluster) -> list[str]:
    """Return the command lines of this cluster's PostgreSQL servers."""
    lines = [" ".join(process.info["cmdline"]) for process in cluster.processes()]
    return [line for line in lines if "/bin/postgres " in line]


def test_play_made_a_running_database(with_database: Cluster) -> None:
    """After c4 host play the database Exasol runs on all three nodes, with two copies of each commit."""
    assert with_database.run("db_list") == ["Exasol"]
    assert with_database.run("db_state", 12, db_name="Exasol") == "running"
    info = with_database.run("db_info", 13, db_name="Exasol")
    assert info["connectible"] == "Yes"
    assert info["nodes"] == {"active": ["n11", "n12", "n13"], "failed": [], "reserve": []}
    assert info["connection string"] == f"{with_database.addresses[11]}..13:8563"
    assert len(postgres_processes(with_database)) == 3


def test_clients_connect_on_every_active_node(with_database: Cluster) -> None:
    """One node takes writes, the others read what was written."""
    roles = {}
    for node in with_database.addresses:
        with connect(with_database, node) as connection:
            roles[node] = connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]
    assert sorted(roles.values()) == [False, True, True]
    primary = next(node for node, standby in roles.items() if not standby)
    with connect(with_database, primary) as connection:
        connection.execute("DROP TABLE IF EXISTS seen")
        connection.execute("CREATE TABLE seen AS SELECT generate_series(1, 1000) AS n")
        assert connection.execute("SHOW synchronous_standby_names").fetchone()[0].startswith("ANY 1")
    for node in roles:
        with connect(with_database, node) as reader:

            def rows(reader: Any = reader) -> bool:
                try:
                    return bool(reader.execute("SELECT count(*) FROM seen").fetchone()[0] == 1000)
                except psycopg.errors.UndefinedTable:
                    return False

            until(rows, f"n{node} has the rows")


def test_wrong_database_password_is_refused(with_database: Cluster) -> None:
    """sys needs its password."""
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host=with_database.addresses[11], port=8563, user="sys", password="x", dbname="Exasol")


def test_stop_and_start(with_database: Cluster) -> None:
    """db_stop leaves no server process, the data is there after db_start, states are told as they are."""
    with connect(with_database, 11, target_session_attrs="any") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert with_database.try_run("db_start", db_name="Exasol")["result_name"] == "WRONG_STATE"
    assert with_database.try_run("db_delete", db_name="Exasol")["result_name"] == "WRONG_STATE"
    assert with_database.try_run("db_configure", db_name="Exasol", port=9999)["result_name"] == "WRONG_STATE"
    assert with_database.try_run("st_volume_delete", vname="DataVolume1")["result_name"] == "IN_USE"
    with_database.run("db_stop", 12, db_name="Exasol")
    assert with_database.run("db_state", db_name="Exasol") == "setup"
    assert postgres_processes(with_database) == []
    info = with_database.run("db_info", db_name="Exasol")
    assert (info["connectible"], info["temporary volume"], info["usage persistent"]) == ("No", "None", 0)
    assert with_database.try_run("db_stop", db_name="Exasol")["result_name"] == "WRONG_STATE"
    with_database.run("db_start", 13, db_name="Exasol")
    assert with_database.run("db_state", db_name="Exasol") == "running"


def test_a_database_from_nothing_to_nothing(with_database: Cluster) -> None:
    """Volume, database, start, SQL, stop, configure, start, delete: the whole life in jobs."""
    run = with_database.run
    volume = run(
        "st_volume_create", name="Life", type="data", disk="disk1", size="256 MiB", nodes=[12, 13], redundancy=1
    )
    assert isinstance(volume["vid"], int)
    run("db_create", db_name="life", version="18", data_volume_name="Life", mem_size="256 MiB", nodes=[12, 13],
        num_active_nodes=2, port=9563)  # fmt: skip
    assert run("db_state", db_name="life") == "setup"
    run("db_start", db_name="life", timeout=60)
    with connect(with_database, 12, "life", 9563) as connection:
        connection.execute("CREATE TABLE t AS SELECT 42 AS answer")
    volumes = {one["name"]: one for one in run("st_volume_list")}
    temporary = run("db_info", db_name="life")["temporary volume"]
    assert "temporary" in volumes[temporary]["labels"]
    assert "pub:life_persistent" in volumes["Life"]["labels"]
    run("db_stop", db_name="life")
    told = [with_database.try_run("db_configure", db_name="life", params="-gibtsnicht=1") for _ in range(2)]
    assert ["-gibtsnicht=1 is kept but has no effect" in answer["result_warnings"][0] for answer in told] == [True] * 2
    for wrong, name in (("Life", "INVALID_PARAMETER"), (["Life"], "INVALID_PARAMETER"), ("nope", "NOT_FOUND")):
        refused = with_database.try_run("db_configure", db_name="life", wal_archive_volume=wrong)
        assert (refused["result_name"], refused["result_desc"][:19]) == (name, "wal_archive_volume:"), refused
    run("db_configure", db_name="life", params="-work_mem=7MB", port=9564)
    assert run("db_info", db_name="life")["config"]["params"] == "-work_mem=7MB"
    run("db_start", db_name="life")
    with connect(with_database, 12, "life", 9564) as connection:
        assert connection.execute("SELECT answer FROM t").fetchone() == (42,)
        assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)
    run("db_stop", db_name="life", force=True)
    run("db_delete", db_name="life")
    run("st_volume_delete", vname="Life")
    assert run("db_list") == ["Exasol"]
    assert "Life" not in {one["name"] for one in run("st_volume_list")}


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"db_name": "Exasol"}, "ALREADY_EXISTS", "Exasol"),
        ({"data_volume_name": "nope"}, "NOT_FOUND", "nope"),
        ({"nodes": [11, 12, 99]}, "NOT_FOUND", "99"),
        ({"num_active_nodes": 4}, "INVALID_PARAMETER", "num_active_nodes"),
        ({"mem_size": "2048"}, "INVALID_PARAMETER", "mem_size"),
        ({"version": "17"}, "NOT_FOUND", "17"),
        ({"default_sys_passwd_hash": "9B37963C"}, "INVALID_PARAMETER", "c4 pwdhash"),
        ({"owner": [4711, 500]}, "NOT_FOUND", "4711"),
        ({"params": "-fsync=off"}, "INVALID_PARAMETER", "fsync"),
        ({"params": "-work_mem=lots"}, "INVALID_PARAMETER", "work_mem"),
        ({"port": 70000}, "INVALID_PARAMETER", "65535"),
    ],
)
def test_impossible_databases_are_refused(
    with_database: Cluster, change: dict[str, Any], name: str, words: str
) -> None:
    """A database that cannot be is refused with a message that helps, and nothing changes."""
    before = with_database.files()
    wanted = {
        "db_name": "impossible", "version": "18", "data_volume_name": "DataVolume1", "mem_size": "1 GiB",
        "nodes": [11, 12, 13], "num_active_nodes": 3,
    }  # fmt: skip
    answer = with_database.try_run("db_create", 12, **(wanted | change))
    assert answer["result_name"] == name, answer
    assert words in answer["result_desc"]
    assert with_database.files() == before


def test_a_taken_port_is_named(with_database: Cluster) -> None:
    """db_start on a port that somebody holds says so, and the database is in setup again."""
    run = with_database.run
    run("st_volume_create", name="Taken", type="data", disk="disk1", size="64 MiB", nodes=[11], redundancy=1)
    with socket.create_server((with_database.addresses[11], 0)) as holder:
        port = holder.getsockname()[1]
        run("db_create", db_name="taken", version="18", data_volume_name="Taken", mem_size="256 MiB", nodes=[11],
            num_active_nodes=1, port=port)  # fmt: skip
        answer = with_database.try_run("db_start", db_name="taken")
    assert answer["result_code"] != 0
    assert str(port) in answer["result_desc"]
    assert run("db_state", db_name="taken") == "setup"
    run("db_delete", db_name="taken")
    run("st_volume_delete", vname="Taken")
