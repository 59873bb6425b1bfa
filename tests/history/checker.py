"""What must be true of every history, as one pure function: the promises of the cluster towards its clients.

* Every acknowledged job is in the history of every node, with one end. Ids are given out once.
* What was refused or undone has no effect; nothing has an effect twice; nothing happens that nobody asked for.
* Revisions have one order, without gaps, and it is the order of real time: what begins after an acknowledgement comes
  after it.
* A read over any node that begins after an acknowledgement sees it, or something later; never what is yet to come.
* Under one term only one node leads.
* In the end all nodes hold the same.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tests.history.events import History, Node, Operation, Outcome


def violations(history: History) -> list[str]:
    """Return everything that must not be; nothing for a good history."""
    found = [*_unequal(history), *_masters(history)]
    # All hold the same, or that is said already.
    node = next(iter(history.nodes.values()))
    return [*found, *_jobs(history, node), *_revisions(node), *_effects(history, node), *_order(history, node)]


def _unequal(history: History) -> Iterator[str]:
    (first, one), *others = history.nodes.items()
    for name, other in others:
        for what in ("head", "exaconf", "revisions", "jobs"):
            if getattr(one, what) != getattr(other, what):
                yield f"n{first} and n{name} differ in {what}"


def _masters(history: History) -> Iterator[str]:
    leaders: dict[int, set[int]] = defaultdict(set)
    for node in history.nodes.values():
        for term, leader in node.terms:
            leaders[term].add(leader)
    for term, nodes in sorted(leaders.items()):
        if len(nodes) > 1:
            yield f"term {term} has the masters {sorted(nodes)}"


def _jobs(history: History, node: Node) -> Iterator[str]:
    given = Counter(one.job_id for one in history.operations if one.job_id)
    yield from (f"id {job_id} was given out {times} times" for job_id, times in given.items() if times > 1)
    for one in history.operations:
        if not one.job_id:
            continue
        job = node.jobs.get(one.job_id)
        if job is None or job.ends != 1:
            yield f"acknowledged job {one.job_id} has {job.ends if job else 'no record and no'} end"
        elif one.outcome is not Outcome.UNKNOWN and (job.code == 0) != (one.outcome is Outcome.OK):
            yield f"job {one.job_id} ended with {job.code}, its client was told {one.outcome}"


def _revisions(node: Node) -> Iterator[str]:
    numbers = [revision.number for revision in node.revisions]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))) if numbers else False:
        yield f"revisions have gaps or are out of order: {numbers}"
    makers = Counter(revision.job for revision in node.revisions)
    yield from (f"job {job} made {times} revisions" for job, times in makers.items() if times > 1)
    for revision in node.revisions:
        job = node.jobs.get(revision.job)
        if job is not None and job.revision != revision.number:
            yield f"job {revision.job} ended with revision {job.revision}, the journal says {revision.number}"


def _effects(history: History, node: Node) -> Iterator[str]:
    """What happened, against what was asked for."""
    written = {(one.register, one.value): one for one in history.operations if one.writes}
    happened = Counter((name, value) for revision in node.revisions for name, value in revision.values.items())
    for (register, value), times in happened.items():
        asked = written.get((register, value))
        if asked is None:
            yield f"{register} became {value}, which nobody wrote"
        elif asked.outcome is Outcome.FAIL:
            yield f"{register} became {value}, whose writer was told that it failed"
        elif times > 1:
            yield f"{register} became {value} {times} times"
    for (register, value), one in written.items():
        if one.outcome is Outcome.OK and not happened[register, value]:
            yield f"{register} never became {value}, which was acknowledged"


class _Seen:
    """The newest revision that was certain at each moment."""

    def __init__(self, certain: Iterable[tuple[float, int]]) -> None:
        self._moments: list[float] = []
        self._newest: list[int] = []
        for moment, place in sorted(certain):
            self._moments.append(moment)
            self._newest.append(max(place, self._newest[-1] if self._newest else 0))

    def before(self, moment: float) -> int:
        """Return what had to be visible to what begins now; 0 is nothing."""
        place = bisect.bisect_left(self._moments, moment)
        return self._newest[place - 1] if place else 0


def _order(history: History, node: Node) -> Iterator[str]:
    """The order of real time: writes among each other, reads against writes, reads among each other."""
    places = _places(history, node)
    certain = [one for one in history.operations if one.outcome is Outcome.OK and (one.register, one.value) in places]
    writes = _Seen((one.ended, places[one.register, one.value]) for one in certain if one.writes)
    for one in history.operations:
        place = places.get((one.register, one.value))
        if one.writes and place is not None and place < writes.before(one.began):
            yield f"{one.value} (revision {place}) began when revision {writes.before(one.began)} was acknowledged"
    for register in {one.register for one in history.operations}:
        told = [one for one in certain if one.register == register and not one.stale]
        seen = _Seen((one.ended, places[register, one.value]) for one in told)
        for one in history.operations:
            place = places.get((register, one.value), 0)
            if one.register == register and _counts(one) and place < seen.before(one.began):
                yield f"n{one.node} gave {one.value} (revision {place}) when revision {seen.before(one.began)} was known"
    yield from _impossible_reads(history, places)


def _impossible_reads(history: History, places: Mapping[tuple[str, str | None], int]) -> Iterator[str]:
    began = {(one.register, one.value): one.began for one in history.operations if one.writes}
    for one in history.operations:
        if one.value is None or one.writes or one.outcome is not Outcome.OK:
            continue
        if (one.register, one.value) not in places:
            yield f"n{one.node} gave {one.value}, which {one.register} never was"
        elif began.get((one.register, one.value), one.began) > one.ended:
            yield f"n{one.node} gave {one.value} before it was written"


def _counts(one: Operation) -> bool:
    """Whether this is a read that promises to be new: one marked as stale does not."""
    return not one.writes and one.outcome is Outcome.OK and not one.stale


def _places(history: History, node: Node) -> dict[tuple[str, str | None], int]:
    """Return the revision at which each register became each value; 0 is before the first."""
    return dict.fromkeys(history.initial.items(), 0) | {
        (register, value): revision.number for revision in node.revisions for register, value in revision.values.items()
    }
