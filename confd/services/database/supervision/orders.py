"""Master operations on databases: what jobs order, and how it is undone."""

from __future__ import annotations

import msgspec

from confd.cluster.host import Master
from confd.cluster.operations import master_operation
from confd.model.errors import InUse, NodeError, NodeOffline, TimedOut, WrongState
from confd.services.database.record import Wanted
from confd.services.database.supervision.observation import Observation, Outcome
from confd.services.database.supervision.supervision import Supervision

_UNDO_WITHIN = 60.0
_HAND_OVER_WITHIN = 30.0
_BEGIN_WITHIN = 300.0


@master_operation("database.set_create_new", planned=lambda **_: False)
def set_create_new(master: Master, database: str, create_new: bool) -> bool:
    """Set or clear that the next start makes empty data; return what was set before."""
    return master.service(Supervision).set_create_new(database, create_new)


def _planned(wanted: str, **_: object) -> dict[str, str]:
    return {"state": "running" if wanted == Wanted.RUNNING else "setup"}


@master_operation("database.want", planned=_planned)
def want(
    master: Master,
    database: str,
    wanted: Wanted,
    timeout: float | None = None,
    force: bool = False,
    maintenance: bool = False,
    accept_loss: bool = False,
) -> Outcome:
    """Bring a database into a state and wait for it; see ``Supervision.want``."""
    return master.service(Supervision).want(
        database, wanted, timeout, force, maintenance, accept_loss, say=master.say, canceled=lambda: master.canceled
    )


@master_operation("database.unwant")
def unwant(master: Master, database: str, wanted: Wanted) -> None:
    """Undo ``want``: bring the database back to the other state, as it ran; fine when ``want`` never ran."""
    back = Wanted.STOPPED if wanted is Wanted.RUNNING else Wanted.RUNNING
    supervision = master.service(Supervision)
    ran = supervision.record(database)
    try:
        supervision.want(
            database, back, _UNDO_WITHIN, maintenance=ran.maintenance, accept_loss=ran.accept_loss,
            say=master.say, canceled=lambda: master.canceled,
            edit=lambda record: msgspec.structs.replace(record, moving=ran.moving),
        )  # fmt: skip
    except (TimedOut, NodeOffline, NodeError, WrongState) as error:
        master.say(f"{error}; it stays wanted {back.value}")


@master_operation("database.suspend")
def suspend(master: Master, database: str, nodes: list[int], vouched: list[int] | None = None) -> None:
    """Take nodes from a database; ``vouched`` ones are dead, as the administrator says."""
    master.service(Supervision).suspend(database, nodes, vouched or ())


@master_operation("database.resume")
def resume(master: Master, database: str, nodes: list[int]) -> None:
    """Give nodes back to a database; fine when they are not suspended."""
    master.service(Supervision).resume(database, nodes)


@master_operation("database.hand_over")
def hand_over(master: Master, database: str) -> None:
    """Wait a while until a running database runs without its suspended nodes; it goes on by itself otherwise."""
    if database in master.cluster.conf().databases:
        done = master.service(Supervision).await_hand_over(database, _HAND_OVER_WITHIN, lambda: master.canceled)
        master.say("done" if done else "it takes longer and goes on in the background")


@master_operation("database.begin")
def begin(master: Master, database: str) -> None:
    """Start a database whose configuration has changed; why it does not start is told by db_info."""
    supervision = master.service(Supervision)
    if database not in master.cluster.conf().databases:
        return
    try:
        supervision.want(database, Wanted.RUNNING, _BEGIN_WITHIN, say=master.say, canceled=lambda: master.canceled)
    except (TimedOut, NodeOffline, NodeError, WrongState, InUse) as error:
        master.say(f"{error}; it stays wanted running")


@master_operation("database.observed")
def observed(master: Master, database: str) -> Observation:
    """Return what the instances of a database do now."""
    return master.service(Supervision).observe(database)
