"""docs/operations.md, "Moving between stores": a running cluster moves to etcd and back and loses nothing."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.harness import Cluster, cluster, until
from tests.servers import ETCD, etcd, require


def kind(made: Cluster, node: int) -> str:
    """Return which store a node's file names."""
    path = made.root(node) / "etc/cluster/store.json"
    return str(json.loads(path.read_text())["kind"]) if path.exists() else "sqlite"


def wait_jobs(made: Cluster, job_id: str, node: int) -> dict[str, Any]:
    """Wait for a job across the restart of every daemon; its result."""

    def result() -> Any:
        try:
            client: Any = made.client(node)
            return client.job_result(job_id) if client.job_wait(job_id) else None
        except Exception:
            return None

    answer = until(result, "the job ended")
    assert isinstance(answer, dict)
    return answer


def history(made: Cluster, node: int) -> list[tuple[str, str]]:
    """Return the modify jobs of the history."""
    rows = made.run("job_history", node=node, limit=1000)
    return [(row["job_id"], row["job_name"]) for row in rows if row["intent"] == "modify"]


def test_a_cluster_moves_to_etcd_and_back() -> None:
    """With its history, on every node, also one that was away; what goes wrong before the switch changes nothing."""
    require(ETCD)
    with etcd() as server, cluster("CCC_PLAY_WITH_DB=false") as made:
        for number in range(5):
            made.run("group_create", node=11 + number % 3, groupname=f"before{number}", groupid=6000 + number)
        refused = made.try_run("store_move", kind="etcd", endpoints=["http://127.0.0.1:1"])
        assert "cannot use this store" in refused["result_desc"]
        assert "endpoints" in made.try_run("store_move", kind="etcd")["result_desc"]

        made.kill(13)
        until(lambda: made.run("node_state")["13"] != "online", "the master misses n13")
        known = history(made, 11)
        client: Any = made.client(12)
        job = client.job_start("store_move", {"params": {"kind": "etcd", "endpoints": [server.url]}})
        moved = wait_jobs(made, job, 12)
        assert moved["result_code"] == 0, moved
        assert "sha256" in moved["result_output"]
        until(lambda: [kind(made, node) for node in (11, 12)] == ["etcd", "etcd"], "both live nodes use etcd")
        made.run("group_create", node=12, groupname="in_etcd", groupid=6100)
        made.start()
        until(lambda: kind(made, 13) == "etcd", "the node that was away uses etcd")
        made.run("group_create", node=13, groupname="in_etcd_too", groupid=6101)
        assert [row for row in history(made, 13) if row in known] == known

        client = made.client(13)
        job = client.job_start("store_move", {"params": {"kind": "sqlite"}})
        back = wait_jobs(made, job, 13)
        assert back["result_code"] == 0, back
        until(lambda: {kind(made, node) for node in made.addresses} == {"sqlite"}, "all nodes use the embedded store")
        made.run("group_create", node=12, groupname="after", groupid=6200)
        made.wait_same()
        assert [row for row in history(made, 12) if row in known] == known
        groups = made.run("group_list", node=13)
        assert {"before0", "before4", "in_etcd", "in_etcd_too", "after"} <= set(groups)
        server.stop()
        made.run("group_create", node=11, groupname="without", groupid=6201)
