"""What the distributed store promises beyond the contract: fencing, unknown outcomes, any size, an etcd that went back."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confd.model.errors import LimitExceeded
from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.authority import Authority
from confd.store.etcd.client import EtcdClient, KeyValue, prefix_end
from confd.store.etcd.errors import EtcdFull, EtcdUncertain, EtcdUnreachable
from confd.store.etcd.folding import Jobs, fold, parts
from confd.store.etcd.keys import Keys
from confd.store.etcd.state import journal_of, read_state, state_of, write
from confd.store.etcd.store import EtcdStore, WentBack
from confd.store.protocol import Gap, Kind, Position, Record, StaleTerm, StoreFailed
from confd.store.records import Committed, Finished, Submitted
from tests.servers import Etcd, etcd
from tests.store.etcd.conftest import fresh_prefix

NOW = 1_800_000_000.0


class Flaky(EtcdClient):
    """Loses requests and answers of transactions, or has no space, as it is told: one word for each try."""

    def __init__(self, url: str) -> None:
        super().__init__(EtcdAccess(endpoints=(url,)))
        self.faults: list[str] = []

    def txn(self, *words: Any, **more: Any) -> Any:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "full":
            raise EtcdFull("no space")
        if fault == "unreachable":
            raise EtcdUnreachable("nobody there")
        if fault == "request lost":
            raise EtcdUncertain("request lost")
        answer = super().txn(*words, **more)
        if fault == "answer lost":
            raise EtcdUncertain("answer lost")
        return answer


class Nodes:
    """Stores of one cluster, by the number of their node."""

    def __init__(self, url: str, tmp_path: Path, patience: float = 30.0) -> None:
        self.url, self.place, self.patience = url, tmp_path, patience
        self.prefix = fresh_prefix()
        self.deposed: dict[int, Exception] = {}
        self._open: list[EtcdStore] = []

    def open(self, node: int, cluster: str = "c") -> EtcdStore:
        """Open the store of a node."""
        authority = Authority(Flaky(self.url), Keys(self.prefix), cluster, self.patience)
        store = EtcdStore(self.place / f"n{node}.db", authority, clock=lambda: NOW)
        store.deposed = lambda error: self.deposed.update({node: error})
        self._open.append(store)
        return store

    def close(self) -> None:
        """Close all stores."""
        for store in self._open:
            with contextlib.suppress(Exception):
                store.close()
            store.authority.client.close()


@pytest.fixture
def nodes(server: Etcd, tmp_path: Path) -> Iterator[Nodes]:
    """Give the stores of a new cluster."""
    made = Nodes(server.url, tmp_path)
    yield made
    made.close()


def flaky(store: EtcdStore) -> Flaky:
    """Return the client of a store."""
    client = store.authority.client
    assert isinstance(client, Flaky)
    return client


def numbers(store: EtcdStore) -> list[tuple[int, int, str]]:
    """Return what the journal of a node holds."""
    return [(record.term, record.n, record.key) for record in store.read(Position(), 10_000)]


def some_jobs(store: EtcdStore) -> None:
    """Record a job that is over, one that is not, and runtime records."""
    store.append(Kind.SUBMITTED, "11.1", Submitted("user_create", "modify", "admin", 0, {}, {}))
    changes = {"a": {"v": 1}, "b": {"v": "x" * 500_000}}
    store.append(Kind.FINISHED, "11.1", Finished(0, "", revision=1, changes=changes, runtime={"r": 1, "s": 2}))
    store.append(Kind.COMMITTED, "11.1", Committed())
    store.append(Kind.SUBMITTED, "11.2", Submitted("user_create", "modify", "admin", 0, {}, {"p": "y" * 500_000}))
    store.append(Kind.RUNTIME, "s", None).result()


def test_a_record_as_etcd_holds_it(nodes: Nodes) -> None:
    """A node that has not caught up asks for one record; a large one, too, and one that nobody made."""
    master, behind = nodes.open(11), nodes.open(12)
    assert behind.authority.record("r") is None
    master.lead(1, 11)
    master.append(Kind.RUNTIME, "r", {"12": "b"}).result()
    master.append(Kind.RUNTIME, "large", "x" * 3_000_000).result()
    assert behind.authority.record("r") == {"12": "b"}
    assert behind.authority.record("large") == "x" * 3_000_000
    assert behind.authority.record("other") is None
    assert numbers(behind) == []


# fencing


def test_an_older_master_can_never_write(nodes: Nodes) -> None:
    """It is told so, gives up, and its file holds nothing that etcd does not."""
    old, new = nodes.open(11), nodes.open(12)
    old.lead(1, 11)
    old.append(Kind.RUNTIME, "a", 1).result()
    new.lead(2, 12)
    new.append(Kind.RUNTIME, "b", 1).result()
    with pytest.raises(StaleTerm) as caught:
        old.append(Kind.RUNTIME, "c", 1).result()
    assert caught.value.known == 2
    with pytest.raises(StoreFailed):
        old.append(Kind.RUNTIME, "d", 1).result()
    assert isinstance(nodes.deposed[11], StaleTerm)
    # Who waits for what was recorded before is told the same way: the journal may not be written here.
    with pytest.raises(StoreFailed):
        old.flush()
    old.lead(3, 11)
    assert numbers(old) == [(1, 1, "11"), (1, 2, "a"), (2, 3, "12"), (2, 4, "b"), (3, 5, "11")]
    with pytest.raises(StaleTerm):
        new.append(Kind.RUNTIME, "e", 1).result()


def test_a_group_commit_is_one_transaction(nodes: Nodes) -> None:
    """etcd's revision grows by one, whatever the records change."""
    store = nodes.open(11)
    store.lead(1, 11)
    client, keys = store.authority.client, store.authority.keys
    before = client.range(keys.head)[1]
    records = [Record(1, n, Kind.RUNTIME, f"k{n}", NOW, msgspec.Raw(b"1")) for n in range(2, 42)]
    (part,) = store.authority.parts(records)
    store.authority.append(part)
    assert client.range(keys.head)[1] == before + 1
    assert len(client.range(keys.runtime, prefix_end(keys.runtime))[0]) == 40


def test_another_clusters_keys_are_left_alone(nodes: Nodes) -> None:
    """Two clusters never share a prefix by mistake."""
    nodes.open(11).lead(1, 11)
    with pytest.raises(StoreFailed, match="belong to another cluster"):
        nodes.open(12, cluster="other").lead(2, 12)


# unknown outcomes


@settings(max_examples=8)
@given(st.lists(st.lists(st.sampled_from(["request lost", "answer lost", "unreachable"]), max_size=2), max_size=6))
def test_whatever_is_lost_each_record_is_there_once(server: Etcd, faults: list[list[str]]) -> None:
    """An append whose outcome is not known is sent again until it is; etcd and the file stay equal."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        nodes = Nodes(server.url, Path(place))
        store = nodes.open(11)
        try:
            store.lead(1, 11)
            for number, some in enumerate(faults):
                flaky(store).faults = list(some)
                store.append(Kind.RUNTIME, f"k{number}", number).result(30)
            fetched: list[Record] = []
            while more := store.authority.records_after(fetched[-1].n if fetched else 0):
                fetched += more
            assert [(record.term, record.n, record.key) for record in fetched] == numbers(store)
            assert len(store.runtime()) == len(faults)
        finally:
            nodes.close()


def test_an_outage_ends_in_one_of_two_ways_and_the_next_term_knows_which(tmp_path: Path) -> None:
    """The record is refused, though it may be there; who leads next finds out before anything else is written."""
    with etcd() as own:
        nodes = Nodes(own.url, tmp_path, patience=0.5)
        store = nodes.open(11)
        store.lead(1, 11)
        store.append(Kind.RUNTIME, "a", 1).result()
        own.signal(signal.SIGSTOP)
        waiting = store.append(Kind.RUNTIME, "b", 1)
        with pytest.raises(StoreFailed, match="not known"):
            waiting.result(30)
        with pytest.raises(StoreFailed):
            store.append(Kind.RUNTIME, "c", 1).result(30)
        own.signal(signal.SIGCONT)
        assert isinstance(nodes.deposed[11], StoreFailed)
        store.lead(2, 11)
        store.append(Kind.RUNTIME, "d", 1).result(30)
        keys = [key for _, _, key in numbers(store)]
        assert keys in (["11", "a", "b", "11", "d"], ["11", "a", "11", "d"])
        assert set(read_state(store.authority).runtime) == set(store.runtime())
        nodes.close()


def test_without_space_work_waits_and_nothing_new_begins(nodes: Nodes) -> None:
    """What is under way goes on once there is space; until then new jobs are refused with what etcd said."""
    store = nodes.open(11)
    store.lead(1, 11)
    flaky(store).faults = ["full"] * 3
    done = store.append(Kind.RUNTIME, "a", 1)
    seen: list[str] = []
    while not done.done():
        try:
            store.check_room()
        except LimitExceeded as error:
            seen.append(error.message)
    assert done.result() == Position(1, 2)
    assert "no space" in seen
    store.check_room()


def test_abandoning_ends_the_waiting(nodes: Nodes) -> None:
    """A master whose lease is gone does not go on trying."""
    store = nodes.open(11)
    store.lead(1, 11)
    flaky(store).faults = ["unreachable"] * 1_000
    waiting = store.append(Kind.RUNTIME, "a", 1)
    store.abandon()
    with pytest.raises(StoreFailed):
        waiting.result(10)


# size


def test_values_of_any_size_and_records_that_change_much(nodes: Nodes) -> None:
    """Chunks and steps beyond one transaction come back as they were; what is replaced leaves nothing behind."""
    store = nodes.open(11)
    store.lead(1, 11)
    wide = {f"s{number}": {"v": number} for number in range(300)}
    store.append(Kind.FINISHED, "11.0", Finished(0, "", revision=1, changes=wide, runtime={"big": "x" * 1_500_000}))
    store.append(Kind.FINISHED, "11.9", Finished(0, "", revision=2, changes=dict.fromkeys(list(wide)[:200]))).result()
    there = read_state(store.authority)
    assert (there.sections, there.runtime) == (store.sections()[1], store.runtime())
    assert there.fingerprint() == state_of(store).fingerprint()
    store.append(Kind.RUNTIME, "big", "small").result()
    keys, client = store.authority.keys, store.authority.client
    assert client.range(keys.chunks, prefix_end(keys.chunks), keys_only=True)[0]
    store.append(Kind.RUNTIME, "last", 1).result()
    store.trim(store.head().n)
    assert client.range(keys.chunks, prefix_end(keys.chunks), keys_only=True)[0] == []
    assert client.get(keys.bulk) is None
    assert read_state(store.authority).fingerprint() == state_of(store).fingerprint()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400_000), st.booleans()), min_size=1, max_size=40))
def test_parts_are_what_the_whole_is(plan: list[tuple[int, int, bool]]) -> None:
    """However records are cut, the keys end up the same, and every part but a single record is bounded."""
    records: list[Record] = []
    for n, (job, size, ends) in enumerate(plan, 1):
        body: Any = Committed() if ends else Submitted("x", "modify", "a", 0, {}, {"p": "x" * size})
        kind = Kind.COMMITTED if ends else Kind.SUBMITTED
        records.append(Record(1, n, kind, f"11.{job}", NOW, msgspec.Raw(msgspec.json.encode(body))))
    keys, together = Keys(), {}
    for part in parts(keys, records, Jobs()):
        assert len(part.records) == 1 or sum(len(record.body) for record in part.records) < 600_000
        for job in part.ended:
            together = {key: value for key, value in together.items() if not key.startswith(keys.job(job))}
        together.update(part.puts)
    assert together == fold(keys, records, Jobs()).puts


# catching up


def test_a_new_master_catches_up_from_the_log(nodes: Nodes) -> None:
    """Also one that was never there; then both journals are equal."""
    first, second = nodes.open(11), nodes.open(12)
    first.lead(1, 11)
    some_jobs(first)
    second.lead(2, 12)
    assert numbers(second)[:-1] == numbers(first)
    assert second.runtime() == {"r": 1}


def test_behind_a_trimmed_log_the_journal_is_made_from_the_state(nodes: Nodes) -> None:
    """Configuration, runtime records and unfinished jobs are whole; only the history of what is over is missing."""
    first, late = nodes.open(11), nodes.open(12)
    first.lead(1, 11)
    some_jobs(first)
    first.trim(first.head().n)
    with pytest.raises(Gap):
        late.lead(2, 12)
    late.restore(journal_of(read_state(late.authority)))
    # Of what lies between the unfinished jobs and the log it cannot tell the terms.
    kept = {record.n for record in late.read(Position())}
    assert {n: late.term_at(n) for n in range(first.head().n + 1)} == {
        n: 1 if n in kept else 0 for n in range(first.head().n + 1)
    }
    assert state_of(late).fingerprint() == state_of(first).fingerprint()
    assert (late.unfinished(), [one.kind for one in late.job("11.2")]) == (["11.2"], [Kind.SUBMITTED])
    late.lead(2, 12)
    assert late.append(Kind.COMMITTED, "11.2", Committed()).result().n == first.head().n + 2
    assert late.unfinished() == []


@pytest.mark.parametrize("only_here", [1, 2, 5])
def test_a_journal_that_went_another_way_is_not_continued(nodes: Nodes, only_here: int) -> None:
    """Whether it is shorter than etcd's log, as long or longer: its last record is not etcd's, and nothing is changed."""
    first, other = nodes.open(11), nodes.open(12)
    first.lead(1, 11)
    first.append(Kind.RUNTIME, "both", 1).result()
    other.catch_up()
    other.copy([Record(2, 3 + n, Kind.RUNTIME, f"only here {n}", NOW, msgspec.Raw(b"1")) for n in range(only_here)])
    before = numbers(other)
    first.lead(3, 11)
    first.append(Kind.RUNTIME, "later", 1).result()
    assert first.head().n == 4
    with pytest.raises(Gap, match=f"does not have record {other.head().n} of term 2"):
        other.lead(4, 12)
    assert numbers(other) == before
    assert first.append(Kind.RUNTIME, "on", 1).result() == Position(3, 5)


def test_a_journal_that_ends_where_the_log_was_trimmed_goes_on(nodes: Nodes) -> None:
    """The last record that every node has stays in the log, to be compared with theirs."""
    first, other = nodes.open(11), nodes.open(12)
    first.lead(1, 11)
    first.append(Kind.RUNTIME, "both", 1).result()
    other.catch_up()
    for number in range(3):
        first.append(Kind.RUNTIME, f"k{number}", number).result()
    assert first.trim(other.head().n) == 1
    other.lead(2, 12)
    assert numbers(other)[:-1] == numbers(first)


def keys_of(store: EtcdStore) -> list[KeyValue]:
    """Return everything that etcd holds of the cluster."""
    keys = store.authority.keys
    return store.authority.client.range(keys.prefix, keys.end)[0]


def test_an_etcd_that_went_back_is_noticed(nodes: Nodes) -> None:
    """Nothing is written, nothing lost: the node says what to do, and its journal puts etcd right."""
    store = nodes.open(11)
    store.lead(1, 11)
    some_jobs(store)
    backup = keys_of(store)
    store.append(Kind.RUNTIME, "later", 1).result()
    store.resign()
    keys, client = store.authority.keys, store.authority.client
    for old in ([], backup):
        client.delete(keys.prefix, keys.end)
        for row in old:
            client.put(row.key, row.value)
        before = [(row.key, row.value) for row in keys_of(store)]
        with pytest.raises(WentBack, match="c4 store recover"):
            store.lead(2, 11)
        assert [(row.key, row.value) for row in keys_of(store)] == before
    store.authority.begin(2, 11)
    write(store.authority, state_of(store))
    assert read_state(store.authority).fingerprint() == state_of(store).fingerprint()
    store.lead(3, 11)
    assert store.append(Kind.RUNTIME, "on", 1).result().term == 3


def test_random_histories_have_equal_states(nodes: Nodes) -> None:
    """What etcd holds is what the journal derives, after any mixture of records."""
    store = nodes.open(11)
    store.lead(1, 11)
    dice, revision = random.Random(7), 0
    open_jobs: list[str] = []
    for number in range(300):
        what = dice.randrange(5)
        if what == 0:
            store.append(Kind.RUNTIME, f"k{dice.randrange(9)}", dice.choice([None, 1, "x" * dice.randrange(5_000)]))
        elif what == 1:
            job = f"11.{number}"
            store.append(Kind.SUBMITTED, job, Submitted("j", dice.choice(["read", "modify"]), "a", 0, {}, {}))
            open_jobs.append(job)
        elif open_jobs and what == 2:
            revision += 1
            changes = {f"s{dice.randrange(9)}": dice.choice([None, {"v": number}])}
            store.append(Kind.FINISHED, open_jobs[0], Finished(0, "", revision=revision, changes=changes))
        elif open_jobs and what == 3:
            store.append(Kind.COMMITTED, open_jobs.pop(0), Committed())
        elif open_jobs:
            store.append(Kind.SCHEDULED, dice.choice(open_jobs), {"base_revision": 0, "locks": [], "software": ""})
        if dice.random() < 0.1:
            store.flush()
    store.flush()
    assert read_state(store.authority).fingerprint() == state_of(store).fingerprint()
