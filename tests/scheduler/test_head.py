"""Revisions have one order, and a job commits only on what it saw."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from confd.cluster.following.replica import load_conf
from confd.exaconf import Conf, Draft, Global, Group, key_of, to_stored
from confd.model.errors import Conflict
from confd.model.secret import Vault
from confd.scheduler.head import Head
from confd.store.protocol import Kind
from confd.store.records import Finished
from confd.store.sqlite import SqliteStore
from tests.scheduler.world import KEY

VAULT = Vault(KEY)
NAMES = ["a", "b", "c"]


class Cluster:
    """A head on a journal of its own."""

    def __init__(self, path: Path, remembered: int = 10_000) -> None:
        self.store = SqliteStore(path)
        self.store.lead(1, 11)
        self.remembered = remembered
        if not self.store.sections()[0]:
            first = {"Global": to_stored(Global(cluster_name="x"), VAULT)}
            self.store.append(Kind.FINISHED, "0", Finished(0, "", revision=1, changes=first)).result()
        self.again()

    def again(self) -> None:
        """Make a new head, as a new master does."""
        self.head = Head(self.store, load_conf(self.store, VAULT), self.store.runtime(), self.remembered)

    def commit(self, draft: Draft, **runtime: Any) -> int | None:
        """Commit a draft; the revision."""
        changes = {key: s if s is None else to_stored(s, VAULT) for key, s in draft.changes.items()}

        def finish(revision: int | None) -> Finished:
            return Finished(0, "", revision=revision, changes=changes, runtime=runtime)

        revision, conf, durable = self.head.commit("j", draft, finish)
        durable.result()
        self.head.publish(conf)
        return revision

    def put(self, name: str, number: int) -> None:
        """Change a group in a job of its own."""
        draft = Draft(self.head.ordered)
        draft.put(Group(name=name, id=number))
        self.commit(draft)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Give a cluster with a configuration."""
    made = Cluster(tmp_path / "journal.db")
    yield made
    made.store.close()


def test_a_commit_is_durable_before_it_is_seen(cluster: Cluster) -> None:
    """``ordered`` is ahead of ``conf`` until the record is durable; what is journalled is what is seen."""
    seen: list[int] = []
    cluster.head.watch(lambda: seen.append(load_conf(cluster.store, VAULT).revision))
    draft = Draft(cluster.head.ordered)
    draft.put(Group(name="a", id=1))
    revision, conf, durable = cluster.head.commit("j", draft, lambda number: Finished(0, "", revision=number))
    assert (revision, cluster.head.ordered.revision, cluster.head.conf.revision) == (2, 2, 1)
    durable.result()
    cluster.head.publish(conf)
    assert cluster.head.conf.groups["a"].id == 1
    assert seen == [2]


def test_a_job_that_changes_nothing_makes_no_revision(cluster: Cluster) -> None:
    """Its records are written nevertheless."""
    assert cluster.commit(Draft(cluster.head.ordered), k=1) is None
    assert (cluster.head.records, cluster.store.runtime(), cluster.head.conf.revision) == ({"k": 1}, {"k": 1}, 1)


def test_a_changed_section_that_was_read_is_a_conflict(cluster: Cluster) -> None:
    """Reading, writing and asking for what is not there all count; another section does not."""
    cluster.put("a", 1)
    for look in (
        lambda draft: draft.groups["a"],
        lambda draft: draft.find(Group, "a"),
        lambda draft: draft.put(Group(name="a", id=9)),
        lambda draft: draft.delete(key_of(Group, "a")),
    ):
        draft = Draft(cluster.head.ordered)
        look(draft)
        draft.put(Group(name="other", id=cluster.head.ordered.revision))
        cluster.put("a", cluster.head.ordered.revision)
        with pytest.raises(Conflict, match="Groups : a"):
            cluster.commit(draft)
    draft = Draft(cluster.head.ordered)
    draft.groups["a"]
    draft.put(Group(name="other", id=77))
    cluster.put("b", 1)
    assert cluster.commit(draft) == cluster.head.conf.revision


@pytest.mark.parametrize("remembered", [1, 2, 10_000])
def test_conflicts_from_before_this_master_are_found(tmp_path: Path, remembered: int) -> None:
    """A job that goes on after a restart, or that took very long, is checked like any other."""
    cluster = Cluster(tmp_path / "journal.db", remembered)
    try:
        cluster.put("a", 1)
        reader = Draft(cluster.head.ordered)
        reader.groups["a"]
        reader.put(Group(name="x", id=50))
        cluster.put("a", 2)
        for number in range(5):
            cluster.put("filler", number)
        if remembered == 10_000:
            cluster.again()
        with pytest.raises(Conflict):
            cluster.commit(reader)
        late = Draft(load_conf(cluster.store, VAULT, 2))
        late.groups["a"]
        late.put(Group(name="y", id=51))
        with pytest.raises(Conflict):
            cluster.commit(late)
        fine = Draft(load_conf(cluster.store, VAULT, 2))
        fine.find(Group, "zzz")
        fine.put(Group(name="y", id=51))
        assert cluster.commit(fine) == cluster.head.conf.revision
    finally:
        cluster.store.close()


def test_records_are_replaced_never_changed(cluster: Cluster) -> None:
    """Who took a look keeps what he saw."""
    before = cluster.head.records
    cluster.head.put_record("k", 1)
    after = cluster.head.records
    cluster.head.put_record("k", None)
    assert (before, after, cluster.head.records, cluster.store.runtime()) == ({}, {"k": 1}, {}, {})


ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["begin", "read", "add", "double", "delete", "count", "commit", "commit", "restart"]),
        st.sampled_from(NAMES),
    ),
    max_size=40,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTIONS, st.sampled_from([1, 3, 10_000]))
def test_committed_history_is_serialisable(tmp_path: Path, actions: list[Any], remembered: int) -> None:
    """Whatever jobs without locks do side by side, the result is that of those committed, one after the other.

    Each job computes what it writes from what it read; running the committed ones again alone, in the order of
    their revisions, must write the same.
    """
    path = tmp_path / "journal.db"
    for file in tmp_path.glob("journal.*"):
        file.unlink()
    cluster = Cluster(path, remembered)
    try:
        drafts: dict[int, tuple[Draft, list[tuple[str, str]]]] = {}
        history: list[tuple[int, list[tuple[str, str]]]] = []
        for job, action, name in actions:
            if action == "restart":
                cluster.again()
            elif action == "begin" or job not in drafts:
                drafts[job] = (Draft(cluster.head.ordered), [])
            elif action == "commit":
                draft, done = drafts.pop(job)
                with contextlib.suppress(Conflict):
                    revision = cluster.commit(draft)
                    if revision is not None:
                        history.append((revision, done))
            else:
                act(drafts[job][0], action, name)
                drafts[job][1].append((action, name))
        assert [revision for revision, _ in history] == list(range(2, len(history) + 2))
        serial: Conf = load_conf(cluster.store, VAULT, 1)
        for revision, done in history:
            draft = Draft(serial)
            for action, name in done:
                act(draft, action, name)
            serial = draft.result(revision)
            assert serial.sections == load_conf(cluster.store, VAULT, revision).sections
        assert cluster.head.conf.sections == serial.sections
    finally:
        cluster.store.close()


def act(draft: Draft, action: str, name: str) -> None:
    """Let a job do something whose outcome depends on what it reads."""
    known = draft.find(Group, name)
    if action == "add" and known is None:
        draft.put(Group(name=name, id=1))
    elif action == "double" and known is not None:
        draft.put(Group(name=name, id=2 * known.id + 1))
    elif action == "delete" and known is not None:
        draft.delete(known.key)
    elif action == "count":
        draft.put(Group(name=name, id=100 + len(draft.groups)))
