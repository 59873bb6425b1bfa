"""What must be true of every history, as one pure function: the promises of the cluster towards its clients.

* Every acknowledged job is in the history of every node, with one end. Ids are given out once.
* What was refused or undone has no effect; nothing has an effect twice, also where the second changes nothing any more;
  nothing happens that nobody asked for.
* Revisions have one order, without gaps, and it is the order of real time: what begins after an acknowledgement comes
  after it.
* A read over any node that begins after an acknowledgement sees it, or something later; never what is yet to come.
* Under one term only one node leads.
* In the end all nodes hold the same, no command is owed, and on the disks lies what the configuration says: no segment
  is missing and none is left over.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tests.history.events import History, Node, Operation, Outcome

Places = Mapping[tuple[str, str | None], int]
"""The revision at which each register became each value."""


def violations(history: History) -> list[str]:
    """Return everything that must not be; nothing for a good history."""
    found = [*_unequal(history), *_masters(history), *_disks(history)]
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


def _disks(history: History) -> Iterator[str]:
    for name, node in history.nodes.items():
        yield from (f"n{name} lacks {part}" for part in sorted(node.configured - node.on_disk))
        yield from (f"n{name} has {part}, which is not configured" for part in sorted(node.on_disk - node.configured))
        yield from (f"n{name} still knows of the debt {debt}" for debt in sorted(node.debts))


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
    done = Counter(job.asks for job in node.jobs.values() if job.asks in written and job.code == 0)
    yield from (f"{asks} was done by {times} jobs" for asks, times in done.items() if times > 1)
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
    written = [one for one in history.operations if one.writes and (one.register, one.value) in places]
    known = _Seen(_acknowledged(written, places))
    for one in written:
        place = places[one.register, one.value]
        if place < known.before(one.began):
            yield f"{one.value} (revision {place}) began when revision {known.before(one.began)} was acknowledged"
    for register in {one.register for one in history.operations}:
        reads = [one for one in history.operations if one.register == register and _counts(one)]
        yield from _old_reads(reads, [one for one in written if one.register == register], places)
    yield from _impossible_reads(history, places)


def _old_reads(reads: list[Operation], written: list[Operation], places: Places) -> Iterator[str]:
    """Find the reads of one register that came after its next value was known, by a write or by another read."""
    spans = [(one, *_span(one, written, places)) for one in reads]
    seen = _Seen([*_acknowledged(written, places), *((one.ended, lowest) for one, lowest, _ in spans)])
    for one, _, place in spans:
        if place < seen.before(one.began):
            yield f"n{one.node} gave {one.value} (revision {place}) when revision {seen.before(one.began)} was known"


def _span(one: Operation, written: list[Operation], places: Places) -> tuple[int, int]:
    """Return the first and the last revision that a read may have seen: nothing is there before and after."""
    place = places.get((one.register, one.value), 0)
    if one.value is not None:
        return place, place
    if not any(write.value is None and write.began <= one.ended for write in written):
        return 0, 0
    was_there = any(place and ended < one.began for ended, place in _acknowledged(written, places))
    return place if was_there else 0, place


def _acknowledged(written: list[Operation], places: Places) -> list[tuple[float, int]]:
    return [(one.ended, places[one.register, one.value]) for one in written if one.outcome is Outcome.OK]


def _impossible_reads(history: History, places: Places) -> Iterator[str]:
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


def _places(history: History, node: Node) -> Places:
    """Return the revision at which each register became each value; 0 is before the first."""
    initial: dict[tuple[str, str | None], int] = dict.fromkeys(history.initial.items(), 0)
    return initial | {
        (register, value): revision.number for revision in node.revisions for register, value in revision.values.items()
    }
