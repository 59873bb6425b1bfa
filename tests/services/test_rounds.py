"""Rounds are made when they are due and when there is news, whatever one of them met, and end when they are told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue

import pytest
from structlog.testing import capture_logs

from confd.services.rounds import Rounds

NEVER = 3_600.0
PATIENCE = 20.0


class Worker:
    """Counts its rounds; each does what the test says next, and nothing once that is used up."""

    def __init__(self, *rounds: Callable[[], float | None], every: float = NEVER) -> None:
        self.made = Queue[int]()
        self._left = list(rounds)
        self._number = 0
        self.rounds = Rounds("test", self._round, every)

    def _round(self) -> float | None:
        self._number += 1
        try:
            return self._left.pop(0)() if self._left else None
        finally:
            self.made.put(self._number)

    def wait_for(self, number: int) -> None:
        """Wait until so many rounds were made."""
        while self.made.get(timeout=PATIENCE) < number:
            pass


def fail() -> None:
    """Meet something unforeseen."""
    raise ValueError("unforeseen")


def test_the_first_round_is_made_at_once_and_the_next_ones_with_news() -> None:
    """Although the next one is due in an hour."""
    worker = Worker()
    worker.rounds.start()
    for number in range(1, 4):
        worker.wait_for(number)
        worker.rounds.wake()
    worker.wait_for(4)
    worker.rounds.close()
    assert not worker.rounds._thread.is_alive()


@pytest.mark.parametrize(("rounds", "every"), [([], 0.001), ([lambda: 0.001, lambda: 0.001], NEVER)])
def test_rounds_are_made_when_they_are_due(rounds: list[Callable[[], float]], every: float) -> None:
    """A round may say when the next one is."""
    worker = Worker(*rounds, every=every)
    worker.rounds.start()
    worker.wait_for(3)
    worker.rounds.close()


def test_news_during_a_round_lead_to_another_one() -> None:
    """The round may have looked before they came."""
    worker = Worker(lambda: worker.rounds.wake())
    worker.rounds.start()
    worker.wait_for(2)
    worker.rounds.close()


def test_what_happens_before_a_round_is_one_round() -> None:
    """However much it is, nothing of it is left for another one."""
    left: list[bool] = []
    worker = Worker(lambda: left.append(worker.rounds._woken.is_set()))
    for _ in range(3):
        worker.rounds.wake()
    worker.rounds.start()
    worker.wait_for(1)
    worker.rounds.close()
    assert left == [False]


def test_a_round_that_fails_is_logged_and_the_next_one_comes() -> None:
    """Whatever it was."""
    worker = Worker(fail, every=0.001)
    with capture_logs() as logs:
        worker.rounds.start()
        worker.wait_for(2)
        worker.rounds.close()
    assert [(one["event"], one["of"]) for one in logs] == [("round_failed", "test")]


def test_closing_waits_for_the_round_that_is_under_way() -> None:
    """What it meets then is not logged: parts of the master may be closed already."""
    begun, go_on = threading.Event(), threading.Event()

    def long() -> None:
        begun.set()
        go_on.wait(PATIENCE)
        fail()

    worker = Worker(long)
    with capture_logs() as logs:
        worker.rounds.start()
        begun.wait(PATIENCE)
        worker.rounds.end()
        go_on.set()
        worker.rounds.close()
    assert (worker.made.qsize(), logs) == (1, [])
    assert not worker.rounds._thread.is_alive()


def test_closing_does_not_wait_for_a_round_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for the answer of a node; no further round begins after it."""
    monkeypatch.setattr("confd.services.rounds._END_SECONDS", 0.01)
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait(PATIENCE)

    worker = Worker(hang, every=0.001)
    worker.rounds.start()
    begun.wait(PATIENCE)
    worker.rounds.close()
    assert (worker.rounds.ended, worker.rounds._thread.is_alive()) == (True, True)
    go_on.set()
    worker.rounds._thread.join(PATIENCE)
    assert worker.made.qsize() == 1


def test_what_has_not_begun_is_closed() -> None:
    """A master may be deposed before it has started its services."""
    worker = Worker()
    worker.rounds.close()
    assert worker.rounds.ended


def test_who_rests_is_not_kept_from_ending() -> None:
    """Threads beside the rounds end with them."""
    worker = Worker()
    resting = threading.Thread(target=worker.rounds.rest, args=(NEVER,), daemon=True)
    resting.start()
    worker.rounds.close()
    resting.join(PATIENCE)
    assert not resting.is_alive()
