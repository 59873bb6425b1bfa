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

TORTURE = bool(os.environ.get("TORTURE"))
SEED = 4
#: Jobs that go back when they are made to fail: those with commands.
BACKWARDS = (*STORIES["storage"][:1], *STORIES["devices"])
#: Reached when a master begins or ends, not on the way of a job.
STARTING = (Failpoint.TERM_DUE, Failpoint.TERM_RECORDED, Failpoint.GATHERED, Failpoint.RECOVERED)
ENDING = (Failpoint.RESIGNING, Failpoint.RESIGNED)


@pytest.fixture(scope="module")
def sweep() -> Iterator[Sweep]:
    """A cluster of its own, whose daemons obey."""
    with cluster("CCC_PLAY_WITH_DB=false") as made:
        sweep = Sweep(made)
        try:
            yield sweep
        finally:
            sweep.close()


def changing_groups() -> set[str]:
    """Return the groups of the registry that have a modify job."""
    return {job.group for job in registry.load().values() if job.intent is Intent.MODIFY}


def tellers() -> list[Teller]:
    """Return the stories of all groups."""
    return [teller for group in sorted(changing_groups()) for teller in STORIES[group]]


def test_every_group_has_a_story() -> None:
    """A group that gets its first modify job is part of the sweep from then on."""
    assert changing_groups() <= STORIES.keys()


@pytest.fixture(scope="module")
def rehearsed(sweep: Sweep) -> list[Case]:
    """Give a case for every arrival at a failpoint on the way of each story, there and back."""
    forwards = [case for teller in tellers() for case in sweep.rehearse(teller, goes_back=False)]
    return [*forwards, *(case for teller in BACKWARDS for case in sweep.rehearse(teller, goes_back=True))]


def test_every_failpoint_is_on_the_way_of_a_job(rehearsed: list[Case]) -> None:
    """So each of them is part of the sweep."""
    assert {case.point for case in rehearsed} == set(Failpoint) - {*STARTING, *ENDING}


@pytest.mark.parametrize(
    ("teller", "goes_back"),
    [*((teller, False) for teller in tellers()), *((teller, True) for teller in BACKWARDS)],
    ids=lambda value: value.__name__.strip("_") if callable(value) else ("there", "and_back")[value],
)
def test_nodes_may_die_at_every_failpoint(sweep: Sweep, rehearsed: list[Case], teller: Teller, goes_back: bool) -> None:
    """Whoever dies there loses nothing and leaves nothing half done."""
    cases = [case for case in rehearsed if (case.teller, case.goes_back) == (teller, goes_back)]
    for case in cases if TORTURE else sample(cases, random.Random(f"{SEED} {teller.__name__} {goes_back}")):
        print(case)
        sweep.run(case)


def sample(cases: list[Case], dice: random.Random) -> list[Case]:
    """Return one case for the way there and two for the way back, each at another point."""
    points = dice.sample(sorted({case.point for case in cases}), 2 if cases[0].goes_back else 1)
    return [dice.choice([case for case in cases if case.point == point]) for point in points]


@pytest.mark.parametrize("point", STARTING if TORTURE else STARTING[1:2])
def test_a_master_may_die_twice(sweep: Sweep, point: Failpoint) -> None:
    """One that died with a job on its way, and again while it takes up its work, loses nothing."""
    for during in (Failpoint.COMMAND_SENT, Failpoint.FINISHED) if TORTURE else (Failpoint.COMMAND_SENT,):
        assert sweep.run(Case(STORIES["storage"][0], 11, during, then=point))


@pytest.mark.parametrize("point", ENDING if TORTURE else ENDING[:1])
def test_a_master_may_die_while_it_resigns(sweep: Sweep, point: Failpoint) -> None:
    """The job on its way goes on after the next start."""
    sweep.resign(STORIES["storage"][0], point)
