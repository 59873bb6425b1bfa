"""Fixtures: clusters with real database instances."""

from __future__ import annotations

from tests.services.database.conftest import installation, make_rig, rig, user, wheel

__all__ = ["installation", "make_rig", "rig", "user", "wheel"]
