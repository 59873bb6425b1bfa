"""Who submits a job, and what he may run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from confd.exaconf import Conf
from confd.model.errors import PermissionDenied
from confd.scheduler.registry import OWNER, SELF, Job

ROOT = "root"
ADMINISTRATORS = frozenset({"root", "exaadm"})


class Caller(msgspec.Struct, frozen=True):
    """An authenticated user of the cluster."""

    name: str
    uid: int
    gid: int
    groups: frozenset[str]

    @property
    def administrator(self) -> bool:
        """True for root and members of exaadm, who see every job."""
        return self.name == ROOT or bool(self.groups & ADMINISTRATORS)


SYSTEM = Caller(ROOT, 0, 0, frozenset({"root"}))
"""Acts for the cluster itself: bearer of the AuthenticationToken, root on the socket, internal jobs."""


def caller_named(conf: Conf, name: str) -> Caller:
    """Describe a user of the configuration as caller."""
    user = conf.users[name]
    groups = frozenset({user.group, *user.additional_groups})
    group = conf.groups.get(user.group)
    return Caller(name, user.id, group.id if group else -1, groups)


def authorise(job: Job, caller: Caller, conf: Conf, values: Mapping[str, Any]) -> None:
    """Check that a caller may run a job with these parameters.

    :raises PermissionDenied: says who may.
    """
    if caller.name in job.allow.users or caller.groups & set(job.allow.groups) or caller == SYSTEM:
        return
    if SELF in job.allow.users and values.get("username") == caller.name:
        return
    if OWNER in job.allow.users and job.owner_rule is not None:
        owner = job.owner_rule(conf, values)
        if owner is not None and (caller.uid == owner[0]):
            return
    allowed = ", ".join((*job.allow.users, *(f"members of {group}" for group in job.allow.groups)))
    raise PermissionDenied(f"user {caller.name!r} may not run {job.name}; allowed are {allowed}")
