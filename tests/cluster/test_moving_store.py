"""docs/operations.md, "Moving between stores": a running cluster moves to etcd and back and loses nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from confd.cluster.certificates import Pair, new_authority, new_member
from confd.store.etcd.access import DEFAULT_PREFIX, EtcdAccess
from confd.store.etcd.client import EtcdClient, prefix_end
from tests.cluster.documented import Block, blocks, with_places
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.test_joining import join
from tests.servers import ETCD, Etcd, etcd, require
from tests.torture import long

USER, PASSWORD, CA_FILE, PASSWORD_FILE = "openconfd", "sesam", "etc/ssl/etcd-ca.crt", "etc/ssl/etcd-password"


@contextlib.contextmanager
def guarded(authority: Pair, place: Path) -> Iterator[Etcd]:
    """Run an etcd with TLS and users, as docs/operations.md has it: ours reads and writes its prefix, nothing else."""
    ca = place / "ca.crt"
    ca.write_bytes(authority.certificate_pem)
    with etcd("--bcrypt-cost=4", tls=new_member(authority, "etcd", ["127.0.0.1"])) as server:
        client, prefix = EtcdClient(EtcdAccess(endpoints=(server.url,), ca=str(ca))), DEFAULT_PREFIX.encode()
        for user in ("root", USER):
            client.user_add(user, PASSWORD)
            client.role_add(user)
            client.user_grant(user, user)
        client.role_grant(USER, prefix, prefix_end(prefix))
        client.auth_enable()
        client.close()
        yield server


def give_files(made: Cluster, authority: Pair) -> None:
    """Put the files that let nodes into etcd on every node, where the document has them."""
    for node in made.addresses:
        (made.root(node) / CA_FILE).write_bytes(authority.certificate_pem)
        (made.root(node) / PASSWORD_FILE).write_text(f"{PASSWORD}\n")


def command_to(server: Etcd) -> list[str]:
    """Return the words after c4 that move a cluster to this etcd: those of the document."""
    _, block = blocks("Moving between stores")
    given: Block = with_places(block, {"https://10.0.0.21:2379": server.url, "https://10.0.0.22:2379": server.url})
    ((program, *words),) = given
    assert program == "c4"
    return words


def kind(made: Cluster, node: int) -> str:
    """Return which store a node's file names."""
    path = made.root(node) / "etc/cluster/store.json"
    return str(json.loads(path.read_text())["kind"]) if path.exists() else "sqlite"


def endpoints(made: Cluster, node: int) -> list[str]:
    """Return where a node's file says that etcd is."""
    told = json.loads((made.root(node) / "etc/cluster/store.json").read_text())["etcd"]
    return [] if told is None else list(told["endpoints"])


def miss_two_moves(made: Cluster, node: int) -> None:
    """Move to the embedded store and into another etcd while a node is away: it comes after, and the cluster moves back."""
    made.kill(node)
    until(lambda: made.run("node_state")[str(node)] != "online", f"the master misses n{node}")
    assert "the store is sqlite now" in made.c4("store", "sqlite", "-t", "1")
    with etcd() as other:
        assert "the store is etcd now" in made.c4("store", "etcd", "-t", "1", "--endpoint", other.url)
        made.start()
        until(lambda: endpoints(made, node) == [other.url], f"n{node} uses the other etcd")
        until(lambda: made.run("node_state")[str(node)] == "online", f"n{node} is there again")
        made.run("group_create", node=node, groupname="in_other_etcd", groupid=6150)
        assert "the store is sqlite now" in made.c4("store", "sqlite", "-t", "1.13")


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
    _, _, ((_, *recover),) = blocks("Loss of the majority")
    assert "n12 is master now" in made.c4(*recover)
    assert "not_in_backup" in made.run("group_list", node=13)
    made.run("group_create", node=11, groupname="after_backup", groupid=6103)


@long
@pytest.mark.timeout(400)
def test_a_cluster_moves_to_etcd_and_back(tmp_path: Path) -> None:
    """With its history, on every node, also one that was away; what goes wrong before the switch changes nothing."""
    require(ETCD)
    authority = new_authority("of etcd")
    with guarded(authority, tmp_path) as server, cluster("CCC_PLAY_WITH_DB=false") as made:
        for number in range(5):
            made.run("group_create", node=11 + number % 3, groupname=f"before{number}", groupid=6000 + number)
        refused = made.try_run("store_move", kind="etcd", endpoints=["http://127.0.0.1:1"])
        assert "cannot use this store" in refused["result_desc"]
        assert "give its endpoints" in made.try_run("store_move", kind="etcd", user="ann")["result_desc"]

        move = command_to(server)
        assert "n11 cannot use this store" in made.c4(*move, check=False)
        give_files(made, authority)

        made.kill(13)
        until(lambda: made.run("node_state")["13"] != "online", "the master misses n13")
        known = history(made, 11)
        moved = made.c4(*move)
        assert "the store is etcd now" in moved
        assert "sha256" in moved
        until(lambda: [kind(made, node) for node in (11, 12)] == ["etcd", "etcd"], "both live nodes use etcd")
        made.run("group_create", node=12, groupname="in_etcd", groupid=6100)
        made.start()
        until(lambda: kind(made, 13) == "etcd", "the node that was away uses etcd")
        made.run("group_create", node=13, groupname="in_etcd_too", groupid=6101)
        assert [row for row in history(made, 13) if row in known] == known

        refused = made.c4("store", "compact", "-t", "1", check=False)
        assert "have its administrator do it (etcdctl compact" in refused, refused

        node = join(made, 14)
        assert (made.root(node) / PASSWORD_FILE).read_text() == f"{PASSWORD}\n"
        made.run("group_create", node, groupname="joined", groupid=6105)
        restore_old_backup(made, server)

        miss_two_moves(made, 13)
        until(lambda: {kind(made, node) for node in made.addresses} == {"sqlite"}, "all nodes use the embedded store")
        made.run("group_create", node=12, groupname="after", groupid=6200)
        made.wait_same()
        assert [row for row in history(made, 12) if row in known] == known
        groups = made.run("group_list", node=13)
        assert {"before0", "before4", "in_etcd", "in_etcd_too", "in_other_etcd", "after"} <= set(groups)
        server.stop()
        made.run("group_create", node=11, groupname="without", groupid=6201)
