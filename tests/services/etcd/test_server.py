"""A node's etcd server: it outlives who started it, is never there twice, and lets only its own cluster in."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confd.cluster.certificates import new_member
from confd.cluster.host import Host, reports
from confd.cluster.identity import NodeFiles, write_private
from confd.exaconf import Conf, Node
from confd.model.errors import NodeError, Unsupported
from confd.model.secret import Vault
from confd.model.states import NodeState
from confd.services.etcd import server as module
from confd.services.etcd.access import secure
from confd.services.etcd.binary import find_binary
from confd.services.etcd.founding import found_alone
from confd.services.etcd.members import EtcdMembers, Members
from confd.services.etcd.minder import Minder, server_at
from confd.services.etcd.passwords import change_password, give_passwords, new_password, passwords
from confd.services.etcd.plan import (
    DATA,
    KEY,
    LOG,
    PASSWORD_FILE,
    USER,
    MemberPlan,
    load_passwords,
    nearest_first,
    peer_url,
    save_choice,
    save_plan,
    votes,
)
from confd.services.etcd.process import last_words, server_of
from confd.services.etcd.regaining import regain
from confd.services.etcd.renewing import renew_password
from confd.services.etcd.server import EtcdServer
from confd.store.choice import load_choice
from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdDenied, EtcdError
from tests.services.etcd.conftest import AUTHORITY

PATIENCE = 30.0


def until(promise: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not promise():
        assert time.monotonic() < deadline
        time.sleep(0.02)


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


def begun(files: NodeFiles) -> EtcdClient:
    """Run the node's member, which lets in only who has the password; a client that does."""
    save_plan(files.root, plan(files))
    server_at(files.root).look()
    client = client_of(files)
    until(lambda: answers(client))
    secure(client, "secret")
    return client


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


def test_a_password_is_changed_under_way(node: NodeFiles) -> None:
    """Clients that know both go on through it without an error; who knows only the former is shut out at once."""
    client = begun(node)
    write_private(node.root / "former", b"secret\n")
    removed, troubles, ended = client_of(node, password_file=str(node.root / "former")), [], threading.Event()
    assert answers(removed)

    def write() -> None:
        mine, number = client_of(node), 0
        while not ended.is_set():
            number += 1
            try:
                mine.put(b"w", str(number).encode())
            except EtcdError as error:
                troubles.append(error)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    host = Host(11, "", node.root, node.root / "run", None, (), lambda: Conf(0, {}))
    write_private(node.data_key, Vault.new_key())
    try:
        for _ in range(10):
            give_passwords.function(host, new_password.function(host))
            change_password.function(host)
    finally:
        ended.set()
        for writer in writers:
            writer.join()
    assert troubles == []
    assert load_passwords(node.root)[0] != "secret"
    assert len(load_passwords(node.root)) == 8
    for former in (removed, client_of(node, password_file=str(node.root / "former"))):
        with pytest.raises(EtcdDenied):
            former.get(b"w")
    assert answers(client)


class Pair:
    """The master n11 as services see it, and n12; operations run for real, each below the root of its node."""

    node = 11

    @property
    def cluster(self) -> Pair:
        """Return itself: the view of the cluster is all that is asked of a master."""
        return self

    def __init__(self, address: str, n11: NodeFiles, n12: NodeFiles) -> None:
        nodes = [
            Node(id=11, name="n11", private_net=f"{address}/8"),
            Node(id=12, name="n12", private_net="127.0.0.2/8"),
        ]
        conf = Conf(1, {one.key: one for one in nodes})
        self.states = dict.fromkeys((11, 12), NodeState.ONLINE)
        self.conf = lambda: conf
        self.hosts = {
            one: Host(one, "", files.root, files.root / "run", None, (), self.conf)
            for one, files in ((11, n11), (12, n12))
        }

    def node_states(self) -> dict[int, NodeState]:
        """Return the states that the test has set."""
        return self.states

    def record(self, key: str) -> object:
        """Say that there are members of etcd."""
        return {"key": key}

    def status(self, node: int, service: str) -> Any:
        """Return what a node says of itself at this moment."""
        return reports(self.hosts[node]).get(service)

    def call(self, command: Any, timeout: float = 60.0) -> Any:
        """Run a command where it belongs; nobody calls a node that is not there."""
        assert self.states[command.node] is NodeState.ONLINE
        return command.operation.result(command.operation.run(self.hosts[command.node], command.arguments))


def test_a_node_that_nobody_saw_away(node: NodeFiles, tmp_path: Path) -> None:
    """It was away while the password was renewed only, between two looks of the service, and gets in all the same."""
    begun(node)
    write_private(node.data_key, Vault.new_key())
    other = NodeFiles(tmp_path / "n12")
    write_private(other.data_key, node.data_key.read_bytes())
    write_private(other.root / PASSWORD_FILE, b"secret\n")
    save_choice(other.root, load_choice(node.root))
    pair: Any = Pair(plan(node).address, node, other)
    service, members = EtcdMembers(pair), Members(binary="", port=2379, token="test")
    service.work(members)
    late = client_of(node, password_file=str(other.root / PASSWORD_FILE))
    until(lambda: answers(late))
    pair.states[12] = NodeState.OFFLINE
    renew_password.function(pair)
    with pytest.raises(EtcdDenied):
        late.get(b"w")
    pair.states[12] = NodeState.ONLINE
    service.work(members)
    late.put(b"k", b"v")
    until(lambda: answers(late))
    written = (other.root / PASSWORD_FILE).stat().st_mtime_ns
    service.work(members)
    assert (other.root / PASSWORD_FILE).stat().st_mtime_ns == written


def test_who_votes(node: NodeFiles) -> None:
    """Who runs a member and was told of its endpoint: of those that learn nobody is told."""
    assert not votes(node.root)
    save_plan(node.root, plan(node))
    assert votes(node.root)
    choice = load_choice(node.root)
    assert choice.etcd is not None
    others = msgspec.structs.replace(choice.etcd, endpoints=("https://127.0.0.2:2379",))
    save_choice(node.root, msgspec.structs.replace(choice, etcd=others))
    assert not votes(node.root)


def test_a_change_that_broke_off(node: NodeFiles, tmp_path: Path) -> None:
    """Another master makes another password: nodes that know of the first try get in before, between and after."""
    save_plan(node.root, plan(node))
    server_at(node.root).look()
    write_private(node.data_key, Vault.new_key())
    until(lambda: answers(client_of(node)))
    secure(client_of(node), "secret")
    other = NodeFiles(tmp_path / "n12")
    shutil.copytree(node.root / "etc", other.root / "etc")
    save_choice(other.root, msgspec.structs.replace(load_choice(node.root), etcd=access_of(node, other)))
    first, second = (Host(n, "", files.root, files.root, None, (), lambda: Conf(0, {})) for n, files in
                     ((11, node), (12, other)))  # fmt: skip
    # The first master dies before etcd takes the password, and only it knows it.
    give_passwords.function(first, new_password.function(first))
    assert all(answers(client_of(files)) for files in (node, other))
    sealed = new_password.function(second)
    give_passwords.function(second, sealed)
    change_password.function(second)
    assert answers(client_of(other))
    assert not answers(client_of(node))
    # It returns.
    give_passwords.function(first, passwords.function(second))
    assert answers(client_of(node))
    assert load_passwords(node.root)[0] == load_passwords(other.root)[0]


def test_the_owner_of_the_only_member_gets_in_without_its_password(node: NodeFiles) -> None:
    """All it holds is there; neither the password that etcd had nor an older one is good any more."""
    save_plan(node.root, plan(node))
    server_at(node.root).look()
    client = client_of(node)
    until(lambda: answers(client))
    secure(client, "newer")
    with pytest.raises(EtcdDenied):
        client.get(b"k")
    regain(node.root)
    until(lambda: answers(client_of(node)))
    got = client_of(node).get(b"k")
    assert got
    assert got.value == b"v"
    assert not list((node.root / "metadata").glob("*.key"))
    for number, former in enumerate((b"secret", b"newer")):
        path = node.root / f"former{number}"
        write_private(path, former)
        with pytest.raises(EtcdDenied):
            client_of(node, password_file=str(path)).get(b"k")


def test_an_etcd_that_is_begun_anew_has_a_new_password(node: NodeFiles, free_address: str) -> None:
    """Who was removed while the survivor's daemon was down knows the one that the survivor knows."""
    write_private(node.root / "former", b"secret\n")
    found_alone(node.root, "n11", free_address, None)
    minder = Minder(node.root)
    minder.start()
    try:
        until(
            lambda: answers(client_of(node)) and not answers(client_of(node, password_file=str(node.root / "former")))
        )
    finally:
        minder.close()


def access_of(files: NodeFiles, other: NodeFiles) -> EtcdAccess:
    """Return what lets one node in, with the password file of another."""
    access = load_choice(files.root).etcd
    assert access is not None
    return msgspec.structs.replace(access, password_file=str(other.root / PASSWORD_FILE))


def test_a_certificate_that_names_the_user_needs_the_password(node: NodeFiles, tmp_path: Path) -> None:
    """Whoever has the key of the authority can make one, as from the disk of a node that was removed."""
    client = begun(node)
    forged = new_member(AUTHORITY, USER, [])
    for name, content in (
        ("crt", forged.certificate_pem), ("key", forged.key_pem), ("get", b"\0\0\0\0\x03\x0a\x01k"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
    asked = subprocess.run(
        ["curl", "--silent", "--insecure", "--http2", "--cert", tmp_path / "crt", "--key", tmp_path / "key",
         "--header", "content-type: application/grpc", "--header", "te: trailers", "--dump-header", "-",
         "--data-binary", f"@{tmp_path / 'get'}", f"{client.gateway.endpoints[0]}/etcdserverpb.KV/Range"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert b"user name is empty" in asked.stdout
