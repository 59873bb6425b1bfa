"""Survivors that take over knowing nothing of each other: one leads in the end, and what the other one did is kept."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import subprocess
import sys
import urllib.request
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from confd import __version__
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import other_version
from tests.cluster.test_mastership import agree_on, take_over
from tests.failpoints.evidence import ask, journal_of
from tests.torture import long


def leads(running: Cluster, node: int) -> bool:
    """Ask a node whether it is master."""
    url = f"https://{running.addresses[node]}:20003/is_master"
    with urllib.request.urlopen(url, context=ssl._create_unverified_context(), timeout=20) as answer:
        return bool(answer.read() == b"true")


def answers(running: Cluster, node: int) -> bool:
    """Tell whether a node that may just be starting answers reads, though it knows no master."""
    try:
        return "result_stale" in running.try_run("user_list", node)
    except (OSError, xmlrpc.client.Error):
        return False


def answers_as_master(running: Cluster, node: int) -> bool:
    """Tell whether a node that may just be starting is master."""
    try:
        return leads(running, node)
    except OSError:
        return False


def masters(running: Cluster, *nodes: int) -> list[int]:
    """Return the nodes that say that they are master."""
    return [node for node in nodes if leads(running, node)]


def terms(running: Cluster, node: int) -> dict[int, str]:
    """Return who led under each term, by a node's journal; no term twice."""
    told = [
        (term, key) for term, key in ask(journal_of(running, node), "SELECT term, key FROM records WHERE kind = 'term'")
    ]
    assert len({term for term, _ in told}) == len(told)
    return dict(told)


@long
def test_one_after_the_other() -> None:
    """Each took over when the other was dead: the later order counts, the earlier master follows when it returns."""
    with cluster("CCC_PLAY_WITH_DB=false") as made:
        for node in (11, 12):
            made.kill(node)
        # The node with the higher id goes first, so that it is not the id that decides.
        assert take_over(made, 13).returncode == 0
        made.run("node_suspend", 13, nid=[11, 12])
        made.run("group_create", 13, groupname="first", groupid=71_000)
        earlier = max(terms(made, 13))
        made.kill(13)
        command = [sys.executable, "-m", "confd.cli.confd", "--take-over", "--root", str(made.root(12))]
        subprocess.Popen(command, env=made.env)
        until(lambda: answers_as_master(made, 12), f"n12 leads{made.logs()}")
        made.run("node_suspend", 12, nid=[11, 13])
        made.run("group_create", 12, groupname="second", groupid=71_001)
        assert "first" not in made.run("group_list", 12)
        made.start()
        agree_on(made, 12)
        made.wait_same()
        assert masters(made, 11, 12, 13) == [12]
        assert list(terms(made, 13).items())[-1] == (max(terms(made, 12)), "12")
        (kept,) = (made.root(13) / "metadata/confd").glob(f"journal-{earlier}-*.db")
        groups = [body for (body,) in ask(kept, "SELECT body FROM records WHERE kind = 'finished'")]
        assert any("first" in str(body) for body in groups)


@long
def test_at_the_same_moment() -> None:
    """The master stands still, and both others are told to lead: one does, the other one says who."""
    with cluster("CCC_PLAY_WITH_DB=false") as made:
        for _ in range(3):
            (old,) = masters(made, *made.addresses)
            others = [node for node in made.addresses if node != old]
            os.kill(made.pid(old), signal.SIGSTOP)
            with ThreadPoolExecutor() as pool:
                orders = [pool.submit(take_over, made, node) for node in others]
                done = dict(zip(others, [order.result() for order in orders], strict=True))
            (new,) = [node for node, told in done.items() if told.returncode == 0]
            (refused,) = [told.stderr for told in done.values() if told.returncode]
            assert f"n{new}" in refused, refused
            os.kill(made.pid(old), signal.SIGCONT)
            until(lambda new=new: masters(made, *made.addresses) == [new], f"n{new} alone leads{made.logs()}")
            agree_on(made, new)
            made.wait_same()
        for node in made.addresses:
            terms(made, node)


@long
def test_a_survivor_of_another_version() -> None:
    """Most of the others would not follow it: it changes nothing and says who may. Alone it may."""
    with cluster("CCC_PLAY_WITH_DB=false", nodes=4) as made:
        made.kill(11)
        with other_version(made, 14, "0.0.1"):
            until(lambda: answers(made, 14), f"n14 runs{made.logs()}")
            before = {node: terms(made, node) for node in (12, 13, 14)}
            refused = take_over(made, 14)
            assert refused.returncode == 1, refused
            assert (
                f"n14 runs OpenConfD 0.0.1, and the next master is one of the nodes that run {__version__} (n12, n13)"
                in (refused.stderr)
            )
            assert "nothing was changed" in refused.stderr
            assert masters(made, 12, 13) == []
            assert {node: terms(made, node) for node in before} == before
            assert take_over(made, 12).returncode == 0
            made.run("node_suspend", 12, nid=11)
            made.run("group_create", 12, groupname="led", groupid=71_002)
            for node in (12, 13):
                made.kill(node)
            alone = take_over(made, 14)
            assert alone.returncode == 0, alone
            assert masters(made, 14) == [14]


def dies_taking_over(made: Cluster, node: int, orders: Path) -> None:
    """Have a node take over that dies of it, after others have promised to follow it, before it leads."""
    daemon = psutil.Process(made.pid(node))
    orders.write_text("term-due=exit")
    command = [sys.executable, "-m", "confd.cli.confd", "--take-over", "--root", str(made.root(node))]
    with subprocess.Popen(command, env=made.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as order:
        until(lambda: not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE, f"n{node} dies{made.logs()}")
        order.kill()
    orders.write_text("")


def refused(made: Cluster, group: int) -> str:
    """Return what is said of a change that waits for a node that was to take over."""

    def told() -> str:
        answer: dict[str, Any] = {}
        # It may just be starting.
        with contextlib.suppress(OSError):
            answer = made.try_run("group_create", groupname=f"g{group}", groupid=group)
        return str(answer) if "n12 was to be master and does not answer" in answer.get("result_desc", "") else ""

    return str(until(told, f"it is said{made.logs()}"))


@long
def test_who_takes_over_dies_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The master, there again, leads on when it hears that nobody leads, or is told to; each says what to do."""
    orders = tmp_path / "orders"
    orders.write_text("")
    monkeypatch.setenv("CONFD_FAILPOINTS", f"@{orders}")
    with cluster("CCC_PLAY_WITH_DB=false") as made:
        os.kill(made.pid(11), signal.SIGSTOP)
        dies_taking_over(made, 12, orders)
        os.kill(made.pid(11), signal.SIGCONT)
        # It goes on as master, which only n13 knows better.
        told = refused(made, 71_002)
        assert "NO_QUORUM" in told
        assert "start its daemon, or, if that cannot be, confd --take-over on n11" in told
        elsewhere = take_over(made, 13).stderr
        assert "n11 is master and answers, but n13 promised to follow another node; take over on n11" in elsewhere
        made.start()
        change = {"groupname": "g71002", "groupid": 71_002}
        until(lambda: made.try_run("group_create", **change)["result_code"] == 0, f"all follow n11{made.logs()}")
        # The same, but the master is started again, and who was to take over stays away.
        made.kill(11)
        dies_taking_over(made, 12, orders)
        subprocess.Popen([sys.executable, "-m", "confd.cli.confd", "--root", str(made.root(11))], env=made.env)
        assert "NO_MASTER" in refused(made, 71_003)
        done = take_over(made, 11)
        assert "n11 is master now" in done.stdout, done
        made.run("group_create", groupname="g71003", groupid=71_003)
        made.start()
        agree_on(made, 11)
        made.wait_same()
        assert masters(made, 11, 12, 13) == [11]
        for node in made.addresses:
            terms(made, node)
