"""Closed sets of words that clients and records rely on."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

NOT_READY: Final = "not ready yet"
"""What a node answers that does not serve clients yet; the reason follows after a colon when there is one."""


class Intent(StrEnum):
    """Whether a job may change configuration or cluster."""

    READ = "read"
    MODIFY = "modify"


class Stage(StrEnum):
    """Where a job stands; a read job ends at FINISHED, a modify job at COMMITTED."""

    SUBMITTED = "submitted"
    SCHEDULED = "scheduled"
    EXECUTED = "executed"
    FINISHED = "finished"
    COMMITTED = "committed"


class NodeState(StrEnum):
    """What the cluster knows of a node."""

    ONLINE = "online"
    OFFLINE = "offline"
    SUSPENDED = "suspended"


class DatabaseState(StrEnum):
    """Life cycle of a database: setup, startup, running, shutdown, setup."""

    SETUP = "setup"
    STARTUP = "startup"
    RUNNING = "running"
    SHUTDOWN = "shutdown"


class VolumeState(StrEnum):
    """State of a volume; several may hold at once."""

    ONLINE = "ONLINE"
    DEGRADED = "DEGRADED"
    RECOVERING = "RECOVERING"
    LOCKED = "LOCKED"


class SegmentType(StrEnum):
    """A segment on an active node, or a further copy of one."""

    MASTER = "MASTER"
    REDUNDANT = "REDUNDANT"


class DeviceState(StrEnum):
    """State of a storage device on its node."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    IO_ERRORS = "IO_ERRORS"
