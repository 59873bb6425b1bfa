"""What only `make torture` runs, because `make test` has ten minutes."""

from __future__ import annotations

import os
from typing import Final

import pytest

TORTURE: Final = bool(os.environ.get("TORTURE"))
"""Whether random tests and sweeps run with their full counts."""

long: Final = pytest.mark.skipif(not TORTURE, reason="takes long; make torture runs it")
"""Marks a test, or all of a module."""
