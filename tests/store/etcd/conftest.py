"""One etcd for all tests of a worker; each test has a prefix of its own."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest

from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdFull
from tests.servers import ETCD, Etcd, etcd, require

_prefixes = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Etcd]:
    """Give a running etcd; tests leave it running."""
    require(ETCD)
    with etcd() as running:
        yield running


@pytest.fixture
def client(server: Etcd) -> Iterator[EtcdClient]:
    """Give a client of it."""
    made = EtcdClient(EtcdAccess(endpoints=(server.url,)))
    yield made
    made.close()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> bytes:
    """Give a prefix that no other test uses."""
    return request.node.name.encode() + b"/"


@contextlib.contextmanager
def full_etcd(key: bytes) -> Iterator[tuple[Etcd, EtcdClient]]:
    """Run an etcd without room: one key takes it all. It comes with a client."""
    require(ETCD)
    with etcd("--quota-backend-bytes", "4194304") as running:
        client = EtcdClient(EtcdAccess(endpoints=(running.url,)))
        with contextlib.suppress(EtcdFull):
            while True:
                client.put(key, b"x" * 500_000)
        yield running, client
        client.close()


def fresh_prefix() -> str:
    """Return a prefix that nobody else uses."""
    return f"/t{next(_prefixes)}/"
