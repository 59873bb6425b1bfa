"""A file system that shares blocks between files, for tests that need one whatever the machine has."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import require

MKFS = Path("/usr/sbin/mkfs.xfs")
_SIZE = 400 << 20
"""Bytes; XFS is not made smaller than 300 MiB."""


@contextlib.contextmanager
def sharing() -> Iterator[Path]:
    """Mount a fresh XFS from an image for a block; the test is skipped where nothing may be mounted."""
    require(MKFS)
    place = Path(tempfile.mkdtemp(prefix="odb-"))
    place.chmod(0o711)
    image, mounted = place / "xfs.img", place / "xfs"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(_SIZE)
    subprocess.run([MKFS, "-q", "-m", "reflink=1", image], check=True)
    mounting = subprocess.run(["mount", "-o", "loop", image, mounted], check=False, capture_output=True, text=True)
    if mounting.returncode:
        shutil.rmtree(place)
        pytest.skip(f"nothing can be mounted here: {mounting.stderr.strip()}")
    mounted.chmod(0o711)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)
        shutil.rmtree(place)


def taken(place: Path) -> int:
    """Return the bytes that are used on a file system, with all that was written to it so far."""
    fd = os.open(place, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.sync()
        found = os.fstatvfs(fd)
    finally:
        os.close(fd)
    return (found.f_blocks - found.f_bfree) * found.f_frsize
