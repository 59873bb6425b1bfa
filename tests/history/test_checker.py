"""The checker takes every good history, and refuses each kind of bad one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.history.checker import violations
from tests.history.events import History, Job, Node, Operation, Outcome, Revision

NODES = (11, 12, 13)
REGISTERS = ("a", "b", "c")
DELETED = "c"


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw what a faultless cluster does: every operation takes effect at one moment between begin and end."""
    operations, jobs, revisions = [], {}, []
    initial = draw(st.sampled_from([{}, {"a": "first"}]))
    present: dict[str, str | None] = dict.fromkeys(REGISTERS) | initial
    deleted: set[str] = set()
    moments = draw(st.lists(st.floats(0.5, 5.0), min_size=6, max_size=14))
    at = 0.0
    for number, length in enumerate(moments):
        at += 1.0
        register, node = draw(st.sampled_from(REGISTERS)), draw(st.sampled_from(NODES))
        # It takes effect at ``at``; begin and end lie around it and overlap with those of others.
        began, ended = at - length, at + draw(st.floats(0.5, 5.0))
        # What was deleted is not written again.
        if draw(st.booleans()) and register not in deleted:
            value: str | None = f"v{number}"
            job_id = f"{node}.{number}"
            if register == DELETED and present[register] is not None:
                value = None
                deleted.add(register)
            outcome = draw(st.sampled_from([Outcome.OK, *Outcome]))
            known = outcome is not Outcome.UNKNOWN or draw(st.booleans())
            happens = outcome is Outcome.OK or (outcome is Outcome.UNKNOWN and draw(st.booleans()))
            if happens:
                present[register] = value
                revisions.append(Revision(len(revisions) + 2, job_id, {register: value}))
            if known or happens:
                revision = len(revisions) + 1 if happens else None
                jobs[job_id] = Job(0 if happens else 306, 1, revision, (register, value))
            operations.append(
                Operation(number, node, register, True, value, began, ended, outcome, job_id if known else "")
            )
        else:
            outcome = draw(st.sampled_from([Outcome.OK, Outcome.OK, Outcome.UNKNOWN]))
            operations.append(Operation(number, node, register, False, present[register], began, ended, outcome))
    parts = frozenset(draw(st.sets(st.sampled_from(["space", "directory"]))))
    end = Node(jobs, tuple(revisions), frozenset({(1, 11), (2, 12)}), (2, 99), "same", parts, parts)
    return History(tuple(operations), dict.fromkeys(NODES, end), initial)


@given(histories())
def test_good_histories_pass(history: History) -> None:
    """Nothing is found where everything is right."""
    assert violations(history) == []


def everywhere(history: History, **changed: Any) -> History:
    """Change what all nodes hold."""
    nodes = {name: msgspec.structs.replace(node, **changed) for name, node in history.nodes.items()}
    return msgspec.structs.replace(history, nodes=nodes)


def with_operation(history: History, old: Operation, **changed: Any) -> History:
    """Change one operation."""
    operations = [msgspec.structs.replace(one, **changed) if one is old else one for one in history.operations]
    return msgspec.structs.replace(history, operations=tuple(operations))


def acknowledged(history: History) -> list[Operation]:
    """Return the writes that were told to be done, where nothing is deleted."""
    return [one for one in history.operations if one.writes and one.outcome is Outcome.OK and one.register != DELETED]


def a_write(history: History) -> tuple[Operation, Node]:
    """Return an acknowledged write, and what a node holds."""
    assume(acknowledged(history))
    return acknowledged(history)[0], history.nodes[11]


def lost_job(history: History) -> History:
    """An acknowledged job is not in the history."""
    one, node = a_write(history)
    return everywhere(history, jobs={key: job for key, job in node.jobs.items() if key != one.job_id})


def job_twice(history: History) -> History:
    """A job ended twice."""
    one, node = a_write(history)
    return everywhere(history, jobs={**node.jobs, one.job_id: msgspec.structs.replace(node.jobs[one.job_id], ends=2)})


def lost_write(history: History) -> History:
    """A revision of an acknowledged job is gone, and the later ones have moved up."""
    one, node = a_write(history)
    kept = [revision for revision in node.revisions if revision.job != one.job_id]
    moved = [Revision(place + 2, revision.job, revision.values) for place, revision in enumerate(kept)]
    jobs = dict(node.jobs)
    for revision in moved:
        jobs[revision.job] = msgspec.structs.replace(jobs[revision.job], revision=revision.number)
    return everywhere(history, revisions=tuple(moved), jobs=jobs)


def write_twice(history: History) -> History:
    """A write took effect twice."""
    one, node = a_write(history)
    again = Revision(len(node.revisions) + 2, "99.1", {one.register: one.value})
    return everywhere(history, revisions=(*node.revisions, again))


def repeated_without_a_revision(history: History) -> History:
    """A write was done under a second id as well, which changed nothing any more."""
    one, node = a_write(history)
    again = msgspec.structs.replace(node.jobs[one.job_id], revision=None)
    return everywhere(history, jobs={**node.jobs, "99.1": again})


def gap(history: History) -> History:
    """A revision is missing in the middle of the order."""
    _, node = a_write(history)
    after = Revision(len(node.revisions) + 3, "99.1", {})
    return everywhere(history, revisions=(*node.revisions, after))


def failed_with_effect(history: History) -> History:
    """A client was told that its write failed, and it is there."""
    one, _ = a_write(history)
    return with_operation(history, one, outcome=Outcome.FAIL)


def id_twice(history: History) -> History:
    """Two calls got the same id."""
    assume(len(acknowledged(history)) > 1)
    first, second = acknowledged(history)[:2]
    return with_operation(history, second, job_id=first.job_id)


def against_time(history: History) -> History:
    """A write that began after another one was acknowledged comes before it."""
    _, node = a_write(history)
    place = {revision.job: revision.number for revision in node.revisions}
    writes = acknowledged(history)
    assume(len(writes) > 1)
    first, last = writes[0], writes[-1]
    assume(place[first.job_id] < place[last.job_id])
    late = max(one.ended for one in history.operations) + 1
    return with_operation(history, first, began=late, ended=late + 1)


def stale_read(history: History) -> History:
    """A read over another node does not see what was acknowledged before it began."""
    one, _ = a_write(history)
    late = max(other.ended for other in history.operations) + 1
    read = Operation(99, 12, one.register, False, None, late, late + 1, Outcome.OK)
    return msgspec.structs.replace(history, operations=(*history.operations, read))


def read_of_the_future(history: History) -> History:
    """A read gives what is written only later."""
    one, _ = a_write(history)
    read = Operation(99, 12, one.register, False, one.value, one.began - 3, one.began - 2, Outcome.OK)
    return msgspec.structs.replace(history, operations=(*history.operations, read))


def read_of_nothing(history: History) -> History:
    """A read gives what never was."""
    read = Operation(99, 12, "a", False, "never", 100.0, 101.0, Outcome.OK)
    return msgspec.structs.replace(history, operations=(*history.operations, read))


def reads_go_back(history: History) -> History:
    """A second read gives an older value than the first, although neither write was acknowledged."""
    one, _ = a_write(history)
    late = max(other.ended for other in history.operations) + 10
    unknown = with_operation(history, one, ended=late, outcome=Outcome.UNKNOWN)
    reads = [
        Operation(99, 12, one.register, False, value, late - 9 + place, late - 8.5 + place, Outcome.OK)
        for place, value in enumerate((one.value, None))
    ]
    return msgspec.structs.replace(unknown, operations=(*unknown.operations, *reads))


def with_deletion(history: History, node: Node, operations: Sequence[Operation]) -> History:
    """Add operations on ``d``, and on every node the revisions that make it and delete it."""
    made, gone = (
        Revision(len(node.revisions) + number, f"99.{number}", {"d": value}) for number, value in ((2, "v"), (3, None))
    )
    history = everywhere(history, revisions=(*node.revisions, made, gone))
    return msgspec.structs.replace(history, operations=(*history.operations, *operations))


def back_from_nothing(history: History) -> History:
    """What a read found deleted is there again in the next, although the deletion was not acknowledged."""
    _, node = a_write(history)
    late = max(other.ended for other in history.operations) + 10
    operations = (
        Operation(99, 12, "d", True, "v", late, late + 1, Outcome.OK),
        Operation(99, 12, "d", True, None, late + 2, late + 9, Outcome.UNKNOWN),
        Operation(99, 12, "d", False, None, late + 3, late + 4, Outcome.OK),
        Operation(99, 12, "d", False, "v", late + 5, late + 6, Outcome.OK),
    )
    return with_deletion(history, node, operations)


def gone_too_early(history: History) -> History:
    """A read finds nothing where something was acknowledged, and is deleted only later."""
    _, node = a_write(history)
    late = max(other.ended for other in history.operations) + 10
    operations = (
        Operation(99, 12, "d", True, "v", late, late + 1, Outcome.OK),
        Operation(99, 12, "d", False, None, late + 2, late + 3, Outcome.OK),
        Operation(99, 12, "d", True, None, late + 4, late + 5, Outcome.OK),
    )
    return with_deletion(history, node, operations)


def on_one(history: History, **changed: Any) -> History:
    """Change what n12 holds."""
    nodes = {**history.nodes, 12: msgspec.structs.replace(history.nodes[12], **changed)}
    return msgspec.structs.replace(history, nodes=nodes)


def segment_left(history: History) -> History:
    """A segment lies on a disk, and no volume has it."""
    return on_one(history, on_disk=history.nodes[12].on_disk | {"space of 7"})


def segment_missing(history: History) -> History:
    """A volume has a segment that does not lie on the disk."""
    return on_one(history, configured=history.nodes[12].configured | {"space of 7"})


def debt_left(history: History) -> History:
    """A settling command is never done."""
    return on_one(history, debts=frozenset({"settle/11.1/0"}))


def two_masters(history: History) -> History:
    """Two nodes led under one term."""
    terms = history.nodes[13].terms | {(2, 13)}
    nodes = {**history.nodes, 13: msgspec.structs.replace(history.nodes[13], terms=terms)}
    return msgspec.structs.replace(history, nodes=nodes)


def another_end(history: History) -> History:
    """One node holds another EXAConf than the others."""
    nodes = {**history.nodes, 13: msgspec.structs.replace(history.nodes[13], exaconf="other")}
    return msgspec.structs.replace(history, nodes=nodes)


BAD = [
    lost_job, job_twice, lost_write, write_twice, repeated_without_a_revision, gap, failed_with_effect, id_twice,
    against_time, stale_read, read_of_the_future, read_of_nothing, reads_go_back, back_from_nothing, gone_too_early,
    segment_left, segment_missing, debt_left, two_masters, another_end,
]  # fmt: skip


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
@settings(max_examples=max(10, settings.default.max_examples // 5))
@given(history=histories())
def test_bad_histories_are_refused(spoil: Callable[[History], History], history: History) -> None:
    """Whatever else is in it, each kind of fault is found."""
    assert violations(spoil(history)) != []


def test_a_read_that_is_marked_as_stale_promises_nothing() -> None:
    """It may give what was, as it says so."""
    write = Operation(1, 11, "a", True, "v", 1.0, 2.0, Outcome.OK, "11.1")
    read = Operation(2, 12, "a", False, None, 3.0, 4.0, Outcome.OK, stale=True)
    end = Node({"11.1": Job(0, 1, 2)}, (Revision(2, "11.1", {"a": "v"}),), frozenset({(1, 11)}), (1, 5), "same")
    good = History((write, read), {11: end})
    assert violations(good) == []
    assert violations(with_operation(good, read, stale=False)) != []
