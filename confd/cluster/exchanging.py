"""Exchanging the names of two files or directories: at no moment is one of the names free."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

_HERE: Final = -100
_EXCHANGE: Final = 2
_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: Path, other: Path) -> None:
    """Give each the name of the other; both exist (renameat2, RENAME_EXCHANGE).

    :raises OSError: nothing was changed; one of them is not there, or their file system cannot do it.
    """
    if _libc.renameat2(_HERE, bytes(one), _HERE, bytes(other), _EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


def put_in_place(fresh: Path, path: Path) -> None:
    """Give a file the name of one that is there or not; who reads sees the old or the new one.

    Not by a rename where that can be avoided: when it replaces a file, ext4 first sends the new one to the disk
    (auto_da_alloc), which takes longer than all the rest and is of no use to a file that may be lost.
    """
    try:
        exchange(fresh, path)
    except OSError:
        fresh.replace(path)
    else:
        fresh.unlink()
