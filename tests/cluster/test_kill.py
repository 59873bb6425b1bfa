"""kill -9 of daemons at any moment: nothing acknowledged is lost, nothing half done stays, databases do not notice."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.cluster.harness import SYS_PASSWORD, Cluster, until
from tests.seeds import seeds
from tests.torture import TORTURE

ROUNDS = 50 if TORTURE else 4
SEEDS = [1, 2]
NETWORK_ERRORS = (OSError, xmlrpc.client.Error)

Job = tuple[str, dict[str, Any]]


class Writer(threading.Thread):
    """Writes rows into the database all the time and remembers which were acknowledged."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.acknowledged = 0
        self.problem: Exception | None = None
        self._ended = threading.Event()

    def connect(self) -> psycopg.Connection[Any]:
        """Connect to the primary."""
        hosts = ",".join(self.cluster.addresses.values())
        return psycopg.connect(
            host=hosts, port=8563, user="sys", password=SYS_PASSWORD, dbname="Exasol",
            target_session_attrs="read-write", connect_timeout=10, autocommit=True,
        )  # fmt: skip

    def run(self) -> None:
        """Write until told to end; any error is a problem: the database must not notice."""
        try:
            with self.connect() as connection:
                # Another test of the same cluster may have left its rows.
                connection.execute("DROP TABLE IF EXISTS written")
                connection.execute("CREATE TABLE written (n bigint primary key)")
                for number in itertools.count(1):
                    if self._ended.wait(0.005):
                        return
                    connection.execute("INSERT INTO written VALUES (%s)", (number,))
                    self.acknowledged = number
        except Exception as error:
            self.problem = error

    def end(self) -> None:
        """Stop, and check that every acknowledged row is there."""
        self._ended.set()
        self.join(30)
        assert self.problem is None, self.problem
        with self.connect() as connection:
            row = connection.execute("SELECT count(*), max(n) FROM written").fetchone()
        assert row is not None
        assert row[0] == row[1] >= self.acknowledged > 0


def jobs(tag: str) -> list[Job]:
    """Return jobs of all groups that build on each other, with names of their own."""
    number = abs(hash(tag)) % 100_000 + 100_000
    volume = {"name": f"V{tag}", "type": "data", "disk": "disk1", "size": "64 MiB", "nodes": [11, 12], "redundancy": 2}
    database = {
        "db_name": f"D{tag}", "version": "18", "data_volume_name": f"V{tag}", "mem_size": "256 MiB",
        "nodes": [11, 12], "num_active_nodes": 2, "port": 9563,
    }  # fmt: skip
    return [
        ("group_create", {"groupname": f"g{tag}", "groupid": number}),
        ("user_create", {"username": f"u{tag}", "userid": number, "password": "*", "group": f"g{tag}", "login_enabled": True}),
        ("user_modify", {"username": f"u{tag}", "login_enabled": False}),
        ("general_settings", {"changes": {"Global": {"SearchDomains": f"{tag}.example"}}}),
        ("st_volume_create", volume),
        ("db_create", database),
        ("db_configure", {"db_name": f"D{tag}", "params_add": "-work_mem=8MB"}),
        ("db_start", {"db_name": f"D{tag}"}),
        ("db_stop", {"db_name": f"D{tag}"}),
        ("db_delete", {"db_name": f"D{tag}"}),
        ("st_volume_delete", {"vname": f"V{tag}"}),
        ("user_delete", {"username": f"u{tag}"}),
        ("group_delete", {"groupname": f"g{tag}"}),
    ]  # fmt: skip


def test_daemons_may_be_killed_at_any_moment(with_database: Cluster) -> None:
    """Random kills during random jobs: acknowledged jobs end well or undone, ids are unique, nodes stay equal."""
    chosen = seeds(SEEDS, 1)
    writer = Writer(with_database)
    writer.start()
    until(lambda: writer.acknowledged or writer.problem, "the writer writes")
    for seed in chosen:
        print(f"seed {seed}")
        Torture(with_database, random.Random(seed), f"{seed}x{time.time_ns() % 10**6}").run(
            max(1, ROUNDS // len(chosen))
        )
    writer.end()


class Torture:
    """Rounds of: run a job, kill a daemon at a random moment, start it again, look."""

    def __init__(self, cluster: Cluster, dice: random.Random, tag: str) -> None:
        self.cluster, self.dice = cluster, dice
        self.ids: set[str] = set()
        self.tag, self.turn = tag, 0
        self.story = iter(jobs(f"{tag}n0"))

    def run(self, rounds: int) -> None:
        """Kill so many times; jobs that were undone are run again, so that the story goes on."""
        for _ in range(rounds):
            for job in itertools.islice(self._story(), self.dice.randrange(3)):
                self._finish(job)
            self._killed_round(next(self._story()))
        # To the end of the story, which takes away what it made.
        for job in self.story:
            self._finish(job)
        self.cluster.wait_same()

    def _story(self) -> Iterator[Job]:
        """Tell on; a new story begins where one ends."""
        while True:
            yield from self.story
            self.turn += 1
            self.story = iter(jobs(f"{self.tag}n{self.turn}"))

    def _killed_round(self, job: Job) -> None:
        victim = self.dice.choice([11, 11, 12, 13])
        through = self.dice.choice(list(self.cluster.addresses))
        started: list[str] = []
        caller = threading.Thread(target=self._start, args=(job, through, started), daemon=True)
        caller.start()
        # The moment of the kill is the random input of this test, not a wait for something.
        time.sleep(self.dice.choice([0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]) * self.dice.random() * 2)
        self.cluster.kill(victim)
        self.cluster.start()
        caller.join(90)
        assert not caller.is_alive(), f"job_start {job} hangs after the kill of n{victim}"
        if started:
            self._check_acknowledged(job, started[0])
        else:
            self._finish(job)
        self.cluster.wait_same()

    def _start(self, job: Job, through: int, started: list[str]) -> None:
        with contextlib.suppress(*NETWORK_ERRORS):
            started.append(str(self.cluster.client(through).job_start(job[0], {"params": job[1]})))

    def _check_acknowledged(self, job: Job, job_id: str) -> None:
        assert job_id not in self.ids, f"id {job_id} was used twice"
        self.ids.add(job_id)
        client = self.cluster.client(11)
        until(lambda: client.job_wait(job_id, {"timeout": 20}), f"{job_id} {job} ends")
        result: Any = client.job_result(job_id)
        info: Any = client.job_info({"job_id": job_id})
        assert info["stage"] in ("committed", "finished"), info
        if result["result_code"] != 0:
            self._finish(job)

    def _finish(self, job: Job) -> None:
        """Run a job to success; what it asks for may be done already when its answer was lost."""
        answer = self.cluster.try_run(job[0], self.dice.choice(list(self.cluster.addresses)), **job[1])
        done_before = {"ALREADY_EXISTS", "NOT_FOUND", "WRONG_STATE"}
        assert answer["result_code"] == 0 or answer["result_name"] in done_before, (job, answer, self.cluster.logs())
        job_id = str(answer["result_jobid"])
        assert job_id not in self.ids, f"id {job_id} was used twice"
        self.ids.add(job_id)


@pytest.mark.parametrize("node", [11, 12, 13])
def test_a_killed_daemon_adopts_its_instance(with_database: Cluster, node: int) -> None:
    """After its daemon was killed and started again, a running database is running and connectible."""
    with_database.kill(node)
    with_database.start()
    until(lambda: with_database.run("db_state", db_name="Exasol") == "running", "the database is running")
    info = until(
        lambda: (found := with_database.run("db_info", db_name="Exasol"))["nodes"]["failed"] == [] and found,
        "all instances are seen",
    )
    assert info["connectible"] == "Yes"


def test_a_node_that_was_away_catches_up(with_database: Cluster) -> None:
    """Revisions made while a daemon was down are in its EXAConf after its return."""
    with_database.kill(13)
    for number in range(3):
        with_database.run("group_create", groupname=f"away{number}", groupid=60_000 + number)
    with_database.start()
    with_database.wait_same()
    assert "away2" in (with_database.root(13) / "etc/EXAConf").read_text()
