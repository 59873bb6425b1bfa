"""Limits that a standby must not have lower than the primary had when it wrote the WAL. Pure.

With a lower one a standby does not start, or pauses its replay once it serves, and cannot be promoted then. What was
the limit last is in its control file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Final

DEFAULTS: Final = {
    "max_connections": "100",
    "max_worker_processes": "8",
    "max_wal_senders": "10",
    "max_prepared_transactions": "0",
    "max_locks_per_transaction": "64",
}
"""What PostgreSQL takes where nothing is configured; in the order of the control file."""

_OCTAL: Final = re.compile(r"[+-]?0[0-7]+")

_LIMITS: Final = struct.Struct("=180x5i")
"""pg_control of 15 to 18."""


def needed_limits(control: bytes) -> dict[str, int]:
    """Return what a control file says of the limits that replay needs."""
    return dict(zip(DEFAULTS, _LIMITS.unpack_from(control), strict=True))


def raised(settings: Mapping[str, str], needed: Mapping[str, int]) -> dict[str, str]:
    """Return the limits that have to be higher than settings have them."""
    configured = DEFAULTS | {name: settings[name] for name in DEFAULTS if name in settings}
    return {name: str(least) for name, least in needed.items() if _number(configured[name]) < least}


def _number(text: str) -> float:
    try:
        # As in C, a 0 in front means octal.
        return int(text, 8 if _OCTAL.fullmatch(text.strip()) else 0)
    except ValueError:
        return float(text)
