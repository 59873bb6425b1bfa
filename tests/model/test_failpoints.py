"""Failpoints do nothing but what a test orders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model import failpoints
from confd.model.failpoints import ARRIVALS, VARIABLE, Failpoint, FailpointReached, Order, install, obey, parse, reach

ORDERS = st.builds(
    Order,
    st.sampled_from(Failpoint),
    st.sampled_from(["exit", "pause", "raise"]),
    st.integers(min_value=1, max_value=1_000),
)


@pytest.fixture(autouse=True)
def without_orders() -> Iterator[None]:
    """Leave no orders behind."""
    yield
    install(None)


def test_without_orders_nothing_happens() -> None:
    """An arrival has no effect, and an empty text installs nothing."""
    obey("")
    obey(" , ")
    for point in Failpoint:
        reach(point)
    assert failpoints._hook is None


@given(st.lists(ORDERS))
def test_orders_are_read_as_they_are_written(orders: list[Order]) -> None:
    """Text and orders are the same."""
    assert parse(",".join(map(str, orders))) == orders


@pytest.mark.parametrize(
    "text", ["nowhere=exit", "finished", "finished=die", "finished=exit@0", "finished=exit@x", "finished=wait", "=exit"]
)
def test_wrong_orders_are_refused(text: str) -> None:
    """A daemon does not start with orders that it would not carry out."""
    with pytest.raises(ValueError, match=VARIABLE):
        obey(f"executed=raise,{text}")


def test_an_order_is_carried_out_once_and_when_it_is_due() -> None:
    """The count is that of arrivals at this point; afterwards all goes on as ever."""
    obey("finished=raise@2, executed=raise")
    reach(Failpoint.FINISHED)
    with pytest.raises(FailpointReached):
        reach(Failpoint.EXECUTED)
    with pytest.raises(FailpointReached, match="finished=raise@2"):
        reach(Failpoint.FINISHED)
    for _ in range(3):
        reach(Failpoint.FINISHED)
        reach(Failpoint.EXECUTED)


def test_a_wait_ends_with_its_file(tmp_path: Path) -> None:
    """Until then the thread is held."""
    obey(f"finished=wait:{tmp_path}/go")
    thread = threading.Thread(target=reach, args=(Failpoint.FINISHED,))
    thread.start()
    assert thread.is_alive()
    (tmp_path / "go").touch()
    thread.join(20)
    assert not thread.is_alive()


def test_orders_in_a_file_may_change(tmp_path: Path) -> None:
    """Each new text counts from one; every arrival is listed."""
    path = tmp_path / "orders"
    obey(f"@{path}")
    reach(Failpoint.FINISHED)
    path.write_text("finished=raise@2")
    reach(Failpoint.FINISHED)
    with pytest.raises(FailpointReached):
        reach(Failpoint.FINISHED)
    path.write_text("executed=raise")
    with pytest.raises(FailpointReached):
        reach(Failpoint.EXECUTED)
    assert (tmp_path / f"orders{ARRIVALS}").read_text().split() == ["finished", "finished", "finished", "executed"]


@pytest.mark.parametrize(("action", "sign"), [("exit", signal.SIGKILL), ("pause", signal.SIGSTOP)])
def test_a_process_dies_or_stops(action: str, sign: signal.Signals) -> None:
    """Exit is kill -9, pause is SIGSTOP."""
    program = (
        "from confd.model.failpoints import *; obey('finished=' + __import__('sys').argv[1]); reach(Failpoint.FINISHED)"
    )
    child = subprocess.Popen([sys.executable, "-c", program, action])
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    if action == "pause":
        assert os.WSTOPSIG(status) == sign
        child.kill()
        os.waitpid(child.pid, 0)
    else:
        assert os.WTERMSIG(status) == sign
    child.returncode = 0
