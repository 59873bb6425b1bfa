"""What is done for a database that is opened from a backup, beside its data. Pure.

The data that it has is not touched: its instances stay stopped. Once the database is wanted stopped, what was opened is
removed, and only then the record forgets it; so the next start is one of the data.
"""

from __future__ import annotations

import msgspec

from confd.services.backup.order import VirtualOrder
from confd.services.database.observed import InstanceState
from confd.services.database.planning.actions import CloseVirtual, OpenVirtual, Remember, StopInstance
from confd.services.database.planning.situation import Plan, Situation
from confd.services.database.record import Wanted


def plan_virtual(now: Situation, virtual: VirtualOrder) -> Plan:
    """Return the next actions towards an open, or a closed, backup."""
    strays = [node for node, instance in now.seen.items() if instance.running]
    if strays:
        stops = (StopInstance(node, "a backup is open in its place") for node in strays if now.may_stop(node))
        return Plan(tuple(stops))
    if not now.free(virtual.node):
        return Plan() if now.online(virtual.node) else _away(virtual)
    if now.virtual is None:
        return _away(virtual)
    if now.record.wanted is Wanted.STOPPED:
        if now.virtual is not InstanceState.EMPTY:
            return Plan((CloseVirtual(virtual.node),))
        return Plan((Remember(msgspec.structs.replace(now.record, virtual=None, settled=False)),))
    if now.virtual in (InstanceState.EMPTY, InstanceState.STOPPED):
        return Plan((OpenVirtual(virtual.node, virtual),))
    if now.virtual is not InstanceState.READY:
        return Plan()
    if not now.record.settled:
        return Plan((Remember(msgspec.structs.replace(now.record, settled=True)),))
    return Plan(reached=True)


def _away(virtual: VirtualOrder) -> Plan:
    return Plan(blocked=f"n{virtual.node}, on which the backup is opened, does not answer", offline=True)
