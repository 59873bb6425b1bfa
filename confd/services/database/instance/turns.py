"""Whose turn it is to change an instance on this node: what a master ordered comes to an end before the next begins."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LOCKS: Final[defaultdict[Path, threading.Lock]] = defaultdict(threading.Lock)


@contextmanager
def turn(data: Path) -> Iterator[None]:
    """Change the instance of a data directory alone. Stopping takes no turn: it interrupts a start."""
    with _LOCKS[data]:
        yield


def taken(data: Path) -> bool:
    """Tell whether somebody is changing the instance now."""
    return _LOCKS[data].locked()
