"""The gate lets jobs begin, or holds them."""

from __future__ import annotations

from functools import partial

from confd.scheduler.gate import Gate


def test_a_closed_gate_holds_jobs() -> None:
    """They begin when it opens, in order; who waits for the others to end is told which still run."""
    gate, begun = Gate(), list[str]()
    gate.begin("1", lambda: begun.append("1"))
    gate.close()
    gate.close()
    for job in ("2", "3"):
        gate.begin(job, partial(begun.append, job))
    assert begun == ["1"]
    assert gate.wait_idle(0.01) == ("1",)
    assert gate.wait_idle(0.01, besides="1") == ()
    gate.open()
    assert begun == ["1", "2", "3"]
    for job in begun:
        gate.ended(job)
    assert gate.wait_idle(30.0) == ()
