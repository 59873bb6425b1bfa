"""Mastership goes from node to node while clients call: no call is lost, none is run twice, databases do not notice."""

from __future__ import annotations

import itertools
import os
import signal
import ssl
import subprocess
import sys
import threading
import urllib.request
import xmlrpc.client
from collections.abc import Iterator
from typing import Any, Self

import psutil
import pytest

from tests.cluster.documented import blocks, follow
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import comes_back_removed, processes_of
from tests.cluster.test_kill import Writer
from tests.torture import TORTURE, long


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """A cluster of its own without a database."""
    with cluster("CCC_PLAY_WITH_DB=false") as made:
        yield made


def master(running: Cluster, asked: int) -> str:
    """Return whom a node names as master."""
    url = f"https://{running.addresses[asked]}:20003/master?info_type=name"
    with urllib.request.urlopen(url, context=ssl._create_unverified_context(), timeout=20) as answer:
        return str(answer.read().decode())


def agree_on(running: Cluster, node: int) -> None:
    """Wait until every node names one as master."""
    until(lambda: {master(running, asked) for asked in running.addresses} == {f"n{node}"}, f"n{node} is master")


def take_over(running: Cluster, node: int) -> subprocess.CompletedProcess[str]:
    """Have a survivor take over, as written in docs/operations.md."""
    (((program, *words),),) = blocks("Loss of the master (embedded store)")
    words = [str(running.root(node)) if word == "NODE_ROOT" else word for word in words]
    command = [sys.executable, "-m", f"confd.cli.{program}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=running.env)


def ended(client: xmlrpc.client.ServerProxy, job_id: Any) -> dict[str, Any]:
    """Wait for the end of a job; its envelope."""
    until(lambda: client.job_wait(job_id, {"timeout": 5}), "the job ends")
    result: Any = client.job_result(job_id)
    assert isinstance(result, dict)
    return result


class Callers:
    """Clients of some nodes that create groups one after the other and remember every answer."""

    numbers = itertools.count(70_000)

    def __init__(self, running: Cluster, *nodes: int) -> None:
        self.running, self.nodes = running, nodes or tuple(running.addresses)
        self.answers: list[dict[str, Any]] = []
        self.created: set[str] = set()
        self.problems: list[str] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(node,), daemon=True) for node in self.nodes]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def go_on(self) -> None:
        """Wait until some more calls were answered."""
        seen = len(self.answers)
        until(lambda: len(self.answers) > seen + 2 * len(self.nodes) or self.problems, "clients get answers")

    def check(self) -> None:
        """Check that every call ended well, is in the history once, and did what it said, once."""
        assert self.problems == []
        asked = self.nodes[0]
        groups = self.running.run("group_list", asked)
        assert self.created <= set(groups)
        history = self.running.run("job_history", asked, names=["group_create"], limit=10_000)
        ids = [job["job_id"] for job in history]
        assert len(ids) == len(set(ids))
        assert {answer["result_jobid"] for answer in self.answers} <= set(ids)

    def _call(self, node: int) -> None:
        try:
            while not self._ended.is_set():
                number = next(self.numbers)
                answer = self.running.try_run("group_create", node, groupname=f"g{number}", groupid=number)
                if answer["result_code"]:
                    self.problems.append(str(answer))
                self.created.add(f"g{number}")
                self.answers.append(answer)
        except Exception as error:
            self.problems.append(repr(error))


def test_planned_change_of_master(running: Cluster) -> None:
    """As written in docs/operations.md: the chosen node leads, every node knows it, clients of all notice nothing."""
    change, reset = blocks("Planned change of master")
    with Callers(running) as callers:
        assert "12" in follow(running, change, 11)
        callers.go_on()
        agree_on(running, 12)
        assert running.run("master_change", 11, nids=[11, 12, 13]) == 11
        assert running.run("master_change", 12, nids=[12, 13]) == 12
        assert running.run("master_change", 12, nids=[13]) == 13
        callers.go_on()
        follow(running, reset, 13)
        agree_on(running, 11)
        callers.go_on()
    callers.check()
    running.wait_same()


def test_the_master_is_given_to_itself(running: Cluster) -> None:
    """Nothing happens, and it is said."""
    answer = running.try_run("master_change", 12, nids=[11])
    assert (answer["result_code"], answer["result_output"]) == (0, 11)
    assert answer["result_warnings"] == ["n11 is master already"]


@pytest.mark.parametrize(("nids", "name", "text"), [
    ([], "INVALID_PARAMETER", "nids"), ([12, 99], "NOT_FOUND", "99"), ([12, 12], "INVALID_PARAMETER", "12"),
])  # fmt: skip
def test_wrong_candidates(running: Cluster, nids: list[int], name: str, text: str) -> None:
    """No candidate, one that does not exist, one that is there twice: refused by name, the master stays."""
    answer = running.try_run("master_change", 12, nids=nids)
    assert answer["result_name"] == name
    assert text in answer["result_desc"]
    agree_on(running, 11)


def test_a_candidate_that_does_not_answer(running: Cluster) -> None:
    """The job fails and the master stays what it was, at once able to work."""
    os.kill(running.pid(12), signal.SIGSTOP)
    try:
        answer = running.try_run("master_change", 13, nids=[12])
        assert answer["result_name"] in ("TIMEOUT", "NODE_OFFLINE"), answer
        assert master(running, 13) == "n11"
        answer = running.try_run("master_change", 13, nids=[12])
        assert answer["result_name"] == "NODE_OFFLINE", answer
        assert "n12" in answer["result_desc"]
    finally:
        os.kill(running.pid(12), signal.SIGCONT)
    running.run("group_create", 13, groupname="afterwards", groupid=60_999)
    running.wait_same()


@long
def test_the_old_master_is_killed_while_it_gives_its_place_away(running: Cluster) -> None:
    """Whatever moment it is: the job says who leads now, one node does, nothing that was answered is lost."""
    with Callers(running, 12, 13) as callers:
        for _ in range(2):
            client = running.client(13)
            asked = client.job_start("master_change", {"params": {"nids": [12]}})
            running.kill(11)
            running.start()
            result = ended(client, asked)
            # Killed before it could give the order, it comes back as master, and the job says so.
            assert result["result_name"] in ("OK", "NODE_ERROR"), result
            agree_on(running, 12 if result["result_code"] == 0 else 11)
            running.run("affinity_reset", 13)
            agree_on(running, 11)
    callers.check()
    running.wait_same()


def test_loss_of_the_master(running: Cluster) -> None:
    """A survivor leads by order; the master that returns follows and has everything that was ever answered."""
    with Callers(running, 11, 12, 13) as callers:
        pass
    running.kill(11)
    done = take_over(running, 12)
    assert done.returncode == 0, done.stderr
    assert "n12 is master now" in done.stdout
    with Callers(running, 12, 13) as later:
        pass
    running.start()
    agree_on(running, 12)
    running.wait_same()
    callers.nodes = later.nodes = (11,)
    callers.check()
    later.check()
    running.run("affinity_reset", 12)
    agree_on(running, 11)


@long
def test_a_node_that_was_stopped_does_not_take_over_from_a_master_that_answers(running: Cluster) -> None:
    """It says who is master, and that is all that happens."""
    running.kill(13)
    done = take_over(running, 13)
    assert (done.returncode, "n11 is master and answers" in done.stderr) == (1, True), done
    assert "Traceback" not in done.stderr
    running.start()


def test_reads_without_a_master(running: Cluster) -> None:
    """They tell what the node knows and how old it is, until the master is back."""
    running.kill(11)
    try:
        answer = until(lambda: "result_stale" in (got := running.try_run("user_list", 12)) and got, "a stale answer")
        assert "admin" in answer["result_output"]
        assert answer["result_stale"] > 0
        assert "no master answers" in answer["result_warnings"][-1]
        assert "result_stale" in running.try_run("job_history", 13, limit=1)
        assert "stale" not in str(running.client(13).job_list())
    finally:
        running.start()
    agree_on(running, 11)
    assert "result_stale" not in running.try_run("user_list", 12)


def test_reads_without_quorum(running: Cluster) -> None:
    """The master that is left alone answers, marked; it changes nothing and names the missing nodes."""
    for node in (12, 13):
        running.kill(node)
    try:
        answer = until(lambda: "result_stale" in (got := running.try_run("user_list")) and got, "a stale answer")
        assert "n12, n13" in answer["result_warnings"][-1]
        assert "result_stale" in running.try_run("node_list")
        answer = running.try_run("group_create", groupname="never", groupid=60_900)
        assert answer["result_name"] == "NO_QUORUM"
        assert "n12, n13" in answer["result_desc"]
    finally:
        running.start()
    until(lambda: "result_stale" not in running.try_run("user_list"), "there is a quorum again")


@pytest.mark.skipif(not TORTURE, reason="a cluster of its own")
def test_a_master_that_stood_still_while_it_was_removed() -> None:
    """It goes on as master, hears from the first node that it calls that it was removed, and ends."""
    with cluster("CCC_PLAY_WITH_DB=false", nodes=2) as made:
        standing = psutil.Process(made.pid(11))
        standing.suspend()
        try:
            assert take_over(made, 12).returncode == 0
            made.run("node_suspend", 12, nid=11)
            made.run("node_remove", 12, nid=11, force=True)
        finally:
            standing.resume()
        until(lambda: processes_of(made, 11) == [], f"n11 has ended{made.logs()}")
        comes_back_removed(made, 11)
        assert master(made, 12) == "n12"
        made.run("group_create", 12, groupname="x", groupid=61_000)


def test_databases_go_on(with_database: Cluster) -> None:
    """The master and the node of the primary are the same one; its place goes away and comes back under writes."""
    writer = Writer(with_database)
    writer.start()
    until(lambda: writer.acknowledged or writer.problem, "the writer writes")
    assert with_database.run("master_change", 11, nids=[13]) == 13
    until(lambda: with_database.run("db_info", db_name="Exasol")["connectible"] == "Yes", "the database is seen")
    seen = writer.acknowledged
    with_database.run("affinity_reset", 11)
    until(lambda: writer.acknowledged > seen or writer.problem, "the writer writes")
    writer.end()
