"""The planner of databases that are opened from a backup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.states import NodeState
from confd.services.backup.order import RestoreOrder, VirtualOrder
from confd.services.database.observed import Instance, InstanceState
from confd.services.database.planning.actions import CloseVirtual, OpenVirtual, Remember, StopInstance
from confd.services.database.planning.planner import plan
from confd.services.database.planning.situation import Situation, Spec
from confd.services.database.record import Record, Wanted

ORDER = VirtualOrder(11, "v", RestoreOrder(id="", volume="A", volume_id=1, level=0, database="d", chain=()))
STATES = st.sampled_from([None, *InstanceState])


def situation(wanted: Wanted, virtual: InstanceState | None, present: InstanceState, **changes: object) -> Situation:
    """Return what is seen of a database whose data has generation ``g``."""
    record = Record(wanted=wanted, generation="g", system_id="1", primary=11, virtual=ORDER)
    settings: dict[str, object] = {
        "database": "d", "spec": Spec((11, 12), (), 1), "record": record, "virtual": virtual,
        "nodes": {11: NodeState.ONLINE, 12: NodeState.ONLINE},
        "seen": {node: Instance(node=node, state=present, generation="g", system_id="1") for node in (11, 12)},
    }  # fmt: skip
    return Situation(**(settings | changes))  # type: ignore[arg-type]


@given(st.sampled_from(Wanted), STATES, st.sampled_from(InstanceState))
def test_the_present_data_is_only_ever_stopped(
    wanted: Wanted, virtual: InstanceState | None, present: InstanceState
) -> None:
    """Whatever is seen, nothing but stopping is done to the present data, and the record keeps its generation."""
    decided = plan(situation(wanted, virtual, present))
    for action in decided.actions:
        assert isinstance(action, StopInstance | OpenVirtual | CloseVirtual | Remember)
        if isinstance(action, Remember):
            assert (action.record.generation, action.record.primary) == ("g", 11)
            if action.record.virtual is None:
                assert (wanted, virtual) == (Wanted.STOPPED, InstanceState.EMPTY)


@pytest.mark.parametrize("wanted", list(Wanted))
def test_its_node_is_needed(wanted: Wanted) -> None:
    """While the node of the open backup is away, nothing is decided."""
    nodes = {11: NodeState.OFFLINE, 12: NodeState.ONLINE}
    decided = plan(situation(wanted, None, InstanceState.STOPPED, nodes=nodes))
    assert (decided.actions, decided.offline) == ((), True)
