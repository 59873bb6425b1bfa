"""The loss of a quorum has an age."""

from __future__ import annotations

from confd.cluster.leading.doubt import Majority
from confd.model.states import NodeState

ON, OFF = NodeState.ONLINE, NodeState.OFFLINE


def test_the_loss_has_an_age() -> None:
    """Counted from the last moment with a quorum; gone when it is back."""
    majority = Majority(100.0)
    assert majority.doubt(200.0) is None
    majority.seen({11: ON, 12: ON, 13: OFF}, 103.0)
    majority.seen({11: ON, 12: OFF, 13: OFF}, 104.0)
    doubt = majority.doubt(110.0)
    assert doubt is not None
    assert doubt.age == 7.0
    assert "n12, n13" in doubt.text
    majority.seen({11: ON, 12: ON, 13: OFF}, 111.0)
    assert majority.doubt(112.0) is None
