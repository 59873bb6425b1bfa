"""How thoroughly random tests try (a little in ``make test``, a lot in ``make torture``), and where they keep files."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

from tests.torture import TORTURE

_MEMORY: Final = Path("/dev/shm")
_ENOUGH: Final = 14 << 30  # each of five nodes of a play must see 2 GiB of its own
_LONG: Final = ("cluster", "services", "play")


def _in_memory() -> bool:
    return os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH


# A test makes and deletes thousands of files of databases; on a disk that takes most of its time.
# What is killed loses nothing there either: only a power failure would.
if "TMPDIR" not in os.environ and _in_memory():
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)

settings.register_profile("test", deadline=None, max_examples=30)
settings.register_profile("torture", deadline=None, max_examples=1_000)
settings.load_profile("torture" if TORTURE else "test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no worker is left alone with one at the end."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        room = item.path.relative_to(here).parts[0]
        return _LONG.index(room) if room in _LONG else len(_LONG)

    items.sort(key=place)
