"""What happens to a node during a job, and choosing among all that could."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from confd.model.failpoints import Failpoint
from confd.model.states import Intent
from confd.scheduler import registry
from tests.failpoints.stories import MORE, STORIES, Teller

RANKS: Final = ("master", "node", "other node")
#: Jobs that go back when they are made to fail: those with commands.
BACKWARDS: Final = (*STORIES["storage"][:1], *STORIES["devices"])
#: What happens only with etcd, and only while the cluster moves from one store to the other.
WITH_ETCD: Final = (Failpoint.ETCD_DUE, Failpoint.SPREAD_DUE, Failpoint.VACATED)
MOVING: Final = (Failpoint.COPIED, Failpoint.SWITCHED, Failpoint.ADOPTED)
_SEED: Final = 4


class How(StrEnum):
    """What befalls a node, and when it is back."""

    RETURNS = "dies and returns at once"
    SUCCEEDED = "dies and returns once another node leads"
    TAKEN_OVER = "dies and returns once another node has taken over"
    STANDS_STILL = "stands still until another node leads"

    @property
    def action(self) -> str:
        """What is ordered at the failpoint."""
        return "pause" if self is How.STANDS_STILL else "exit"

    @property
    def away(self) -> bool:
        """Whether another node leads meanwhile."""
        return self is not How.RETURNS


class Case(NamedTuple):
    """A node dies at its ``count``-th arrival at a point during a job; then whoever leads next at ``then``.

    ``rank`` 0 is the master, 1 and 2 are the other nodes.
    """

    teller: Teller
    rank: int
    point: Failpoint
    count: int = 1
    goes_back: bool = False
    then: Failpoint | None = None
    how: How = How.RETURNS

    def __str__(self) -> str:
        """Name the case as it is reported."""
        back = " going back" if self.goes_back else ""
        then = f", the next master at {self.then}" if self.then else ""
        return f"{title(self.teller)}{back}: {RANKS[self.rank]} {self.how} at {self.point}@{self.count}{then}"


def title(teller: Teller) -> str:
    """Return how a story is called."""
    return teller.__name__.strip("_")


def changing_groups() -> set[str]:
    """Return the groups of the registry that have a modify job."""
    return {job.group for job in registry.load().values() if job.intent is Intent.MODIFY}


def tellers(*, everything: bool) -> list[Teller]:
    """Return the stories of all groups, and further ones."""
    ours = [teller for group in sorted(changing_groups()) for teller in STORIES.get(group, ())]
    return [*ours, *(MORE if everything else ())]


def rehearse(run: Callable[..., list[Case]], chosen: Sequence[Teller]) -> list[Case]:
    """Give a case for every arrival at a failpoint on the way of each story, there and back."""
    forwards = [case for teller in chosen for case in run(teller, goes_back=False)]
    return [*forwards, *(case for teller in BACKWARDS for case in run(teller, goes_back=True))]


def sample(cases: Sequence[Case], count: int) -> list[Case]:
    """Return some cases, each at another point; the same ones each time."""
    dice = random.Random(f"{_SEED} {cases[0].teller.__name__} {cases[0].goes_back}")
    points = dice.sample(sorted({case.point for case in cases}), count)
    return [dice.choice([case for case in cases if case.point == point]) for point in points]


def shuffled(cases: Sequence[Case], seed: int) -> list[Case]:
    """Return a case for each story, point and rank, mixed, those first with which no point and rank is left out."""
    dice = random.Random(seed)
    mixed = dice.sample(cases, len(cases))
    ways = {(case.teller, case.goes_back, case.point, case.rank): case for case in mixed}
    first = {(case.point, case.rank): case for case in ways.values()}
    return [*first.values(), *(case for case in ways.values() if case not in first.values())]


def strike(run: Callable[[Case], bool], cases: Sequence[Case], seconds: float = float("inf")) -> None:
    """Run cases, no new one after so many seconds; fail when nobody came to where a death was due in too many.

    How often a node comes to a point differs each time: then an earlier arrival is taken, at last the first one.
    """
    started, done, missed = time.monotonic(), 0, []
    for case in cases:
        if time.monotonic() - started > seconds:
            break
        print(case, flush=True)
        counts = sorted({case.count, max(1, case.count - 1), max(1, case.count // 2), 1}, reverse=True)
        if not any(run(case._replace(count=count)) for count in counts):
            missed.append(str(case))
        done += 1
    print(f"{done} of {len(cases)} cases in {time.monotonic() - started:.0f} s; nobody died in {len(missed)}: {missed}")
    assert done
    assert len(missed) <= done // 50, missed
