"""Quorum is more than half of the nodes that are not suspended, and its loss has an age."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.quorum import Quorum, check, missing
from confd.model.errors import NoQuorum
from confd.model.states import NodeState

ON, OFF, SUSPENDED = NodeState.ONLINE, NodeState.OFFLINE, NodeState.SUSPENDED


@given(st.dictionaries(st.integers(11, 20), st.sampled_from(NodeState), min_size=1))
def test_more_than_half(states: dict[int, NodeState]) -> None:
    """Exactly then nothing is missing."""
    states[10] = ON
    online = sum(state is ON for state in states.values())
    offline = sorted(node for node, state in states.items() if state is OFF)
    assert missing(states) == (() if online > len(offline) else tuple(offline))


def test_who_is_missing_is_named() -> None:
    """So that an administrator knows whom to bring back or to suspend."""
    with pytest.raises(NoQuorum, match=r"2 of 3 nodes are offline \(n12, n13\)"):
        check({11: ON, 12: OFF, 13: OFF, 14: SUSPENDED})
    check({11: ON, 12: OFF, 13: SUSPENDED, 14: ON})


def test_the_loss_has_an_age() -> None:
    """Counted from the last moment with a quorum; gone when it is back."""
    quorum = Quorum(100.0)
    assert quorum.doubt(200.0) is None
    quorum.seen({11: ON, 12: ON, 13: OFF}, 103.0)
    quorum.seen({11: ON, 12: OFF, 13: OFF}, 104.0)
    doubt = quorum.doubt(110.0)
    assert doubt is not None
    assert doubt.age == 7.0
    assert "n12, n13" in doubt.text
    quorum.seen({11: ON, 12: ON, 13: OFF}, 111.0)
    assert quorum.doubt(112.0) is None
