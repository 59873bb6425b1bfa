"""A node's etcd server: it outlives who started it, is never there twice, and lets only its own cluster in."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from confd.cluster.certificates import new_authority, new_member, new_nameless_client
from confd.cluster.identity import NodeFiles, write_private
from confd.model.errors import NodeError, Unsupported
from confd.services.etcd import server as module
from confd.services.etcd.access import secure
from confd.services.etcd.binary import find_binary
from confd.services.etcd.minder import Minder, server_at
from confd.services.etcd.plan import (
    CERTIFICATE,
    DATA,
    KEY,
    LOG,
    PASSWORD_FILE,
    MemberPlan,
    nearest_first,
    own_choice,
    peer_url,
    save_choice,
    save_plan,
)
from confd.services.etcd.process import last_words, server_of
from confd.services.etcd.server import EtcdServer
from confd.store.choice import load_choice
from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdDenied, EtcdError
from tests.servers import ETCD, require

PATIENCE = 30.0


def until(promise: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not promise():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def node(tmp_path: Path, free_address: str) -> Iterator[NodeFiles]:
    """Give a node with certificates and the plan of a cluster of one member."""
    require(ETCD)
    files, authority = NodeFiles(tmp_path / "n11"), new_authority("test")
    member, client = new_member(authority, "U11", [free_address]), new_nameless_client(authority)
    for path, content in (
        (files.ca, authority.certificate_pem), (files.certificate, member.certificate_pem), (files.key, member.key_pem),
        (files.root / CERTIFICATE, client.certificate_pem), (files.root / KEY, client.key_pem),
        (files.root / PASSWORD_FILE, b"secret\n"),
    ):  # fmt: skip
        write_private(path, content)
    save_choice(files.root, own_choice(files, free_address, [free_address], 2379))
    yield files
    server_at(files.root).leave()


def plan(files: NodeFiles, token: str = "test") -> MemberPlan:
    """Return the plan of the only member."""
    choice = load_choice(files.root).etcd
    assert choice is not None
    address = choice.endpoints[0].removeprefix("https://").removesuffix(":2379")
    url = peer_url(address, 2379)
    return MemberPlan(binary=find_binary(), name="n11", address=address, initial={"n11": url}, token=token)


def client_of(files: NodeFiles, **changes: object) -> EtcdClient:
    """Return a client as the node's daemon has it."""
    choice = load_choice(files.root).etcd
    assert choice is not None
    fields = {field: getattr(choice, field) for field in choice.__struct_fields__} | changes
    return EtcdClient(EtcdAccess(**fields))


def answers(client: EtcdClient) -> bool:
    """Whether etcd answers this client."""
    try:
        client.put(b"k", b"v", timeout=1.0)
    except EtcdError:
        return False
    return True


def test_life_of_a_member(node: NodeFiles) -> None:
    """Started by its plan, found again by the next daemon, started again after it died, gone with all it kept."""
    save_plan(node.root, plan(node))
    minder = Minder(node.root)
    minder.start()
    client = client_of(node)
    until(lambda: answers(client))
    first = server_of(node.root)
    assert first
    minder.close()
    # The next daemon: it knows nothing of the process but where it works.
    again = EtcdServer(node)
    assert again.look()
    assert server_of(node.root) == first
    os.kill(first, signal.SIGKILL)
    until(lambda: again.look() and server_of(node.root) not in (None, first))
    until(lambda: answers(client))
    assert client.get(b"k") is not None
    again.leave()
    assert server_of(node.root) is None
    assert not again.look()
    server_at(node.root).stop()
    assert not (node.root / DATA).exists()


def test_only_the_cluster_gets_in(node: NodeFiles) -> None:
    """With certificate, user and password; files are the owner's alone."""
    save_plan(node.root, plan(node))
    server = server_at(node.root)
    server.look()
    client = client_of(node)
    until(lambda: answers(client))
    for _ in range(2):
        secure(client, "secret")
    assert answers(client)
    write_private(node.root / "wrong", b"guess\n")
    with pytest.raises(EtcdDenied):
        client_of(node, password_file=str(node.root / "wrong")).get(b"k")
    with pytest.raises(EtcdDenied):
        client_of(node, user=None).get(b"k")
    with pytest.raises(EtcdError):
        client_of(node, certificate=None, key=None).get(b"k", timeout=1.0)
    for path in (node.root / LOG, node.root / PASSWORD_FILE, node.root / KEY):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((node.root / DATA).stat().st_mode) == 0o700


def test_the_last_one_goes_on_alone(node: NodeFiles) -> None:
    """A member of a cluster without majority becomes the only member of one that has all it knew."""
    lost = {"n12": "https://127.0.0.1:1", "n13": "https://127.0.0.1:2"}
    server = server_at(node.root)
    save_plan(node.root, plan(node))
    server.look()
    client = client_of(node)
    until(lambda: answers(client))
    client.member_add([lost["n12"]])
    until(lambda: not answers(client))
    server.force_new_cluster()
    until(lambda: answers(client))
    assert [row.name for row in client.member_list()] == ["n11"]
    server.stop()
    server.look()
    until(lambda: answers(client))
    assert client.get(b"k") is not None


def test_a_member_of_another_cluster(node: NodeFiles) -> None:
    """A new plan means a new member: what the old one kept goes. The same plan again changes nothing."""
    server = server_at(node.root)
    server.join(plan(node))
    client = client_of(node)
    until(lambda: answers(client))
    first = server_of(node.root)
    server.join(plan(node))
    assert server_of(node.root) == first
    server.join(plan(node, "other"))
    until(lambda: answers(client))
    assert server_of(node.root) != first
    assert client.range(b"\0", b"\xff")[0][0].created > 0


def test_a_server_that_does_not_stay(node: NodeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again at growing intervals; its last words are there to be read."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    wrong = MemberPlan(
        binary=find_binary(), name="n11", address="127.0.0.1", initial={"x": "https://127.0.0.1:1"}, token="t"
    )
    save_plan(node.root, wrong)
    server = server_at(node.root)
    until(lambda: (server.look(), server._failures > 1)[1])
    assert server._try_at > 0
    assert "n11" in last_words(node.root)


def test_no_member_to_recover(node: NodeFiles) -> None:
    """A node without a member says so."""
    with pytest.raises(NodeError, match="runs no member"):
        server_at(node.root).force_new_cluster()


def test_programs_that_are_no_etcd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, something else, too old: it is said what is needed."""
    with pytest.raises(Unsupported, match="does not run"):
        find_binary(str(tmp_path / "missing"))
    program = tmp_path / "etcd"
    for output, text in (("hello", "is not etcd"), ("etcd Version: 3.3.25", "3.4 or newer")):
        program.write_text(f"#!/bin/sh\necho '{output}'\n")
        program.chmod(0o755)
        with pytest.raises(Unsupported, match=text):
            find_binary(str(program))
    monkeypatch.setattr("confd.services.etcd.binary._PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(Unsupported, match="apt-get install etcd-server"):
        find_binary()


def test_each_node_asks_its_own_member_first() -> None:
    """The others follow in a turn that differs from node to node."""
    urls = [f"https://10.0.0.{n}:2379" for n in (11, 12, 13)]
    assert nearest_first(urls, "10.0.0.12", 2379) == (urls[1], urls[2], urls[0])
    assert nearest_first(urls, "10.0.0.14", 2379) == tuple(urls)
