"""Waiting for nodes, and stopping them."""

from __future__ import annotations

from typing import Annotated, Final

from confd.cluster.leading.quorum import names
from confd.cluster.operations import MASTER
from confd.jobs import locks
from confd.jobs.nodes_standing import MEMBERSHIP, check_movable, databases_on, elsewhere, known, master_node
from confd.jobs.observing import ask, database_record, node_states
from confd.jobs.types import NodeIds
from confd.model.errors import ConfDError
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, READ, Allow, job
from confd.services.database.record import Wanted
from confd.services.database.supervision.orders import resume
from confd.services.database.supervision.vacating import release, vacate
from confd.services.nodes.attendance import Attendance
from confd.services.nodes.machine import identify, leave
from confd.services.nodes.standing import left_after_stop

_ADMINISTRATORS: Final = Allow(groups=("root", "exaadm"))
_PATIENCE: Final = 600

Seconds = Annotated[int, Rule(minimum=1)]


@job(READ, allow=_ADMINISTRATORS, waits=True)
def node_wait_offline(ctx: Context, nids: NodeIds, *, timeout: Seconds | None = None) -> list[int]:
    """Wait until nodes have shut down; return those that have, also when the time is over first.

    :param nids: Ids of the nodes.
    :param timeout: Longest wait in seconds; 600 when left out.

    Examples:
    {nids: [12, 13]}
    {nids: [12, 13], timeout: 300}
    """
    nodes, attendance = known(ctx.conf, nids), ctx.service(Attendance)
    return attendance.wait(nodes, attendance.gone, timeout or _PATIENCE)


@job(READ, allow=_ADMINISTRATORS, waits=True)
def node_wait_ready(ctx: Context, nids: NodeIds, *, timeout: Seconds | None = None) -> list[int]:
    """Wait until nodes have come up and take jobs; return those that do, also when the time is over first.

    :param nids: Ids of the nodes.
    :param timeout: Longest wait in seconds; 600 when left out.

    Examples:
    {nids: [12, 13]}
    {nids: [12, 13], timeout: 300}
    """
    nodes, attendance = known(ctx.conf, nids), ctx.service(Attendance)
    return attendance.wait(nodes, attendance.ready, timeout or _PATIENCE)


@job(MODIFY, allow=_ADMINISTRATORS, locks=[MEMBERSHIP, locks.node("nids")])
def nodes_terminate(ctx: Context, nids: NodeIds) -> None:
    """Stop the daemon and all database instances of nodes; their machines stay up. The master stops last.

    Running databases go on on other nodes where they can; better stop them with db_stop before.

    :param nids: Ids of the nodes.

    Examples:
    {nids: [12, 13]}
    """
    nodes, master = known(ctx.conf, nids), master_node(ctx)
    started = {node: daemon for node in nodes if (daemon := daemon_of(ctx, node)) is not None}
    if left := left_after_stop(node_states(ctx), nodes):
        ctx.warn(left)
    if silent := [node for node in nodes if node not in started]:
        ctx.warn(f"{names(silent)} does not answer; nothing can be stopped there from here")
    marked = _hand_over(ctx, list(started))
    for node in sorted(started, key=lambda one: one == master):
        ctx.settle(leave.on(node, started=started[node]))
    for database, marks in marked.items():
        ctx.settle(release.on(MASTER, database=database, nodes=marks, daemons=sorted(started.values())))


def _hand_over(ctx: Context, nodes: list[int]) -> dict[str, list[int]]:
    """Have running databases go on on other nodes; return the nodes marked for it, by database."""
    states, marked = node_states(ctx), dict[str, list[int]]()
    online = [node for node in nodes if states.get(node) is NodeState.ONLINE]
    for database in databases_on(ctx.conf, online):
        record = database_record(ctx, database.name)
        if record.wanted is not Wanted.RUNNING:
            continue
        if not elsewhere(ctx.conf, database, nodes, states):
            ctx.warn(f"database {database.name} runs nowhere else; it is down until {names(online)} is started again")
            continue
        check_movable(database.name, record, online)
        marks = [node for node in online if node not in record.suspended]
        back = resume.on(MASTER, database=database.name, nodes=marks)
        ctx.run(vacate.on(MASTER, database=database.name, nodes=online), undo=back)
        marked[database.name] = marks
    return marked


def daemon_of(ctx: Context, node: int) -> float | None:
    """Ask which daemon runs on a node, in or out of service; None when none answers."""
    try:
        return ask(ctx, identify.on(node))
    except ConfDError:
        return None
