"""A job file can be put together from whatever was recorded of a job so far."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.scheduler.jobfile import fold, utc
from confd.store.protocol import Kind, Record
from confd.store.records import (
    CommandDone,
    CommandSent,
    Committed,
    Finished,
    Learned,
    ReadJob,
    Scheduled,
    Step,
    Submitted,
    Undone,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
CODES = st.sampled_from([0, 301, 501, 901])


def records(bodies: list[tuple[Kind, Any]]) -> list[Record]:
    """Return journal records of one job."""
    return [
        Record(1, number, kind, "11.1", 1000.0 + number, msgspec.Raw(msgspec.json.encode(body)))
        for number, (kind, body) in enumerate(bodies, start=1)
    ]


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """Draw all records of a job, in an order that a pipeline could write."""
    bodies: list[tuple[Kind, Any]] = [
        (Kind.SUBMITTED, Submitted("x", draw(st.sampled_from(["read", "modify"])), "u", 1, {}, {"p": draw(JSON)}))
    ]
    bodies.append((Kind.SCHEDULED, Scheduled(3, ["db:X"], "1")))
    numbers = []
    for number in range(1, draw(st.integers(1, 5))):
        if draw(st.booleans()):
            bodies.append((Kind.LEARNED, Learned(number, "time", draw(JSON))))
            continue
        step = Step("x.make", 11, {"a": draw(JSON)})
        bodies.append((Kind.COMMAND, CommandSent(number, step, draw(st.sampled_from([None, step])))))
        numbers.append(number)
        if draw(st.booleans()):
            bodies.append((Kind.RESULT, CommandDone(number, 1.0, draw(JSON), draw(CODES), "m", "o")))
    if draw(st.booleans()):
        bodies.append((Kind.UNDONE, Undone(0, 301, "no")))
        bodies += [(Kind.UNDONE, Undone(number, draw(CODES), "")) for number in reversed(numbers)]
    bodies.append(
        (Kind.FINISHED, Finished(draw(CODES), "m", draw(JSON), draw(st.booleans()), draw(st.none() | st.just(4))))
    )
    bodies.append((Kind.COMMITTED, Committed(["late"])))
    return records(bodies)


@given(histories(), st.data())
def test_any_prefix_gives_a_job_file(history: list[Record], data: st.DataObject) -> None:
    """Wherever a master died, the file says how far the job got, and can be sent to a client."""
    length = data.draw(st.integers(0, len(history)))
    file = fold("11.1", history[:length])
    if length == 0:
        assert file is None
        return
    assert file is not None
    info = file.info()
    msgspec.json.encode(info)
    assert info["job_id"] == "11.1"
    assert len(info["commands"]) == len(file.steps)
    assert (info["result"] is not None) == (file.outcome is not None)
    if length == len(history):
        assert file.outcome is not None
        assert file.outcome.warnings == ("late",)


def test_secrets_are_hidden() -> None:
    """Sealed values show as ``***``, in parameters, arguments and results."""
    sealed = "sealed:AAAA"
    file = fold(
        "11.1",
        records(
            [
                (Kind.SUBMITTED, Submitted("x", "modify", "u", 1, {}, {"p": sealed})),
                (Kind.COMMAND, CommandSent(1, Step("x.y", 11, {"a": [sealed]}))),
                (Kind.RESULT, CommandDone(1, 1.0, {"r": sealed})),
                (Kind.LEARNED, Learned(2, "random", sealed)),
            ]
        ),
    )
    assert file is not None
    assert "sealed" not in str(file.info())
    assert str(file.info()).count("***") == 4


def test_an_undo_counts_when_it_succeeded() -> None:
    """One that failed is open still."""
    step = Step("x.y", 11, {})
    head = [
        (Kind.SUBMITTED, Submitted("x", "modify", "u", 1, {}, {})),
        (Kind.COMMAND, CommandSent(1, step, step)),
        (Kind.COMMAND, CommandSent(2, step, step)),
        (Kind.UNDONE, Undone(0, 301, "no")),
        (Kind.UNDONE, Undone(2, 501, "offline")),
        (Kind.UNDONE, Undone(1)),
    ]
    file = fold("11.1", records(head))
    assert file is not None
    assert {number: step.undone for number, step in file.steps.items()} == {1: True, 2: False}


@pytest.mark.parametrize("code", [0, 301])
def test_a_read_job_is_one_record(code: int) -> None:
    """Its file has the stages of a job that was submitted and finished."""
    body = ReadJob("db_list", "ann", 7, {"peer": "unix"}, {}, 999.0, 3, code, "m", ["DB1"])
    file = fold("11.1", records([(Kind.READ, body)]))
    assert file is not None
    assert list(file.info()["stages"]) == ["submitted", "finished"]
    assert file.outcome is not None
    assert (file.outcome.code, file.outcome.has_output) == (code, code == 0)


def test_times_are_utc() -> None:
    """With milliseconds and Z."""
    assert utc(0.1234) == "1970-01-01T00:00:00.123Z"
