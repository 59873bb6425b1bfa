"""The first revision is made once, whatever happens on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from confd.cluster.following.replica import load_conf
from confd.cluster.identity import Identity
from confd.daemon.bootstrap import Bootstrap, bootstrap
from confd.exaconf import Conf, Global, Group, Renderer, parse
from confd.model.secret import Vault
from confd.store.sqlite import SqliteStore

VAULT = Vault(bytes(range(32)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """Give an empty journal."""
    with contextlib.closing(SqliteStore(tmp_path / "journal.db")) as made:
        yield made


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    """Give the first master."""
    sections = [Global(cluster_name="x"), Group(name="exaadm", id=499)]
    text = Renderer().render(Conf(0, {section.key: section for section in sections}))
    assert parse(text).revision == 0
    path = tmp_path / "bootstrap.json"
    path.write_bytes(msgspec.json.encode(Bootstrap(exaconf=text, records={"numbers/volume": 3})))
    return Identity(
        cluster="x", node=11, uuid="u", address="127.0.0.1", port=1, runtime=str(tmp_path), bootstrap=str(path)
    )


def test_a_new_cluster_gets_its_first_revision(store: SqliteStore, identity: Identity) -> None:
    """Configuration and records of the file; node 11 leads under its first term."""
    bootstrap(store, identity, VAULT)
    assert load_conf(store, VAULT).groups["exaadm"].id == 499
    assert (store.runtime(), store.leader(), store.sections()[0]) == ({"numbers/volume": 3}, (100_011, 11), 1)


def test_it_is_made_once(store: SqliteStore, identity: Identity) -> None:
    """A restart adds nothing; other nodes never make one."""
    bootstrap(store, identity, VAULT)
    head = store.head()
    bootstrap(store, identity, VAULT)
    assert store.head() == head


def test_a_crash_after_the_term_loses_nothing(store: SqliteStore, identity: Identity) -> None:
    """The term alone is not a configuration: the next start makes it."""
    store.lead(1, 11)
    bootstrap(store, identity, VAULT)
    assert store.sections()[0] == 1


def test_other_nodes_make_none(store: SqliteStore, identity: Identity) -> None:
    """They get it from the master."""
    bootstrap(store, msgspec.structs.replace(identity, bootstrap=None), VAULT)
    assert store.head().n == 0
