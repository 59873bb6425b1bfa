"""Nodes die at every boundary of the pipeline: an acknowledged job ends once, well or without a trace."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from confd.model.failpoints import Failpoint
from confd.model.states import Intent
from confd.scheduler import registry
from tests.cluster.harness import cluster
from tests.failpoints.stories import STORIES, Teller
from tests.failpoints.sweep import Case, Sweep
from tests.servers import ETCD, require

TORTURE = bool(os.environ.get("TORTURE"))
SEED = 4
#: Jobs that go back when they are made to fail: those with commands.
BACKWARDS = (*STORIES["storage"][:1], *STORIES["devices"])
#: What happens only in the other store.
FOREIGN = {"sqlite": {Failpoint.ETCD_DUE}, "etcd": {Failpoint.GIVING, Failpoint.GIVEN}}
#: Reached when a master begins and ends.
STARTING = (Failpoint.TERM_DUE, Failpoint.TERM_RECORDED, Failpoint.GATHERED, Failpoint.RECOVERED)
ENDING = (Failpoint.RESIGNING, Failpoint.RESIGNED)
#: Groups without a story, with the reason.
LEFT_OUT = {
    "store": "moves the whole cluster and starts all its daemons anew; tests/cluster/test_moving_store.py is about it"
}


@pytest.fixture(scope="module")
def sweep() -> Iterator[Sweep]:
    """A cluster of its own with the embedded store, whose daemons obey."""
    yield from swept("sqlite")


@pytest.fixture(scope="module")
def with_etcd() -> Iterator[Sweep]:
    """The same with etcd."""
    require(ETCD)
    yield from swept("etcd")


def swept(store: str) -> Iterator[Sweep]:
    """Make a cluster whose daemons obey."""
    with cluster("CCC_PLAY_WITH_DB=false", f"CCC_PLAY_STORE={store}") as made:
        sweep = Sweep(made, store)
        try:
            yield sweep
        finally:
            sweep.close()


def changing_groups() -> set[str]:
    """Return the groups of the registry that have a modify job."""
    return {job.group for job in registry.load().values() if job.intent is Intent.MODIFY}


def tellers() -> list[Teller]:
    """Return the stories of all groups."""
    return [teller for group in sorted(changing_groups()) for teller in STORIES.get(group, ())]


def rehearse(sweep: Sweep) -> list[Case]:
    """Give a case for every arrival at a failpoint on the way of each story, there and back."""
    forwards = [case for teller in tellers() for case in sweep.rehearse(teller, goes_back=False)]
    return [*forwards, *(case for teller in BACKWARDS for case in sweep.rehearse(teller, goes_back=True))]


@pytest.fixture(scope="module")
def rehearsed(sweep: Sweep) -> list[Case]:
    """Give all cases of the embedded store."""
    return rehearse(sweep)


def test_every_group_has_a_story() -> None:
    """A group that gets its first modify job is part of the sweep from then on."""
    assert changing_groups() - LEFT_OUT.keys() <= STORIES.keys()


def test_every_failpoint_is_on_the_way_of_a_job(sweep: Sweep, rehearsed: list[Case]) -> None:
    """So each of them is part of the sweep."""
    assert set(Failpoint) - {case.point for case in rehearsed} == FOREIGN[sweep.store]


@pytest.mark.parametrize(
    ("teller", "goes_back"),
    [*((teller, False) for teller in tellers()), *((teller, True) for teller in BACKWARDS)],
    ids=lambda value: value.__name__.strip("_") if callable(value) else ("there", "and_back")[value],
)
def test_nodes_may_die_at_every_failpoint(sweep: Sweep, rehearsed: list[Case], teller: Teller, goes_back: bool) -> None:
    """Whoever dies there loses nothing and leaves nothing half done."""
    cases = [case for case in rehearsed if (case.teller, case.goes_back) == (teller, goes_back)]
    for case in cases if TORTURE else sample(cases, 2 if goes_back else 1):
        print(case)
        sweep.run(case)


def test_a_node_may_stand_still_with_a_command_under_way(sweep: Sweep) -> None:
    """Its job goes back meanwhile, and what the command leaves after that is taken away as well."""
    sweep.strand(STORIES["storage"][0])


def test_nodes_may_die_at_every_failpoint_with_etcd(with_etcd: Sweep) -> None:
    """The same; another node goes on as master meanwhile."""
    if TORTURE:
        everything = rehearse(with_etcd)
        assert set(Failpoint) - {case.point for case in everything} == FOREIGN[with_etcd.store]
        points = sorted({(case.point, case.rank) for case in everything})
        chosen = [sample([one for one in everything if (one.point, one.rank) == point], 1)[0] for point in points]
    else:
        chosen = sample(with_etcd.rehearse(STORIES["storage"][0], goes_back=False), 2)
    for case in chosen:
        print(case)
        with_etcd.run(case)


def sample(cases: list[Case], count: int) -> list[Case]:
    """Return some cases, each at another point; the same ones each time."""
    dice = random.Random(f"{SEED} {cases[0].teller.__name__} {cases[0].goes_back}")
    points = dice.sample(sorted({case.point for case in cases}), count)
    return [dice.choice([case for case in cases if case.point == point]) for point in points]


@pytest.mark.parametrize("point", STARTING if TORTURE else STARTING[1:2])
def test_a_master_may_die_twice(sweep: Sweep, point: Failpoint) -> None:
    """One that died with a job on its way, and again while it takes up its work, loses nothing."""
    for during in (Failpoint.COMMAND_SENT, Failpoint.FINISHED) if TORTURE else (Failpoint.COMMAND_SENT,):
        assert sweep.run(Case(STORIES["storage"][0], 0, during, then=point))


@pytest.mark.parametrize("point", ENDING if TORTURE else ENDING[:1])
def test_a_master_may_die_while_it_resigns(sweep: Sweep, point: Failpoint) -> None:
    """The job on its way goes on after the next start."""
    sweep.resign(STORIES["storage"][0], point)
