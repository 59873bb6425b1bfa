"""Fixtures for tests of the scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from confd.scheduler import registry
from confd.scheduler.registry import Job
from tests.scheduler.world import World


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Job]:
    """Give an empty registry, for jobs of the test alone."""
    known: dict[str, Job] = {}
    monkeypatch.setattr(registry, "_JOBS", known)
    return known


@pytest.fixture
def world(tmp_path: Path, jobs: dict[str, Job]) -> Iterator[World]:
    """Give two nodes and an empty journal."""
    made = World(tmp_path)
    yield made
    made.close()
