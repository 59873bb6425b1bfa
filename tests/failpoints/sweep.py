"""A cluster whose daemons obey orders at failpoints, and what must hold after any of them died at one."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import xmlrpc.client
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from confd.model.errors import NodeError, NodeOffline
from confd.model.failpoints import ARRIVALS, Failpoint
from tests.cluster.harness import Cluster, cluster, until
from tests.failpoints.cases import Case, How
from tests.failpoints.evidence import ask, check_journal, is_unlocked, journal_of, term_of, trees
from tests.failpoints.spawner import Spawner
from tests.failpoints.stories import Call, Deed, Story, Teller

#: On the master: the first answer of a command makes the job fail, so that it goes back.
FAILING: Final = f"{Failpoint.RESULT_RECORDED}=raise"
UNDONE_CODES: Final = (901, 902)
#: Of a job that needs a node which is away while another one leads.
AWAY_CODES: Final = (NodeOffline.code, NodeError.code)


@contextlib.contextmanager
def swept(store: str) -> Iterator[Sweep]:
    """Make a cluster without a database whose daemons obey."""
    with cluster("CCC_PLAY_WITH_DB=false", f"CCC_PLAY_STORE={store}") as made:
        sweep = Sweep(made, store)
        try:
            yield sweep
        finally:
            sweep.close()


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
        self.started: dict[int, float] = {}
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

        def all_serve() -> bool:
            for node in filter(self.dead, self.cluster.addresses):
                self.start(node, "")
            return all(self.master_on(node) is not None for node in self.cluster.addresses)

        until(all_serve, f"all nodes serve{self.cluster.logs()}")

    def start(self, node: int, orders: str) -> None:
        """Start a daemon."""
        until(lambda: is_unlocked(self.cluster.root(node) / "spool/confd.lock"), "the last daemon is gone for good")
        self.order(node, orders)
        self.started[node] = time.time()
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
        story, ranks = self._begin(teller)
        for node in ranks:
            self.order(node, FAILING if goes_back and node == ranks[0] else "")
        caller = Caller(self.cluster, ranks[-1], (story.job, story.params))
        caller.run()
        self._told(caller)
        cases = [
            Case(teller, rank, point, count, goes_back)
            for rank, node in enumerate(ranks)
            for point, times in sorted(self.arrivals(node).items())
            for count in range(1, times + 1)
        ]
        self._check(story, caller, UNDONE_CODES if goes_back else ())
        return cases

    def run(self, case: Case) -> bool:
        """Run a case and check what must hold; False when nobody was struck."""
        story, ranks = self._begin(case.teller)
        before, term = trees(self.cluster), term_of(self.cluster, ranks[0])
        victim = ranks[case.rank]
        for node in ranks:
            failing = FAILING if case.goes_back and node == ranks[0] else ""
            # The death first: where both are due, who fails would not come to it.
            self.order(node, f"{case.point}={case.how.action}@{case.count},{failing}" if node == victim else failing)
        caller = Caller(self.cluster, next(node for node in ranks[:0:-1] if node != victim), (story.job, story.params))
        caller.start()
        struck = self._struck(case, victim, caller)
        if struck:
            self._meanwhile(case, victim, caller, term)
        else:
            self.order(victim, "")
        self.revive()
        caller.join(90)
        assert not caller.is_alive(), f"{case}: the call hangs{self.cluster.logs()}"
        lost = case.how is How.TAKEN_OVER and self._is_lost(caller)
        if not lost:
            self._told(caller)
        if lost or caller.result.get("result_code"):
            until(
                lambda: trees(self.cluster, story.directory or "/") == before,
                f"{case}: nothing is left of what was undone{self.cluster.logs()}",
            )
        if lost:
            self._check_effect(story, None, undone=True)
            return struck
        # With etcd another node also leads meanwhile where the machine is too busy for the dead one to be back soon.
        overtaken = case.how.away or self.store == "etcd"
        allowed = (*(UNDONE_CODES if case.goes_back else ()), *(AWAY_CODES if overtaken and story.on_nodes else ()))
        self._check(story, caller, allowed)
        return struck

    def resign(self, teller: Teller, point: Failpoint) -> None:
        """Stop the master in order while a job is on its way; it dies at a point of the hand-over."""
        story, (master, *others) = self._begin(teller)
        self.order(master, f"{Failpoint.EXECUTED}=wait:{self.cluster.home}/never,{point}=exit")
        caller = Caller(self.cluster, others[-1], (story.job, story.params))
        caller.start()
        until(lambda: self.arrivals(master)[Failpoint.EXECUTED], "the job is on its way")
        os.kill(self.pids[master], signal.SIGTERM)
        until(lambda: self.dead(master), f"the master dies at {point}")
        assert self.arrivals(master)[point] == 1
        self.revive()
        caller.join(90)
        self._told(caller)
        self._check(story, caller)

    def strand(self, teller: Teller) -> None:
        """Have a node stand still with a command under way until its job has gone back; then it goes on with it."""
        story, (master, *others) = self._begin(teller)
        # What a node makes only once and keeps is there then.
        for call in ((story.job, story.params), *story.after):
            self._finish(call)
        before = trees(self.cluster)
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
        self._told(caller)
        assert trees(self.cluster) == before, "nothing is left of what was undone"
        self._check(story, caller, (NodeOffline.code,))

    def _struck(self, case: Case, victim: int, caller: Caller) -> bool:
        """Wait for what is to befall the victim; False when the job ended without that."""
        if case.how is How.STANDS_STILL:
            process = psutil.Process(self.pids[victim])

            def struck() -> bool:
                return process.status() == psutil.STATUS_STOPPED
        else:

            def struck() -> bool:
                return self.dead(victim)

        until(lambda: struck() or not caller.is_alive(), f"{case}: a death or the job's end")
        if not struck() and self.arrivals(victim)[case.point] >= case.count:
            until(struck, f"{case}: a death")
        return struck()

    def _meanwhile(self, case: Case, victim: int, caller: Caller, term: int) -> None:
        """Do what a case wants before the victim is back."""
        survivors = [node for node in self.cluster.addresses if node != victim]
        if case.how is How.TAKEN_OVER:
            self._take_over(survivors[0])
        if case.how.away:
            # Who leads now may have given its place to the next one before it is asked again.
            leads = f"{case}: another node leads{self.cluster.logs()}"
            leader = until(lambda: next(filter(self.master_on, survivors), None), leads)
            risen = term_of(self.cluster, leader)
            assert risen > term, f"{case}: term {risen} after {term}"
        if case.how is How.STANDS_STILL:
            os.kill(self.pids[victim], signal.SIGCONT)
            until(lambda: self.master_on(victim) is False, f"{case}: it steps down{self.cluster.logs()}")
        if case.then is not None:
            # Whoever leads next dies, too; but not the node that the caller has called.
            fatal, asked = f"{case.then}=exit", 13
            for node in survivors:
                if node != asked:
                    self.order(node, fatal)
            self.start(victim, fatal)
            until(lambda: any(map(self.dead, self.pids)), f"{case}: a second death{self.cluster.logs()}")

    def _take_over(self, node: int) -> None:
        command = [sys.executable, "-m", "confd.cli.confd", "--root", str(self.cluster.root(node)), "--take-over"]
        done = subprocess.run(command, env=self.cluster.env, capture_output=True, text=True, timeout=120)
        assert f"n{node} is master now" in done.stdout, done

    def _begin(self, teller: Teller) -> tuple[Story, list[int]]:
        """Have n11 lead, and what a story needs; the story and who leads, then the other nodes."""
        self._seat()
        number = next(self._numbers)
        story = teller(self.cluster, f"s{number}", number)
        for call in story.before:
            self._finish(call)
        return story, self.ranks()

    def _seat(self) -> None:
        if self.ranks()[0] != 11:
            self._finish(("affinity_reset", {}))
            until(lambda: self.ranks()[0] == 11, f"n11 leads{self.cluster.logs()}")

    def _finish(self, call: Deed) -> Any:
        if callable(call):
            return call()
        answer: Any = self.cluster.client(13).job_exec(call[0], {"params": call[1]})
        assert answer["result_code"] == 0, (call, answer)
        return answer.get("result_output")

    def _check(self, story: Story, caller: Caller, allowed: Sequence[int] = ()) -> None:
        """Check that the job ended once, with its effect or without a trace, and that all nodes agree."""
        assert caller.job_id not in self.ids, f"{caller.job_id} was given out twice"
        self.ids.add(caller.job_id)
        code, output = caller.result["result_code"], caller.result.get("result_output")
        assert code in {0, *story.may_fail, *allowed}, caller.result
        for node in self.cluster.addresses:
            check_journal(journal_of(self.cluster, node), caller.job_id, failed=bool(code))
        orders = [list(self._ask(node, "SELECT revision, job FROM revisions ORDER BY revision")) for node in self.pids]
        assert all(order == orders[0] for order in orders)
        self._check_effect(story, output, undone=bool(code))

    def _is_lost(self, caller: Caller) -> bool:
        """Tell whether only the old master had the record of a job, so that whoever asks is told that there is none."""
        refused = isinstance(caller.problem, xmlrpc.client.Fault) and caller.job_id
        unknown = bool(refused) and caller.job_id in str(caller.problem)
        if unknown:
            known = f"SELECT 1 FROM records WHERE key = '{caller.job_id}'"
            assert not any(list(self._ask(node, known)) for node in self.cluster.addresses), caller.problem
        return unknown

    def _check_effect(self, story: Story, output: Any, *, undone: bool) -> None:
        """Check that the effect of a job is there; of one that was undone, that it is not, and can be."""
        if undone:
            # It left nothing, so it can be done now as if for the first time.
            assert not story.effect(None), story
            self._seat()
            output = self._finish((story.job, story.params))
        until(lambda: story.effect(output), f"{story} shows its effect{self.cluster.logs()}")
        for call in story.after:
            self._finish(call)

    def _told(self, caller: Caller) -> None:
        """Check that a caller got an answer, and wait until all nodes know it."""
        assert caller.problem is None, (caller.call, caller.problem, self.cluster.logs())
        self.settled(caller.job_id)

    def settled(self, job_id: str) -> None:
        """Wait until the end of a job, its debts and its revision are on every node."""
        ended = f"SELECT 1 FROM jobs WHERE id = '{job_id}' AND ended IS NOT NULL"
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

    def ranks(self) -> list[int]:
        """Return the master and the other nodes; with etcd there may be none for a moment."""
        master = until(
            lambda: next((node for node in self.cluster.addresses if self.master_on(node)), None), "there is a master"
        )
        return [master, *(node for node in self.cluster.addresses if node != master)]

    def _ask(self, node: int, query: str) -> Iterator[Sequence[Any]]:
        return ask(journal_of(self.cluster, node), query)

    def _orders(self, node: int) -> Path:
        return self.cluster.home / f"orders-n{node}"
