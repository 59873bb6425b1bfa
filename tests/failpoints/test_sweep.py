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
SAMPLE = 12
SEED = 4
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


def test_nodes_may_die_at_every_failpoint(sweep: Sweep) -> None:
    """Every point is on the way of some job; whoever dies there loses nothing and leaves nothing half done."""
    cases = [case for teller in tellers() for case in sweep.rehearse(teller, goes_back=False)]
    backwards = [case for teller in STORIES["storage"][:1] for case in sweep.rehearse(teller, goes_back=True)]
    reached = {case.point for case in (*cases, *backwards)}
    assert set(Failpoint) - reached == {*STARTING, *ENDING}
    for case in chosen(cases, backwards, random.Random(SEED)):
        print(case)
        sweep.run(case)


def chosen(cases: list[Case], backwards: list[Case], dice: random.Random) -> list[Case]:
    """Return all cases, or a sample in which every group and the way back are."""
    if TORTURE:
        return [*cases, *backwards]
    of_each = [dice.choice([case for case in cases if case.teller is teller]) for teller in tellers()]
    return [*of_each, *dice.sample(backwards, 3)]


@pytest.mark.parametrize("point", STARTING if TORTURE else STARTING[1:2])
def test_a_master_may_die_twice(sweep: Sweep, point: Failpoint) -> None:
    """One that died with a job on its way, and again while it takes up its work, loses nothing."""
    for during in (Failpoint.COMMAND_SENT, Failpoint.FINISHED) if TORTURE else (Failpoint.COMMAND_SENT,):
        assert sweep.run(Case(STORIES["storage"][0], 11, during, then=point))


@pytest.mark.parametrize("point", ENDING if TORTURE else ENDING[:1])
def test_a_master_may_die_while_it_resigns(sweep: Sweep, point: Failpoint) -> None:
    """The job on its way goes on after the next start."""
    sweep.resign(STORIES["storage"][0], point)
