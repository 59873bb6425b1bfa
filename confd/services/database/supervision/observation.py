"""What a database's situation means to its users. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from confd.model.errors import ConfDError, NodeOffline, WrongState
from confd.model.naming import names
from confd.model.states import DatabaseState
from confd.services.database.observed import RUNNING_STATES, Instance, InstanceState, Role
from confd.services.database.planning.planner import plan
from confd.services.database.planning.quorum import acks_in_force, in_force
from confd.services.database.planning.situation import Plan, Situation
from confd.services.database.record import Record, Wanted


class Observation(msgspec.Struct, frozen=True):
    """A database as it is now. ``missing``: nodes that should have an instance and do not serve.

    ``unavailable``: nodes that are offline or suspended, whether they have an instance or not.
    """

    state: DatabaseState
    connectible: bool
    record: Record
    instances: tuple[Instance, ...]
    missing: tuple[int, ...]
    info: str
    unavailable: tuple[int, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """What a database came to, and what its administrator should know."""

    state: DatabaseState
    warnings: tuple[str, ...] = ()


def observation(now: Situation, failures: Iterable[ConfDError] = ()) -> Observation:
    """Return what a situation means; ``failures`` are of actions that will be tried again."""
    wanted = now.record.wanted is Wanted.RUNNING
    serves = primary_serves(now) or _heard_of(now)
    opened = now.record.virtual
    missing = tuple(node for node in now.spec.nodes if not _ready(now.seen.get(node)))
    problems = [plan(now).blocked, *map(str, failures), *_lapses(now), *_waits(now)] if wanted else []
    problems += [f"Backup {opened.order.path} is open for reading."] if opened is not None else []
    return Observation(
        state=_state(now, wanted, serves),
        connectible=wanted and serves,
        record=now.record,
        instances=tuple(now.seen.values()),
        missing=missing if wanted and opened is None else (),
        info=" ".join(filter(None, problems)),
        unavailable=tuple(node for node in now.nodes if not now.online(node) or node in now.record.suspended),
    )


def _heard_of(now: Situation) -> bool:
    """Tell whether a primary that cannot be asked, since its daemon is dead, is known to serve: a standby gets WAL."""
    primary = now.record.primary
    if primary is None or primary in now.seen or now.record.virtual is not None or now.record.promoting:
        return False
    return any(_ready(one) and one.streaming and one.follows == primary for one in now.seen.values())


def _waits(now: Situation) -> Iterator[str]:
    """Say why commits do not return: too few of the standbys that they wait for follow."""
    primary = now.seen.get(now.record.primary) if now.record.primary is not None else None
    if primary is None or not _ready(primary) or primary.role is not Role.PRIMARY:
        return
    members, acks = in_force(primary), acks_in_force(primary)
    streaming = {follower.node for follower in primary.followers if follower.state == "streaming"}
    missing = [node for node in members if node not in streaming]
    if len(members) - len(missing) < acks:
        until = (
            "until more than half of the nodes can be reached again, or the others are suspended with node_suspend"
            if now.cut_off
            else "for a few seconds more, then they go on without"
        )
        yield f"Commits wait for {acks} of {names(members)}; {names(missing)} does not follow. They wait {until}."


def _lapses(now: Situation) -> Iterator[str]:
    """Say which instances do not run because their node could not renew its lease in time."""
    for node, instance in now.seen.items():
        if instance.lapsed and not instance.running and instance.role is Role.PRIMARY:
            yield f"n{node} stopped its instance because it could not renew its lease in the store in time."


def outcome(now: Situation, decided: Plan) -> Outcome | None:
    """Return what was reached, None while it is open.

    :raises NodeOffline: a node must return first.
    :raises WrongState: an administrator must decide first.
    """
    wanted = now.record.wanted
    if decided.blocked:
        text = f"database {now.database} cannot be {wanted.value}: {decided.blocked}"
        raise NodeOffline(text) if decided.offline else WrongState(text)
    if not decided.reached:
        return None
    state = DatabaseState.RUNNING if wanted is Wanted.RUNNING else DatabaseState.SETUP
    return Outcome(state, tuple(_absent(now)))


def _absent(now: Situation) -> Iterator[str]:
    running = now.record.wanted is Wanted.RUNNING
    follows = "its instance joins" if running else "an instance that it may still run is stopped"
    return (f"n{node} does not answer; {follows} when it returns" for node in now.missing())


def _state(now: Situation, wanted: bool, serves: bool) -> DatabaseState:
    if wanted:
        return DatabaseState.RUNNING if serves and now.record.settled else DatabaseState.STARTUP
    running = now.virtual in RUNNING_STATES or any(instance.running for instance in now.seen.values())
    return DatabaseState.SHUTDOWN if running else DatabaseState.SETUP


def primary_serves(now: Situation) -> bool:
    """Tell whether the primary that is recorded is ready and writable."""
    if now.record.virtual is not None:
        return now.virtual is InstanceState.READY
    instance = now.seen.get(now.record.primary) if now.record.primary is not None else None
    return _ready(instance) and instance is not None and instance.role is Role.PRIMARY


def _ready(instance: Instance | None) -> bool:
    return instance is not None and instance.state is InstanceState.READY
