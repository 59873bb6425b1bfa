"""Standbys that do not stream: how long they are waited for, and what is thought of them."""

from __future__ import annotations

from confd.services.database.observed import Follower, Instance, InstanceState, Role
from confd.services.database.planning.patience import Patience


class Hall:
    """A primary on n11, and what a standby on n12 is seen to do, second by second."""

    def __init__(self) -> None:
        self.now = 100.0
        self.patience = Patience(lambda: self.now)

    def look(self, seconds: float, state: InstanceState, follower: str = "", role: Role = Role.STANDBY) -> None:
        """Look once a second for a while."""
        followers = (Follower(12, follower, "async", "0/0"),) if follower else ()
        primary = Instance(node=11, state=InstanceState.READY, role=Role.PRIMARY, followers=followers)
        follows = 11 if state is InstanceState.READY else None
        seen = {11: primary, 12: Instance(node=12, state=state, role=role, follows=follows)}
        until = self.now + seconds
        while self.now < until:
            self.now += 1.0
            self.patience.look(11, seen, (11, 12))


def test_who_is_up_and_does_not_stream_is_stuck() -> None:
    """After ten seconds, once; streaming makes all good, and it is late before."""
    hall = Hall()
    hall.look(7, InstanceState.READY)
    assert hall.patience.late == {12}
    assert hall.patience.stuck == {}
    hall.look(10, InstanceState.READY)
    assert hall.patience.stuck == {12: 1}
    hall.patience.remade(12)
    hall.look(12, InstanceState.READY)
    assert hall.patience.stuck == {12: 2}
    hall.look(1, InstanceState.READY, "streaming")
    assert (hall.patience.stuck, hall.patience.late) == ({}, frozenset())


def test_who_starts_and_is_refused_again_and_again_is_stuck() -> None:
    """It will never be consistent: the WAL that it asks for is gone; once it streams or catches up it is well."""
    hall = Hall()
    hall.look(5, InstanceState.STARTING, "startup")
    hall.look(3, InstanceState.STARTING)
    assert hall.patience.stuck == {}
    hall.look(5, InstanceState.STARTING, "startup")
    assert hall.patience.stuck == {12: 1}
    hall.look(1, InstanceState.STARTING, "streaming")
    assert hall.patience.stuck == {}


def test_who_recovers_for_long_is_left_alone() -> None:
    """Recovery may take hours; only who asks the primary for WAL and gets none is stuck."""
    hall = Hall()
    hall.look(3600, InstanceState.STARTING)
    hall.look(100, InstanceState.STARTING, "catchup")
    assert hall.patience.stuck == {}


def test_while_the_primary_does_not_serve_nobody_is_blamed() -> None:
    """What was held against standbys is forgotten then."""
    hall = Hall()
    hall.look(9, InstanceState.READY)
    hall.patience.look(11, {}, (11, 12))
    hall.look(9, InstanceState.READY)
    assert hall.patience.stuck == {}


def test_who_does_not_come_up_is_stuck() -> None:
    """After three starts in a row that failed; the copy that is made then has three tries again."""
    hall = Hall()
    for times in (1, 2):
        hall.patience.falls(12, times)
    assert hall.patience.stuck == {}
    hall.patience.falls(12, 3)
    assert hall.patience.stuck == {12: 1}
    hall.patience.remade(12)
    hall.patience.falls(12, 1)
    assert hall.patience.stuck == {}
    hall.patience.falls(12, 3)
    assert hall.patience.stuck == {12: 2}
