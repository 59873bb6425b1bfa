"""The sweep with etcd as the store, where another node goes on as master by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from confd.model.failpoints import Failpoint
from tests.failpoints.cases import BACKWARDS, MOVING, Case, How, rehearse, sample, shuffled, strike, tellers, title
from tests.failpoints.stories import STORIES, Teller
from tests.failpoints.sweep import Sweep, swept
from tests.seeds import seeds
from tests.servers import ETCD, require
from tests.torture import long

SECONDS = 300.0
(SEED,) = seeds([], 1)
#: Where a master stands still for longer than its lease lasts.
STANDING = (
    Failpoint.SUBMITTED, Failpoint.COMMAND_SENT, Failpoint.RESULT_RECORDED, Failpoint.ETCD_DUE, Failpoint.JOURNAL_DUE,
    Failpoint.ORDERED, Failpoint.FINISHED, Failpoint.SETTLED,
)  # fmt: skip


@pytest.fixture(scope="module")
def sweep() -> Iterator[Sweep]:
    """A cluster of its own, whose daemons obey."""
    require(ETCD)
    with swept("etcd") as made:
        yield made


def test_another_node_may_lead_meanwhile(sweep: Sweep) -> None:
    """A master dies; what was acknowledged is done under the next one, and it follows when it returns."""
    cases = [case for case in sweep.rehearse(STORIES["storage"][0], goes_back=False) if case.rank == 0]
    (chosen,) = sample(cases, 1)
    strike(sweep.run, [chosen._replace(how=How.SUCCEEDED)])


@pytest.fixture(scope="module")
def rehearsed(sweep: Sweep) -> list[Case]:
    """Give all cases with etcd."""
    return rehearse(sweep.rehearse, tellers(everything=True))


@long
def test_every_failpoint_is_on_the_way_of_a_job(rehearsed: list[Case]) -> None:
    """So each of them is part of the sweep."""
    assert set(Failpoint) - {case.point for case in rehearsed} == {*MOVING}


@long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("teller", tellers(everything=False), ids=title)
def test_masters_may_die_at_every_failpoint(sweep: Sweep, rehearsed: list[Case], teller: Teller) -> None:
    """Whoever dies there loses nothing; every other one comes back only when another node leads."""
    cases = [case for case in rehearsed if (case.teller, case.rank) == (teller, 0)]
    strike(sweep.run, _mixed(cases))


@long
@pytest.mark.timeout(900)
def test_nodes_may_die_at_failpoints_of_further_stories(sweep: Sweep, rehearsed: list[Case]) -> None:
    """Also those that do not lead; at as many points as there is time for."""
    further = [case for case in rehearsed if case.rank or case.teller not in tellers(everything=False)]
    strike(sweep.run, _mixed(further), SECONDS)


def _mixed(cases: list[Case]) -> list[Case]:
    """Take each point once for each story and rank; while every other master is away another node leads."""
    print(f"SEED={SEED}")
    return [
        case._replace(how=How.SUCCEEDED) if case.rank == 0 and number % 2 else case
        for number, case in enumerate(shuffled(cases, SEED))
    ]


@long
@pytest.mark.parametrize(
    "point", [Failpoint.TERM_DUE, Failpoint.TERM_RECORDED, Failpoint.GATHERED, Failpoint.RECOVERED]
)
def test_two_masters_may_die(sweep: Sweep, point: Failpoint) -> None:
    """One that died with a job on its way, and the next one, whoever that is, while it takes up its work."""
    strike(sweep.run, [Case(STORIES["storage"][0], 0, Failpoint.COMMAND_SENT, then=point)])


@long
@pytest.mark.parametrize("point", [Failpoint.RESIGNING, Failpoint.RESIGNED])
def test_a_master_may_die_while_it_resigns(sweep: Sweep, point: Failpoint) -> None:
    """The job on its way goes on under the next one."""
    sweep.resign(STORIES["storage"][0], point)


@long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("goes_back", [False, True], ids=["there", "and_back"])
def test_a_master_may_stand_still(sweep: Sweep, goes_back: bool) -> None:
    """It steps down when it goes on; the job ended once, under the next one."""
    points = (Failpoint.BACK_RECORDED, Failpoint.UNDO_DUE, Failpoint.UNDONE) if goes_back else STANDING
    teller = BACKWARDS[0]
    strike(sweep.run, [Case(teller, 0, point, goes_back=goes_back, how=How.STANDS_STILL) for point in points])
