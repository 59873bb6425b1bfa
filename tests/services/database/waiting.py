"""Waiting for what happens in other threads and processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that happens elsewhere."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.02)
