"""Databases that archive their WAL beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.services.backup.conftest import ARCHIVE, Site
from tests.services.database.conftest import installation, make_rig, user, wheel  # noqa: F401
from tests.services.database.rig import Rig


@pytest.fixture
def archiving(make_rig: Callable[..., Rig]) -> Callable[..., Site]:  # noqa: F811 - the fixture of that name
    """Make a running database on one node that archives its WAL."""

    def make(**settings: Any) -> Site:
        return Site(make_rig(11), wal_archive_volume=ARCHIVE, **settings)

    return make
