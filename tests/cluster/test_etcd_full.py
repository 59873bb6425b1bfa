"""docs/operations.md, "etcd out of space": who is on the way is told, nothing is lost, and it goes on by itself."""

from __future__ import annotations

import contextlib
import threading
import xmlrpc.client
from collections.abc import Iterator
from typing import Any

import pytest

from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdFull
from tests.cluster.documented import blocks
from tests.cluster.harness import Cluster, cluster, until
from tests.servers import ETCD, Etcd, etcd, require
from tests.torture import long

QUOTA = 16 << 20


def fill(server: Etcd) -> None:
    """Have somebody else take all the room: once in keys that are gone, once more in one that stays."""
    client = EtcdClient(EtcdAccess(endpoints=(server.url,)))
    with contextlib.suppress(EtcdFull):
        while True:
            client.put(b"/others/big", b"x" * 1_000_000)
    assert client.alarms() == ["NOSPACE"]
    client.close()


def result(made: Cluster, job_id: str) -> object:
    """Return how a job ended, as the method job_result says."""
    answer: Any = made.client(11).job_result(job_id)
    return answer["result_name"]


def is_stale(made: Cluster) -> bool:
    """Whether the node answers reads, and says that they may be old."""
    with contextlib.suppress(OSError):
        return "result_stale" in made.try_run("group_list")
    return False


@contextlib.contextmanager
def small_etcd() -> Iterator[tuple[Etcd, Cluster]]:
    """Give a cluster of one node, and the etcd with little room that it uses."""
    with (
        etcd("--quota-backend-bytes", str(QUOTA)) as server,
        cluster(
            "CCC_PLAY_WITH_DB=false", "CCC_PLAY_STORE=etcd", f"CCC_PLAY_ETCD_ENDPOINTS={server.url}", nodes=1
        ) as made,
    ):
        yield server, made


@pytest.mark.timeout(200)
def test_a_full_etcd_holds_jobs_up_and_loses_none() -> None:
    """The first caller is told at once that its job is held up, the next ones are refused; reads go on."""
    require(ETCD)
    ((command,),) = blocks("etcd out of space")
    with small_etcd() as (server, made):
        made.run("group_create", groupname="before", groupid=6000)
        fill(server)
        held = made.try_run("group_create", groupname="held", groupid=6001)
        assert (held["result_name"], "held up" in held["result_desc"]) == ("LIMIT_EXCEEDED", True)
        assert "c4 store compact" in held["result_desc"]
        refused = made.try_run("group_create", groupname="refused", groupid=6002)
        assert (refused["result_name"], "held up" in refused["result_desc"]) == ("LIMIT_EXCEEDED", False)
        with pytest.raises(xmlrpc.client.Fault, match="c4 store compact"):
            made.client(11).job_start("group_create", {"params": {"groupname": "refused", "groupid": 6002}})
        assert {"before"} == {"before", "held", "refused"} & set(made.run("group_list"))
        assert made.run("job_history", limit=5)

        assert "etcd takes changes again" in made.c4(*command[1:])
        until(lambda: "held" in made.run("group_list"), "the job that was held up goes on")
        assert result(made, held["result_jobid"]) == "OK"
        made.run("group_create", groupname="after", groupid=6003)
        assert "refused" not in made.run("group_list")


@long
@pytest.mark.timeout(200)
def test_a_cluster_that_starts_while_etcd_is_full() -> None:
    """A lease takes room, too: nobody leads until there is some, reads are answered, and the advice is to make room."""
    require(ETCD)
    ((command,),) = blocks("etcd out of space")
    with small_etcd() as (server, made):
        fill(server)
        made.kill(11)
        # A lease, too, takes room: nobody becomes master, and the order to start waits for one.
        starting = threading.Thread(target=made.start)
        starting.start()
        until(lambda: is_stale(made), "reads are answered without a master")
        told = made.try_run("group_create", groupname="refused", groupid=6002)
        assert (told["result_name"], "c4 store compact" in told["result_desc"]) == ("NO_MASTER", True)
        assert "recover" not in told["result_desc"]
        assert "etcd takes changes again" in made.c4(*command[1:])
        until(lambda: made.try_run("group_create", groupname="again", groupid=6004)["result_code"] == 0, "a master")
        starting.join()
        assert "again" in made.run("group_list")
