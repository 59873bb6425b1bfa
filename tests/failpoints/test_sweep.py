"""Nodes die at every boundary of the pipeline: an acknowledged job ends once, well or without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from confd.cluster.identity import NodeFiles
from confd.cluster.transport.nodeport import Connector
from confd.model.failpoints import Failpoint
from tests.cluster.harness import until
from tests.cluster.test_joining import NODE_PORT, join
from tests.failpoints.cases import (
    BACKWARDS,
    MOVING,
    WITH_ETCD,
    Case,
    How,
    changing_groups,
    rehearse,
    sample,
    shuffled,
    strike,
    tellers,
    title,
)
from tests.failpoints.stories import LONG, MORE, STORIES, Teller
from tests.failpoints.sweep import Sweep, swept
from tests.seeds import seeds
from tests.torture import TORTURE, long

#: Reached when a master begins and ends.
STARTING = (Failpoint.TERM_DUE, Failpoint.TERM_RECORDED, Failpoint.GATHERED, Failpoint.RECOVERED)
ENDING = (Failpoint.RESIGNING, Failpoint.RESIGNED)
#: Where a master dies whose place another node takes.
TAKING_OVER = (
    Failpoint.SUBMITTED, Failpoint.COMMAND_RECORDED, Failpoint.COMMAND_SENT, Failpoint.EXECUTED,
    Failpoint.JOURNAL_WRITTEN, Failpoint.FINISHED, Failpoint.DISTRIBUTED, Failpoint.COMMITTED,
)  # fmt: skip
#: Groups without a story, with the reason.
LEFT_OUT = {"store": "starts all daemons anew; test_sweep_moving.py is about it"}
LONG_SECONDS = 150.0
(SEED,) = seeds([], 1)


@pytest.fixture(scope="module")
def sweep() -> Iterator[Sweep]:
    """A cluster of its own with the embedded store, whose daemons obey."""
    with swept("sqlite") as made:
        yield made


@pytest.fixture(scope="module")
def rehearsed(sweep: Sweep) -> list[Case]:
    """Give all cases of the embedded store."""
    return rehearse(sweep.rehearse, tellers(everything=TORTURE))


def test_a_removed_node_is_cut_off_before_the_job_goes_on(sweep: Sweep) -> None:
    """The master's connections to it end as soon as its removal is durable, and nobody else looks for them later."""
    cluster, go = sweep.cluster, sweep.cluster.home / "go"
    node = join(cluster, 14)
    files, master = NodeFiles(cluster.root(node)), sweep.ranks()[0]

    async def leave() -> None:
        connector = Connector(files.client_tls(), {})
        link = await connector.link(cluster.addresses[master], NODE_PORT)
        sweep.order(master, f"{Failpoint.FINISHED}=wait:{go}")
        removal = asyncio.create_task(asyncio.to_thread(cluster.run, "node_remove", nid=node))
        try:
            await asyncio.to_thread(until, lambda: not link.open, f"it is cut off{cluster.logs()}", 20)
            assert not removal.done()
        finally:
            go.touch()
            await removal
            await connector.close()

    asyncio.run(leave())
    cluster.c4("rm", "-t", f"1.{node}")
    del cluster.addresses[node]


def test_every_group_has_a_story() -> None:
    """A group that gets its first modify job is part of the sweep from then on."""
    assert changing_groups() - LEFT_OUT.keys() <= STORIES.keys()


def test_every_failpoint_is_on_the_way_of_a_job(rehearsed: list[Case]) -> None:
    """So each of them is part of the sweep."""
    assert set(Failpoint) - {case.point for case in rehearsed} == {*WITH_ETCD, *MOVING}


@pytest.mark.parametrize(
    ("teller", "goes_back"),
    [*((teller, False) for teller in tellers(everything=TORTURE)), *((teller, True) for teller in BACKWARDS)],
    ids=lambda value: title(value) if callable(value) else ("there", "and_back")[value],
)
def test_nodes_may_die_at_every_failpoint(sweep: Sweep, rehearsed: list[Case], teller: Teller, goes_back: bool) -> None:
    """Whoever dies there loses nothing and leaves nothing half done."""
    cases = [case for case in rehearsed if (case.teller, case.goes_back) == (teller, goes_back)]
    if not TORTURE:
        cases = sample(cases, 2 if goes_back else 1)
    elif teller in MORE:
        # Each point and node once.
        cases = shuffled(cases, SEED)
    strike(sweep.run, cases)


def test_a_node_may_stand_still_with_a_command_under_way(sweep: Sweep) -> None:
    """Its job goes back meanwhile, and what the command leaves after that is taken away as well."""
    sweep.strand(STORIES["storage"][0])


@pytest.mark.parametrize("point", STARTING if TORTURE else STARTING[1:2])
def test_a_master_may_die_twice(sweep: Sweep, point: Failpoint) -> None:
    """One that died with a job on its way, and again while it takes up its work, loses nothing."""
    for during in (Failpoint.COMMAND_SENT, Failpoint.FINISHED) if TORTURE else (Failpoint.COMMAND_SENT,):
        strike(sweep.run, [Case(STORIES["storage"][0], 0, during, then=point)])


@pytest.mark.parametrize("point", ENDING if TORTURE else ENDING[:1])
def test_a_master_may_die_while_it_resigns(sweep: Sweep, point: Failpoint) -> None:
    """The job on its way goes on after the next start."""
    sweep.resign(STORIES["storage"][0], point)


@long
@pytest.mark.parametrize("teller", [*STORIES["users"], *STORIES["storage"]], ids=title)
def test_a_survivor_may_take_over(sweep: Sweep, rehearsed: list[Case], teller: Teller) -> None:
    """The job ends under it, and the old master follows when it returns."""
    reached = {case.point for case in rehearsed if (case.teller, case.rank, case.goes_back) == (teller, 0, False)}
    points = [point for point in TAKING_OVER if point in reached]
    strike(sweep.run, [Case(teller, 0, point, how=How.TAKEN_OVER) for point in points])


@long
@pytest.mark.parametrize("teller", LONG, ids=title)
def test_nodes_may_die_while_servers_start_and_stop(sweep: Sweep, teller: Teller) -> None:
    """At as many points as there is time for."""
    strike(sweep.run, shuffled(sweep.rehearse(teller, goes_back=False), SEED), LONG_SECONDS)
