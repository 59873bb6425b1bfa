"""The thread of a service on the master: it makes a round now and then, and soon when something has happened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger("rounds")

_END_SECONDS: Final = 2.0


class Rounds:
    """Makes rounds in a thread of its own until it is closed.

    What a round raises is logged, and the next one comes when it would have come anyway. So a round has to find again
    what is to do, and must not keep it.

    :param round_: makes one round; may return after how many seconds the next one is due.
    :param every: seconds to the next round where a round does not say it and nothing happens.
    :param pause: seconds before every round, also the first one: what happens in them is one round.
    """

    def __init__(self, name: str, round_: Callable[[], float | None], every: float, pause: float = 0.0) -> None:
        self._name, self._round, self._every, self._pause = name, round_, every, pause
        self._woken, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def ended(self) -> bool:
        """True once no further round begins."""
        return self._ended.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Make a round soon; does not block."""
        self._woken.set()

    def rest(self, seconds: float) -> None:
        """Wait, but not beyond the end; for what else works as long as the rounds are made."""
        self._ended.wait(seconds)

    def end(self) -> None:
        """Begin no further round; does not block."""
        self._ended.set()
        self._woken.set()

    def close(self) -> None:
        """End, and wait for the round that is under way; also when none was begun.

        A round may wait for a node for minutes, so it is not waited for longer than a moment. Nothing depends on it: a
        master that was deposed writes nothing any more, and what it has ordered on nodes goes on there in any case.
        """
        self.end()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while True:
            self._ended.wait(self._pause)
            # Before it is looked whether this is the end: news of that must not be lost.
            self._woken.clear()
            if self.ended:
                return
            due = self._safely()
            self._woken.wait(self._every if due is None else due)

    def _safely(self) -> float | None:
        try:
            return self._round()
        except Exception:
            # What fails because the master's parts are closed says nothing.
            if not self.ended:
                log.exception("round_failed", of=self._name)
            return None
