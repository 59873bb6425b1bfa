"""Failed logins cost time, right ones do not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.api import throttle
from confd.api.request import Unauthorized
from confd.api.throttle import Throttle, delay


class Clock:
    """Time that is set; sleeping is noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.gate: asyncio.Event | None = None
        monkeypatch.setattr(throttle.asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if self.gate is not None:
            await self.gate.wait()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give virtual time."""
    return Clock(monkeypatch)


def run(coroutine: Any) -> None:
    """Run a test that needs a loop."""
    asyncio.run(asyncio.wait_for(coroutine, 30))


async def attempt(limits: Throttle, name: str, peer: str, right: bool = False) -> None:
    """Try to log in."""
    async with limits.attempt(name, peer) as one:
        if right:
            one.succeeded()


@given(st.integers(0, 10**9))
def test_the_delay_grows_to_five_seconds(failures: int) -> None:
    """A few failures are free; it never falls and never exceeds the longest."""
    assert 0 <= delay(failures) <= delay(failures + 1) <= 5.0
    assert (delay(failures) == 0) == (failures < 3)


def test_failures_are_forgotten_after_a_while(clock: Clock) -> None:
    """Five quiet minutes, or a success."""

    async def test() -> None:
        limits = Throttle(lambda: clock.now)
        for _ in range(5):
            await attempt(limits, "ann", "p")
        assert clock.slept == [0, 0, 0, 0.25, 0.5]
        clock.now += 301
        await attempt(limits, "ann", "p")
        assert clock.slept[-1] == 0
        for _ in range(3):
            await attempt(limits, "ann", "p")
        await attempt(limits, "ann", "p", right=True)
        assert clock.slept[-1] > 0
        await attempt(limits, "ann", "p")
        assert clock.slept[-1] == 0

    run(test())


def test_parallel_guesses_are_not_faster(clock: Clock) -> None:
    """Attempts for one user happen one after the other, and only so many may wait."""

    async def test() -> None:
        limits = Throttle(lambda: clock.now)
        clock.gate = asyncio.Event()
        tasks = [asyncio.create_task(attempt(limits, "ann", f"p{number}")) for number in range(15)]
        refused, waiting = [], set(tasks)
        while len(refused) < 5:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused += [task.exception() for task in done]
        assert all(isinstance(error, Unauthorized) for error in refused)
        assert len(clock.slept) == 1
        clock.gate.set()
        await asyncio.gather(*waiting)
        assert clock.slept == [delay(number) for number in range(10)]
        assert all(record.waiting == 0 for record in limits._records.values())

    run(test())


def test_a_client_that_hangs_up_counts_as_failed(clock: Clock) -> None:
    """Giving up early is no way around the delay, and blocks nobody."""

    async def test() -> None:
        limits = Throttle(lambda: clock.now)
        clock.gate = asyncio.Event()
        for _ in range(4):
            task = asyncio.create_task(attempt(limits, "ann", "p"))
            while not clock.slept:
                await asyncio.wait({task}, timeout=0)
            clock.slept.clear()
            task.cancel()
            await asyncio.wait({task})
        clock.gate.set()
        await attempt(limits, "ann", "p")
        assert clock.slept == [0.5]

    run(test())


def test_what_is_remembered_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many names from many addresses do not fill the memory; those who wait are kept."""
    monkeypatch.setattr(throttle, "_KNOWN", 50)

    async def test() -> None:
        limits = Throttle(lambda: clock.now)
        for number in range(500):
            await attempt(limits, f"user{number}", f"peer{number}")
        assert len(limits._records) <= 52
        assert len(limits._locks) <= len(limits._records)

    run(test())
