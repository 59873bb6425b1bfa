"""Fixtures for tests of jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A cluster of three nodes with a device of 1 GiB each."""
    return Stage(tmp_path)
