"""A cluster whose daemons obey orders at failpoints, and what must hold after any of them died at one."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import signal
import sqlite3
import ssl
import threading
import urllib.error
import urllib.request
import xmlrpc.client
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from confd.model.errors import NodeOffline
from confd.model.failpoints import ARRIVALS, Failpoint
from tests.cluster.harness import Cluster, until
from tests.failpoints.spawner import Spawner
from tests.failpoints.stories import Call, Story, Teller

#: On the master: the first answer of a command makes the job fail, so that it goes back.
FAILING: Final = f"{Failpoint.RESULT_RECORDED}=raise"
UNDONE_CODES: Final = (901, 902)
RANKS: Final = ("master", "node", "other node")


class Case(NamedTuple):
    """A node dies at its ``count``-th arrival at a point during a job; then the restarted one at ``then``.

    ``rank`` 0 is the master, 1 and 2 are the other nodes.
    """

    teller: Teller
    rank: int
    point: Failpoint
    count: int = 1
    goes_back: bool = False
    then: Failpoint | None = None

    def __str__(self) -> str:
        """Name the case as it is reported."""
        back = " going back" if self.goes_back else ""
        return f"{self.teller.__name__.strip('_')}{back}: {RANKS[self.rank]} dies at {self.point}@{self.count}, {self.then}"


class Caller(threading.Thread):
    """Runs a job over a node and waits for its end, as a client does."""

    def __init__(self, cluster: Cluster, node: int, call: Call) -> None:
        super().__init__(daemon=True)
        self.client, self.call = cluster.client(node), call
        self.job_id = ""
        self.result: dict[str, Any] = {}
        self.problem: Exception | None = None

    def run(self) -> None:
        """Submit, wait, ask."""
        try:
            job: Any = self.client.job_start(self.call[0], {"params": self.call[1]})
            self.job_id = str(job)
            while not self.client.job_wait(self.job_id, 20):
                pass
            answer: Any = self.client.job_result(self.job_id)
            self.client.job_info(self.job_id)
            self.result = answer
        except (OSError, xmlrpc.client.Error) as error:
            self.problem = error


class Sweep:
    """Three daemons under orders."""

    def __init__(self, cluster: Cluster, store: str = "sqlite") -> None:
        self.cluster, self.store = cluster, store
        self.spawners = {node: Spawner(cluster.root(node), cluster.env) for node in cluster.addresses}
        self.pids: dict[int, int] = {}
        self.ids: set[str] = set()
        self._numbers = itertools.count(70_000)
        for node in cluster.addresses:
            cluster.kill(node)
            self.start(node, "")
        self.revive()

    def close(self) -> None:
        """Start nothing more."""
        for spawner in self.spawners.values():
            spawner.close()

    def order(self, node: int, text: str) -> None:
        """Give a daemon new orders; it counts arrivals from here on."""
        path = self._orders(node)
        path.with_name(path.name + ARRIVALS).unlink(missing_ok=True)
        fresh = path.with_suffix(".new")
        # The number makes texts differ, so that counting begins anew.
        fresh.write_text(text + "," * (1 + next(self._numbers) % 97))
        fresh.rename(path)

    def arrivals(self, node: int) -> Counter[Failpoint]:
        """Return how often a daemon came to each point since its last orders."""
        with contextlib.suppress(FileNotFoundError):
            path = self._orders(node)
            return Counter(map(Failpoint, path.with_name(path.name + ARRIVALS).read_text().split()))
        return Counter()

    def dead(self, node: int) -> bool:
        """Whether the daemon of a node is gone, with all its threads: its spawner leaves no zombie."""
        return not psutil.pid_exists(self.pids[node])

    def revive(self) -> None:
        """Start every daemon that is dead, and wait until all serve."""
        for node in self.cluster.addresses:
            if self.dead(node):
                self.start(node, "")
        for node in self.cluster.addresses:
            until(lambda node=node: self.master_on(node) is not None, f"n{node} serves{self.cluster.logs()}")

    def start(self, node: int, orders: str) -> None:
        """Start a daemon."""
        until(lambda: _unlocked(self.cluster.root(node) / "spool/confd.lock"), "the last daemon is gone for good")
        self.order(node, orders)
        self.pids[node] = self.spawners[node].start(f"@{self._orders(node)}")

    def master_on(self, node: int) -> bool | None:
        """Whether a node is master; None when it does not serve."""
        context = ssl._create_unverified_context()
        url = f"https://{self.cluster.addresses[node]}:20003/is_master"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, context=context, timeout=20) as answer:
            return bool(answer.read() == b"true")
        return None

    def rehearse(self, teller: Teller, *, goes_back: bool) -> list[Case]:
        """Run a story without a death; a case for every arrival on its way."""
        story = self._begin(teller)
        for node in self.cluster.addresses:
            self.order(node, FAILING if goes_back and node == self._ranks()[0] else "")
        caller = self._called(story)
        self._settled(caller.job_id)
        cases = [
            Case(teller, rank, point, count, goes_back)
            for rank, node in enumerate(self._ranks())
            for point, times in sorted(self.arrivals(node).items())
            for count in range(1, times + 1)
        ]
        self._check(story, caller, goes_back=goes_back)
        return cases

    def run(self, case: Case) -> bool:
        """Run a case and check what must hold; False when nobody died."""
        story = self._begin(case.teller)
        trees = self.trees()
        master, *others = self._ranks()
        victim = (master, *others)[case.rank]
        for node in self.cluster.addresses:
            failing = FAILING if case.goes_back and node == master else ""
            # The death first: where both are due, who fails would not come to it.
            self.order(node, f"{case.point}=exit@{case.count},{failing}" if node == victim else failing)
        caller = Caller(self.cluster, next(node for node in others if node != victim), (story.job, story.params))
        caller.start()
        until(lambda: self.dead(victim) or not caller.is_alive(), f"{case}: a death or the job's end")
        if not self.dead(victim) and self.arrivals(victim)[case.point] >= case.count:
            until(lambda: self.dead(victim), f"{case}: a death")
        died = self.dead(victim)
        if not died:
            self.order(victim, "")
        if died and case.then is not None:
            self.start(victim, f"{case.then}=exit")
            until(lambda: self.dead(victim), f"{case}: a second death")
        self.revive()
        caller.join(90)
        assert not caller.is_alive(), f"{case}: the call hangs"
        self._settled(caller.job_id)
        if caller.result.get("result_code"):
            until(lambda: self.trees(story.directory or "/") == trees, f"{case}: nothing is left of what was undone")
        self._check(story, caller, goes_back=case.goes_back)
        return died

    def resign(self, teller: Teller, point: Failpoint) -> None:
        """Stop the master in order while a job is on its way; it dies at a point of the hand-over."""
        story, (master, *others) = self._begin(teller), self._ranks()
        self.order(master, f"{Failpoint.EXECUTED}=wait:{self.cluster.home}/never,{point}=exit")
        caller = Caller(self.cluster, others[-1], (story.job, story.params))
        caller.start()
        until(lambda: self.arrivals(master)[Failpoint.EXECUTED], "the job is on its way")
        os.kill(self.pids[master], signal.SIGTERM)
        until(lambda: self.dead(master), f"the master dies at {point}")
        assert self.arrivals(master)[point] == 1
        self.revive()
        caller.join(90)
        self._settled(caller.job_id)
        self._check(story, caller, goes_back=False)

    def strand(self, teller: Teller) -> None:
        """Have a node stand still with a command under way until its job has gone back; then it goes on with it."""
        story = replace(self._begin(teller), may_fail=(NodeOffline.code,))
        # What a node makes only once and keeps is there then.
        for call in ((story.job, story.params), *story.after):
            self._finish(call)
        trees = self.trees()
        master, *others = self._ranks()
        victim = next(node for node in (12, 11) if node != master)
        go = self.cluster.home / f"go-{story.params['name']}"
        self.order(victim, f"{Failpoint.RUN_DUE}=wait:{go}")
        caller = Caller(self.cluster, next(node for node in others if node != victim), (story.job, story.params))
        try:
            caller.start()
            until(lambda: self.arrivals(victim)[Failpoint.RUN_DUE], "the command is under way")
            os.kill(self.pids[victim], signal.SIGSTOP)
            caller.join(90)
            assert caller.result["result_code"] == NodeOffline.code, caller.result
            os.kill(self.pids[victim], signal.SIGCONT)
            until(lambda: self.arrivals(victim)[Failpoint.RUN_DUE] > 1, "its undo has come")
        finally:
            os.kill(self.pids[victim], signal.SIGCONT)
            go.touch()
        until(lambda: self.arrivals(victim)[Failpoint.RUN_KEPT] > 1, "both have ended")
        self._settled(caller.job_id)
        assert self.trees() == trees, "nothing is left of what was undone"
        self._check(story, caller, goes_back=True)

    def trees(self, without: str = "/") -> dict[int, list[str]]:
        """Return everything below each node's data directories, without what ends with a path."""
        return {
            node: sorted(
                found
                for path in (self.cluster.root(node) / "data").rglob("*")
                if not (found := str(path)).endswith(without)
            )
            for node in self.cluster.addresses
        }

    def _begin(self, teller: Teller) -> Story:
        number = next(self._numbers)
        story = teller(self.cluster, f"s{number}", number)
        for call in story.before:
            self._finish(call)
        return story

    def _called(self, story: Story) -> Caller:
        caller = Caller(self.cluster, 13, (story.job, story.params))
        caller.run()
        return caller

    def _finish(self, call: Call) -> None:
        answer: Any = self.cluster.client(13).job_exec(call[0], {"params": call[1]})
        assert answer["result_code"] == 0, (call, answer)

    def _check(self, story: Story, caller: Caller, *, goes_back: bool) -> None:
        """Check that the job ended once, well or without a trace, and that all nodes agree."""
        assert caller.problem is None, (caller.call, caller.problem, self.cluster.logs())
        assert caller.job_id not in self.ids, f"{caller.job_id} was given out twice"
        self.ids.add(caller.job_id)
        code = caller.result["result_code"]
        assert code in {0, *story.may_fail} or (goes_back and code in UNDONE_CODES), caller.result
        for node in self.cluster.addresses:
            check_journal(self._journal(node), caller.job_id)
        orders = [list(self._ask(node, "SELECT revision, job FROM revisions ORDER BY revision")) for node in self.pids]
        assert all(order == orders[0] for order in orders)
        if code:
            # It left nothing, so it can be done now as if for the first time.
            self._finish((story.job, story.params))
        for call in story.after:
            self._finish(call)

    def _settled(self, job_id: str) -> None:
        """Wait until the end of a job, its debts and its revision are on every node."""
        ended = f"SELECT 1 FROM jobs WHERE id = '{job_id}' AND stage = 'committed'"
        owed = "SELECT key FROM runtime WHERE key LIKE 'settle/%'"
        for node in self.cluster.addresses:
            until(
                lambda node=node: self._all_live() and list(self._ask(node, ended)),
                f"n{node} knows the end of {job_id}{self.cluster.logs()}",
            )
            until(lambda node=node: not list(self._ask(node, owed)), f"n{node} owes nothing any more")
        self.cluster.wait_same()

    def _all_live(self) -> bool:
        """Start who died after the end of the job, when nobody looked."""
        if any(map(self.dead, self.pids)):
            self.revive()
        return True

    def _ranks(self) -> list[int]:
        """Return the master and the other nodes; with etcd there may be none for a moment."""
        master = until(
            lambda: next((node for node in self.cluster.addresses if self.master_on(node)), None), "there is a master"
        )
        return [master, *(node for node in self.cluster.addresses if node != master)]

    def _journal(self, node: int) -> Path:
        return self.cluster.root(node) / "metadata/confd/journal.db"

    def _ask(self, node: int, query: str) -> Iterator[Sequence[Any]]:
        return ask(self._journal(node), query)

    def _orders(self, node: int) -> Path:
        return self.cluster.home / f"orders-n{node}"


def _unlocked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def ask(journal: Path, query: str) -> Iterator[Sequence[Any]]:
    """Read a node's journal beside its daemon."""
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=20)) as connection:
        yield from connection.execute(query)


def check_journal(journal: Path, job_id: str) -> None:
    """Check that a job has one beginning and one end, and that revisions follow the order of the journal."""
    kinds = Counter(kind for (kind,) in ask(journal, f"SELECT kind FROM records WHERE key = '{job_id}'"))
    assert kinds["submitted"] == kinds["finished"] == 1 <= kinds["committed"], (job_id, kinds)
    jobs = [job for (job,) in ask(journal, "SELECT job FROM revisions ORDER BY revision")]
    order = [key for (key,) in ask(journal, "SELECT key FROM records WHERE kind = 'finished' ORDER BY n")]
    places = [order.index(job) for job in jobs if job in order]
    assert places == sorted(places)
    terms = [term for (term,) in ask(journal, "SELECT term FROM records ORDER BY n")]
    assert terms == sorted(terms)
    leaders = list(
        ask(journal, "SELECT term, count(*) FROM records WHERE kind = 'term' GROUP BY term HAVING count(*) > 1")
    )
    assert not leaders, f"terms with two masters: {leaders}"
