"""docs/operations.md, "Moving between stores": a running cluster moves to etcd and back and loses nothing."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.cluster.harness import Cluster, cluster, until
from tests.servers import ETCD, Etcd, etcd, require


def kind(made: Cluster, node: int) -> str:
    """Return which store a node's file names."""
    path = made.root(node) / "etc/cluster/store.json"
    return str(json.loads(path.read_text())["kind"]) if path.exists() else "sqlite"


def history(made: Cluster, node: int) -> list[tuple[str, str]]:
    """Return the modify jobs of the history."""
    rows = made.run("job_history", node=node, limit=1000)
    return [(row["job_id"], row["job_name"]) for row in rows if row["intent"] == "modify"]


def restore_old_backup(made: Cluster, server: Etcd) -> None:
    """Have etcd go back: nobody leads until a node's journal puts it right, and nothing is missing then."""
    data, backup = server.place / "data", server.place / "backup"
    server.stop()
    shutil.copytree(data, backup)
    server.start()
    made.run("group_create", node=12, groupname="not_in_backup", groupid=6102)
    made.wait_same()
    server.stop()
    shutil.rmtree(data)
    backup.rename(data)
    server.start()
    until(lambda: "an old backup of etcd was restored" in made.logs(), "a node notices")
    assert "n12 is master now" in made.c4("store", "recover", "-t", "1.12", "--yes-others-are-down")
    assert "not_in_backup" in made.run("group_list", node=13)
    made.run("group_create", node=11, groupname="after_backup", groupid=6103)


@pytest.mark.timeout(300)
def test_a_cluster_moves_to_etcd_and_back() -> None:
    """With its history, on every node, also one that was away; what goes wrong before the switch changes nothing."""
    require(ETCD)
    with etcd() as server, cluster("CCC_PLAY_WITH_DB=false") as made:
        for number in range(5):
            made.run("group_create", node=11 + number % 3, groupname=f"before{number}", groupid=6000 + number)
        refused = made.try_run("store_move", kind="etcd", endpoints=["http://127.0.0.1:1"])
        assert "cannot use this store" in refused["result_desc"]
        assert "give its endpoints" in made.try_run("store_move", kind="etcd", user="ann")["result_desc"]

        made.kill(13)
        until(lambda: made.run("node_state")["13"] != "online", "the master misses n13")
        known = history(made, 11)
        moved = made.c4("store", "etcd", "-t", "1.12", "--endpoint", server.url)
        assert "the store is etcd now" in moved
        assert "sha256" in moved
        until(lambda: [kind(made, node) for node in (11, 12)] == ["etcd", "etcd"], "both live nodes use etcd")
        made.run("group_create", node=12, groupname="in_etcd", groupid=6100)
        made.start()
        until(lambda: kind(made, 13) == "etcd", "the node that was away uses etcd")
        made.run("group_create", node=13, groupname="in_etcd_too", groupid=6101)
        assert [row for row in history(made, 13) if row in known] == known

        restore_old_backup(made, server)

        assert "the store is sqlite now" in made.c4("store", "sqlite", "-t", "1.13")
        until(lambda: {kind(made, node) for node in made.addresses} == {"sqlite"}, "all nodes use the embedded store")
        made.run("group_create", node=12, groupname="after", groupid=6200)
        made.wait_same()
        assert [row for row in history(made, 12) if row in known] == known
        groups = made.run("group_list", node=13)
        assert {"before0", "before4", "in_etcd", "in_etcd_too", "after"} <= set(groups)
        server.stop()
        made.run("group_create", node=11, groupname="without", groupid=6201)
