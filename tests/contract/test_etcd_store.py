"""The distributed store keeps the promises of the Store protocol, with a real etcd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.authority import Authority
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.keys import Keys
from confd.store.etcd.store import EtcdStore
from confd.store.protocol import Store
from tests.contract.store import NOW, StoreContract
from tests.servers import ETCD, etcd, require


class TestEtcdStore(StoreContract):
    """Stores of one test are nodes of one cluster: they share what etcd holds, each has a file of its own."""

    program: ClassVar[str] = ""
    most_batches: ClassVar[int] = 8  # a transaction of etcd takes 128 steps
    large_records: ClassVar[int] = 3
    url: ClassVar[str] = ""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def server(cls) -> Iterator[None]:
        """Run one etcd for all tests."""
        require(ETCD)
        with etcd() as running:
            cls.url = running.url
            cls.program = (
                "from confd.store.etcd.access import EtcdAccess\n"
                "from confd.store.etcd.authority import Authority\n"
                "from confd.store.etcd.client import EtcdClient\n"
                "from confd.store.etcd.keys import Keys\n"
                "from confd.store.etcd.store import EtcdStore\n"
                f"client = EtcdClient(EtcdAccess(endpoints=({running.url!r},)))\n"
                "store = EtcdStore(place, Authority(client, Keys(f'/{place.parent}/')))"
            )
            yield

    def open(self, place: Path, clock: Callable[[], float] = lambda: NOW) -> Store:
        """Open the file at a place, over the keys of its directory."""
        client = EtcdClient(EtcdAccess(endpoints=(self.url,)))
        store: Store = EtcdStore(place, Authority(client, Keys(f"/{place.parent}/")), clock=clock)
        return store
