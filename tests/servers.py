"""Servers of the distribution that some tests run: where they are not installed, those tests are skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

POSTGRESQL = Path("/usr/lib/postgresql/15/bin/postgres")
SLAPD = Path("/usr/sbin/slapd")
KDC = Path("/usr/sbin/krb5kdc")


def require(*programs: Path) -> None:
    """Skip the test when a program is missing; fail it where everything has to be there (SERVERS=required)."""
    missing = [str(program) for program in programs if not os.access(program, os.X_OK)]
    if missing:
        reason = f"{', '.join(missing)} not installed; as root on a Debian: scripts/servers"
        if os.environ.get("SERVERS") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
