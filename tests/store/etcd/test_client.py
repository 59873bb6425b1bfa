"""The client of etcd against a real one: what it gives back, and what it says when something is wrong."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from confd.store.etcd import client as steps
from confd.store.etcd.access import Endpoint, EtcdAccess
from confd.store.etcd.client import EtcdClient, absent, modified_at, prefix_end, value_is
from confd.store.etcd.errors import (
    EtcdDenied,
    EtcdFull,
    EtcdNotFound,
    EtcdRefused,
    EtcdUncertain,
    EtcdUnreachable,
    error_from,
)
from confd.store.etcd.gateway import return_to_first
from tests.servers import ETCD, Etcd, etcd, free_address, require


def reach(*urls: str, **more: str) -> EtcdClient:
    """Return a client of these endpoints."""
    return EtcdClient(EtcdAccess(endpoints=urls, **more))


def test_keys_come_back_as_they_were_put(client: EtcdClient, key: bytes) -> None:
    """Any bytes; ranges are in order and end where they should."""
    client.put(key + b"b", bytes(range(256)))
    client.put(key + b"a", b"")
    client.put(key[:-1] + b"0", b"behind")
    found, _ = client.range(key, prefix_end(key))
    assert [(one.key, one.value) for one in found] == [(key + b"a", b""), (key + b"b", bytes(range(256)))]
    assert client.delete(key, prefix_end(key)) == 2
    assert client.get(key + b"a") is None


def test_the_end_of_a_prefix_is_right_behind_it() -> None:
    """Also behind bytes that cannot be counted up."""
    assert prefix_end(b"a/") == b"a0"
    assert prefix_end(b"a\xff") == b"b"
    assert prefix_end(b"\xff") == b"\0"


def test_a_transaction_does_one_branch_as_a_whole(client: EtcdClient, key: bytes) -> None:
    """What it compares decides; the other branch tells what is there."""
    first = client.txn([absent(key)], [steps.put(key, b"1")], [steps.read(key)])
    second = client.txn([absent(key)], [steps.put(key, b"2")], [steps.read(key)])
    assert (first.held, second.held, second.reads[0][0].value) == (True, False, b"1")
    assert client.txn([modified_at(key, first.revision), value_is(key, b"1")], [steps.delete(key)]).held
    assert client.get(key) is None


def test_a_lease_takes_its_keys_with_it(client: EtcdClient, key: bytes) -> None:
    """It can be renewed while it lives; afterwards there is nothing to renew."""
    lease, ttl = client.lease_grant(30)
    client.put(key, b"1", lease)
    assert 0 < client.lease_keepalive(lease) <= ttl
    client.lease_revoke(lease)
    assert (client.get(key), client.lease_keepalive(lease)) == (None, 0)
    with pytest.raises(EtcdNotFound):
        client.lease_revoke(lease)


def test_a_watch_gives_changes_as_they_happen(client: EtcdClient, key: bytes) -> None:
    """From a revision of the past on, in order, deletions too; closing the client ends it."""
    start = client.put(key + b"x", b"1")
    seen: list[tuple[bytes | None, int]] = []
    ended = threading.Event()
    changed = threading.Semaphore(0)

    def follow() -> None:
        with pytest.raises(EtcdUnreachable):
            for events, _ in own.watch(key, prefix_end(key), start):
                for event in events:
                    seen.append((event.value, event.revision))
                    changed.release()
        ended.set()

    own = EtcdClient(client.gateway.access)
    thread = threading.Thread(target=follow)
    thread.start()
    assert changed.acquire(timeout=30)
    second = client.put(key + b"x", b"2")
    client.delete(key + b"x")
    assert changed.acquire(timeout=30)
    assert changed.acquire(timeout=30)
    own.close()
    thread.join(30)
    assert ended.is_set()
    assert seen == [(b"1", start), (b"2", second), (None, second + 1)]


def test_members_and_status_are_told(client: EtcdClient, server: Etcd) -> None:
    """One member, that leads, without an alarm."""
    (member,) = client.member_list()
    status = client.status(0)
    assert (member.name, member.clients, status.leader, status.errors) == ("m1", (server.url,), member.id, ())
    assert client.alarms() == []


def test_another_endpoint_answers_when_one_does_not(server: Etcd, key: bytes) -> None:
    """Changes too, as nothing was sent to the dead one."""
    client = reach(f"http://{free_address()}", server.url)
    client.put(key, b"1")
    assert client.get(key) is not None
    client.close()


def test_the_first_endpoint_is_asked_again_once_it_answers(key: bytes) -> None:
    """Not before, and only on request: a call does not try it by itself."""
    require(ETCD)
    with etcd() as first, etcd() as other:
        access = EtcdAccess(endpoints=(first.url, other.url))
        client = EtcdClient(access)
        first.stop()
        client.put(key, b"1")
        assert client.gateway.preferred == Endpoint.of(other.url)
        return_to_first(access)
        assert client.gateway.preferred == Endpoint.of(other.url)
        first.start()
        assert client.get(key) is not None
        return_to_first(access)
        assert client.gateway.preferred == Endpoint.of(first.url)
        assert client.get(key) is None
        client.close()


def test_nobody_answers(key: bytes) -> None:
    """The error names every endpoint; nothing happened."""
    url = f"http://{free_address()}"
    client = reach(url)
    with pytest.raises(EtcdUnreachable, match=url):
        client.put(key, b"1", timeout=0.3)


@pytest.fixture
def own() -> Iterator[Etcd]:
    """Give an etcd of the test's own, with little space."""
    with etcd("--quota-backend-bytes", "4194304") as running:
        yield running


def test_outages_space_and_users(own: Etcd, tmp_path: Path) -> None:
    """What is not known is told apart from what did not happen; each error says what is wrong."""
    client = reach(own.url)
    client.put(b"k", b"1")
    own.signal(signal.SIGSTOP)
    with pytest.raises(EtcdUncertain):
        client.put(b"k", b"2", timeout=0.3)
    with pytest.raises(EtcdUnreachable):
        client.get(b"k", timeout=0.3)
    own.signal(signal.SIGCONT)
    assert client.get(b"k") is not None
    own.stop()
    own.start()
    assert client.get(b"k") is not None

    with pytest.raises(EtcdFull, match="alarm disarm"):
        for number in range(20):
            client.put(b"big%d" % number, b"x" * 500_000)
    assert client.alarms() == ["NOSPACE"]
    client.delete(b"big", b"bih")
    client.compact(client.range(b"k")[1])
    client.defragment(0)
    client.disarm()
    client.put(b"k", b"3")

    (tmp_path / "password").write_text("sesam\n")
    known = reach(own.url, user="root", password_file=str(tmp_path / "password"))
    assert known.get(b"k") is not None
    client.user_add("root", "sesam")
    client.role_add("root")
    client.user_grant("root", "root")
    client.auth_enable()
    with pytest.raises(EtcdDenied, match="check user and password"):
        client.get(b"k")
    assert known.get(b"k") is not None
    own.stop()
    own.start()
    assert known.get(b"k") is not None
    (tmp_path / "password").write_text("wrong\n")
    for access in ({"password_file": str(tmp_path / "password")}, {"password_file": str(tmp_path / "none")}):
        with pytest.raises(EtcdDenied):
            reach(own.url, user="root", **access).get(b"k")


def test_answers_of_etcd_say_what_is_known() -> None:
    """Of the outcome, by code and words."""
    assert isinstance(error_from(8, "etcdserver: mvcc: database space exceeded"), EtcdFull)
    assert isinstance(error_from(14, "etcdserver: no leader"), EtcdUnreachable)
    assert isinstance(error_from(14, "etcdserver: request timed out"), EtcdUncertain)
    assert isinstance(error_from(14, "etcdserver: leader changed"), EtcdUncertain)
    assert isinstance(error_from(7, "etcdserver: permission denied"), EtcdDenied)
    assert isinstance(error_from(5, "etcdserver: requested lease not found"), EtcdNotFound)
    assert isinstance(error_from(3, "etcdserver: duplicate key given in txn request"), EtcdRefused)


def test_endpoints_are_read() -> None:
    """With and without scheme and port; anything else is refused with an example."""
    assert Endpoint.of("https://n11:23790") == Endpoint("n11", 23790, True)
    assert Endpoint.of("10.0.0.1") == Endpoint("10.0.0.1", 2379, False)
    for wrong in ("ftp://n11", "http://", "http://n11:x", "http://n11/v3"):
        with pytest.raises(ValueError, match="give one like"):
            Endpoint.of(wrong)


def test_missing_tls_files_are_named(tmp_path: Path) -> None:
    """At once, not at the first call."""
    with pytest.raises(EtcdDenied, match=r"TLS files.*ca\.crt"):
        reach("https://127.0.0.1:1", ca=str(tmp_path / "ca.crt"))
