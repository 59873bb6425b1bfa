"""A node's journal is brought up to etcd's head from the nearest source that has what it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confd.cluster.leading.tail import Tail
from confd.daemon.catching_up import catch_up
from confd.exaconf import Conf, Global, Node, Section
from confd.model.errors import NodeOffline
from confd.store.etcd.state import state_of
from confd.store.etcd.store import EtcdStore, WentBack
from confd.store.protocol import Kind, Position, Record
from confd.store.sqlite import SqliteStore
from tests.servers import Etcd
from tests.store.etcd.conftest import server  # noqa: F401 - a fixture
from tests.store.etcd.test_store import Nodes, numbers, some_jobs

SECTIONS: list[Section] = [
    Global(cluster_name="test"), *(Node(n, name=f"n{n}", private_net=f"127.0.0.{n}/8") for n in (11, 12, 13))
]  # fmt: skip
CONF = Conf(1, {section.key: section for section in SECTIONS})


class Others:
    """The other nodes, as far as their stores are open; it carries calls to them."""

    def __init__(self) -> None:
        self.stores: dict[str, EtcdStore] = {}

    async def call(self, address: str, port: int, method: str, body: dict[str, Any], timeout: float) -> Any:
        """Answer what a node answers that may be asked for its journal."""
        store = self.stores.get(address)
        if store is None:
            raise NodeOffline("nobody there")
        if method == "records":
            return {"records": Tail(store).after(body["n"])}
        head = store.head()
        return {"last": head.term, "n": head.n, "term": head.term, "leads": False, "master": 11}


@pytest.fixture
def nodes(server: Etcd, tmp_path: Path) -> Iterator[Nodes]:  # noqa: F811 - the fixture
    """Stores of the nodes."""
    made = Nodes(server.url, tmp_path)
    yield made
    made.close()


def led(nodes: Nodes) -> EtcdStore:
    """Return the store of n11, which led and resigned."""
    first = nodes.open(11)
    first.lead(1, 11)
    some_jobs(first)
    first.resign()
    return first


def catch_up_with(others: Others, late: EtcdStore) -> None:
    """Bring the journal of n12 up to etcd's head."""
    connector: Any = others
    asyncio.run(catch_up(late, connector, CONF, 12, {11, 13}))


def test_what_the_log_has_is_taken_from_it(nodes: Nodes) -> None:
    """Also when no other node answers."""
    first, late = led(nodes), nodes.open(12)
    catch_up_with(Others(), late)
    assert numbers(late) == numbers(first)


def test_what_the_log_has_no_more_is_fetched_from_a_node(nodes: Nodes) -> None:
    """Then the whole history is here."""
    first, late = led(nodes), nodes.open(12)
    first.authority.trim(first.head().n)
    others = Others()
    others.stores["127.0.0.11"] = first
    catch_up_with(others, late)
    assert numbers(late) == numbers(first)


def test_what_no_node_has_is_made_from_the_state(nodes: Nodes) -> None:
    """Only the history of what is over is missing then."""
    first, late = led(nodes), nodes.open(12)
    first.authority.trim(first.head().n)
    catch_up_with(Others(), late)
    assert late.head() == first.head()
    assert state_of(late).fingerprint() == state_of(first).fingerprint()
    assert len(numbers(late)) < len(numbers(first))


@pytest.mark.parametrize("only_here", [1, 9])
def test_a_journal_that_went_another_way_is_set_aside(nodes: Nodes, tmp_path: Path, only_here: int) -> None:
    """In a file, whole; the node's journal is made from etcd's state then, whoever else has the other records, too."""
    first, late = led(nodes), nodes.open(12)
    late.catch_up()
    fork = [
        Record(2, late.head().n + 1 + n, Kind.RUNTIME, f"only here {n}", 0.0, msgspec.Raw(b"1"))
        for n in range(only_here)
    ]
    late.copy(fork)
    before = numbers(late)
    first.lead(3, 11)
    for number in range(3):
        first.append(Kind.RUNTIME, f"later{number}", number).result()
    others = Others()
    others.stores["127.0.0.11"] = first
    catch_up_with(others, late)
    assert late.head() == first.head()
    assert state_of(late).fingerprint() == state_of(first).fingerprint()
    (kept,) = tmp_path.glob(f"journal-2-{fork[-1].n}.db")
    aside = SqliteStore(kept)
    assert [(record.term, record.n, record.key) for record in aside.read(Position(), 10_000)] == before
    aside.close()
    late.lead(4, 12)
    assert late.append(Kind.RUNTIME, "on", 1).result().n == first.head().n + 2


def test_an_etcd_that_knows_less_than_a_node_is_not_followed(nodes: Nodes) -> None:
    """The node itself may know as little as etcd; the one that has more is named."""
    first, late = led(nodes), nodes.open(12)
    keys, client = first.authority.keys, first.authority.client
    backup = client.range(keys.prefix, keys.end)[0]
    first.lead(2, 11)
    first.append(Kind.RUNTIME, "later", 1).result()
    client.delete(keys.prefix, keys.end)
    for row in backup:
        client.put(row.key, row.value)
    others = Others()
    others.stores["127.0.0.11"] = first
    with pytest.raises(WentBack, match=r"on n11: c4 store recover"):
        catch_up_with(others, late)
