"""Where a database's data is or is made: first starts, and starts after something was replaced. Pure."""

from __future__ import annotations

import msgspec

from confd.model.naming import names
from confd.services.database.observed import Instance, InstanceState, Role
from confd.services.database.planning.actions import Initialise, Remember
from confd.services.database.planning.situation import Plan, Situation
from confd.services.database.record import Quorum, Record


def plan_data(now: Situation) -> Plan:
    """Find the database's data and record it, or make it."""
    record, missing = now.record, now.missing()
    own = {node: one for node, one in now.seen.items() if node in now.spec.active and _is_own(now, one)}
    made = any(one.generation == record.next_generation for one in own.values())
    if own and (record.create_new or made or not missing):
        node = max(own, key=lambda node: (own[node].timeline, -node))
        return Plan((Remember(_adopted(record, node, own[node])),))
    if now.busy:
        return Plan()
    if missing and not record.create_new:
        return Plan(blocked=f"{names(missing)} must be seen to find the newest data", offline=True)
    if not record.create_new and not _all_empty(now):
        return Plan(blocked=_foreign(now))
    return _plan_new(now)


def _plan_new(now: Situation) -> Plan:
    candidates = [node for node in now.spec.active if node in now.seen]
    if not candidates:
        return Plan(blocked=f"no active node answers: {names(now.spec.active)}", offline=True)
    record = now.record
    if record.restore is not None and record.restore.node is not None:
        candidates = [node for node in candidates if node == record.restore.node]
        if not candidates:
            return Plan(blocked=f"n{record.restore.node}, which holds the snapshot, does not answer", offline=True)
    return Plan((Initialise(candidates[0], record.next_generation, record.create_new, record.restore),))


def _is_own(now: Situation, instance: Instance) -> bool:
    """Whether to go on with an instance's data: what was made last, else what the record or its owner says."""
    if instance.role is not Role.PRIMARY or not instance.generation:
        return False
    if instance.generation == now.record.next_generation:
        return True
    if now.record.create_new:
        return False
    known = now.record.generation
    return instance.generation == known if known else instance.owner == now.database


def _adopted(record: Record, node: int, instance: Instance) -> Record:
    restored = record.restore if record.restore and instance.generation == record.next_generation else None
    known = record.lineage if instance.generation == record.generation else ()
    return msgspec.structs.replace(
        record,
        create_new=False,
        restore=None,
        operation="" if record.restore else record.operation,
        lineage=restored.lineage if restored else known,
        generation=instance.generation,
        next_generation="",
        system_id=instance.system_id,
        primary=node,
        timeline=instance.timeline,
        copies=(node,),
        quorum=Quorum(),
        promoting=False,
        place=instance.place,
        moves=record.moves + (record.primary != node),
    )


def _all_empty(now: Situation) -> bool:
    return all(instance.state is InstanceState.EMPTY for instance in now.seen.values())


def _foreign(now: Situation) -> str:
    filled = [one for one in now.seen.values() if one.state is not InstanceState.EMPTY]
    owners = ", ".join(sorted({one.owner or "an unknown server" for one in filled}))
    return (
        f"volume {now.record.volume} holds data of {owners}, which cannot be taken over as it is; "
        "to replace it, set create_new_db with db_configure"
    )
