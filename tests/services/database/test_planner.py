"""The planner against a simulated cluster: whatever fails when, the invariants hold and the goal is reached."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from confd.model.states import NodeState
from confd.services.database.observed import Follower, Instance, InstanceState, Role
from confd.services.database.planner import plan
from confd.services.database.quorum import confirmed, transition
from confd.services.database.record import Quorum, Record, Wanted
from confd.services.database.situation import (
    Clone,
    Initialise,
    NodeAction,
    Remember,
    SetQuorum,
    Situation,
    Spec,
    StartPrimary,
    StartStandby,
    StopInstance,
)

NODES = (11, 12, 13)
quorums = st.builds(
    lambda members, acks: Quorum(tuple(sorted(members)), min(acks, len(members))) if members and acks else Quorum(),
    st.sets(st.sampled_from((12, 13, 14, 15))),
    st.integers(0, 4),
)


def implies(strong: Quorum, weak: Quorum) -> bool:
    """Whether each commit acknowledged under one quorum is where the other one says."""
    if weak.acks == 0:
        return True
    reached = itertools.combinations(strong.standbys, strong.acks)
    return strong.acks > 0 and all(len(set(nodes) & set(weak.standbys)) >= weak.acks for nodes in reached)


@given(quorums, quorums)
def test_transition_follows_from_both(old: Quorum, new: Quorum) -> None:
    """The record in between is true under the old and the new quorum."""
    between = transition(old, new)
    assert implies(old, between)
    assert implies(new, between)


@given(quorums, st.integers(0, 4))
def test_shrinking_is_recorded_first_and_growing_last(quorum: Quorum, acks: int) -> None:
    """With the same standbys, the record in between is the weaker of both."""
    other = Quorum(quorum.standbys, acks) if acks and acks <= len(quorum.standbys) else Quorum()
    assert transition(quorum, other) in (quorum, other)


@dataclass
class Server:
    """A simulated instance; ``rows`` are the commits it has."""

    data: Instance = field(default_factory=lambda: Instance(node=0, state=InstanceState.EMPTY))
    online: bool = True
    quorum: Quorum = field(default_factory=Quorum)
    rows: set[int] = field(default_factory=set)
    slots: set[int] = field(default_factory=set)


class Database(RuleBasedStateMachine):
    """Nodes, servers and the record; rules are what may happen to them."""

    @initialize(redundancy=st.integers(1, 3), create_new=st.booleans(), running=st.booleans())
    def begin(self, redundancy: int, create_new: bool, running: bool) -> None:
        self.spec = Spec(NODES, (), redundancy)
        self.record = Record(next_generation="g1", create_new=create_new, volume="v")
        self.servers = {node: Server() for node in NODES}
        self.busy: dict[int, NodeAction] = {}
        self.systems = itertools.count(1)
        self.commits = itertools.count(1)
        self.acknowledged: set[int] = set()
        if running:
            self.want(Wanted.RUNNING)
            self.work(12)
            assert self.plan().reached

    @rule(wanted=st.sampled_from(Wanted))
    def want(self, wanted: Wanted) -> None:
        self.record = msgspec.structs.replace(
            self.record, wanted=wanted, next_generation=self.record.next_generation or f"g{next(self.systems) + 100}"
        )

    @rule()
    def decide(self) -> None:
        for action in self.plan().actions:
            if isinstance(action, Remember):
                assert len(self.plan().actions) == 1
                self.record = action.record
            else:
                self.check(action)
                self.busy[action.node] = action

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), works=st.booleans())
    def end(self, data: st.DataObject, works: bool) -> None:
        node = data.draw(st.sampled_from(sorted(self.busy)))
        action = self.busy.pop(node)
        if works and self.servers[node].online:
            self.apply(action, told=data.draw(st.booleans()))

    @rule(rounds=st.integers(1, 8))
    def work(self, rounds: int) -> None:
        """Everything goes well for a while."""
        for _ in range(rounds):
            self.decide()
            for node in list(self.busy):
                action = self.busy.pop(node)
                if self.servers[node].online:
                    self.apply(action)

    @rule()
    def lose_master(self) -> None:
        """A new master knows the record only; what was under way may have happened or not."""
        self.busy.clear()

    @rule(node=st.sampled_from(NODES))
    def switch(self, node: int) -> None:
        self.servers[node].online ^= True

    @rule(node=st.sampled_from(NODES))
    def crash(self, node: int) -> None:
        server = self.servers[node]
        if server.data.running:
            server.data = msgspec.structs.replace(server.data, state=InstanceState.STOPPED)

    @rule(node=st.sampled_from(NODES))
    def promote_by_hand(self, node: int) -> None:
        server = self.servers[node]
        if server.data.state is InstanceState.READY and server.data.role is Role.STANDBY:
            server.data = msgspec.structs.replace(server.data, role=Role.PRIMARY, timeline=server.data.timeline + 1)

    @rule(node=st.sampled_from(NODES))
    def run_out_of_wal(self, node: int) -> None:
        """The primary could not keep WAL any longer for a standby that does not follow."""
        primary = self.record.primary
        if primary is not None and node not in self.followers(primary):
            self.servers[primary].slots.discard(node)

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        """A client commits on the recorded primary; acknowledged once as many followers have it as are asked for."""
        primary = self.record.primary
        if primary is None or self.servers[primary].data.state is not InstanceState.READY:
            return
        number = next(self.commits)
        self.servers[primary].rows.add(number)
        quorum = self.servers[primary].quorum
        members = [node for node in quorum.standbys if node in self.followers(primary)]
        if len(members) >= quorum.acks:
            for node in data.draw(st.permutations(members))[: quorum.acks]:
                self.servers[node].rows |= self.servers[primary].rows
            self.acknowledged.add(number)

    @invariant()
    def record_is_true_of_acknowledged_commits(self) -> None:
        if not getattr(self, "record", None) or self.record.primary is None:
            return
        quorum = self.record.quorum
        for number in self.acknowledged:
            holders = [node for node in quorum.standbys if number in self.servers[node].rows]
            assert len(holders) >= quorum.acks

    def teardown(self) -> None:
        """When nothing fails any more, the wanted state is reached."""
        if not hasattr(self, "record"):
            return
        for server in self.servers.values():
            server.online = True
        for _ in range(60):
            if self.plan().reached or self.plan().blocked:
                break
            self.decide()
            for node in list(self.busy):
                self.apply(self.busy.pop(node))
        assert self.plan().reached or self.plan().blocked
        running = [node for node, server in self.servers.items() if server.data.running]
        if self.plan().reached:
            assert running == (list(NODES) if self.record.wanted is Wanted.RUNNING else [])

    def plan(self):
        seen = {node: self.see(node) for node, server in self.servers.items() if server.online}
        states = {
            node: NodeState.ONLINE if server.online else NodeState.OFFLINE for node, server in self.servers.items()
        }
        return plan(
            Situation(database="db", spec=self.spec, record=self.record, nodes=states, seen=seen, busy=dict(self.busy))
        )

    def see(self, node: int) -> Instance:
        server = self.servers[node]
        if server.data.state is not InstanceState.READY or server.data.role is not Role.PRIMARY:
            return server.data
        followers = tuple(Follower(other, "streaming", "quorum", "0/0") for other in self.followers(node))
        kept = tuple(sorted(server.slots))
        return msgspec.structs.replace(server.data, followers=followers, synchronous=server.quorum.names(), kept=kept)

    def followers(self, primary: int) -> list[int]:
        source = self.servers[primary].data
        return [
            node
            for node, server in self.servers.items()
            if node != primary
            and server.data.state is InstanceState.READY
            and server.data.role is Role.STANDBY
            and server.data.system_id == source.system_id
            and node in self.servers[primary].slots
        ]

    def check(self, action: NodeAction) -> None:
        """The invariants of the module's docstring, for one action."""
        server = self.servers[action.node]
        assert server.online
        assert action.node not in self.busy or isinstance(action, StopInstance)
        writable = [
            node
            for node, other in self.servers.items()
            if other.online and other.data.running and other.data.role is Role.PRIMARY and node != action.node
        ]
        match action:
            case StartPrimary(node, quorum):
                assert node == self.record.primary
                assert not writable
                assert quorum == self.record.quorum
            case Initialise(_, generation, replace):
                assert generation == self.record.next_generation
                assert server.data.generation != generation
                assert replace == self.record.create_new
                assert replace or all(one.data.state is InstanceState.EMPTY for one in self.servers.values())
            case Clone(node, source):
                assert not server.data.running
                assert source == self.record.primary
                assert self.servers[source].data.state is InstanceState.READY
                usable = (server.data.generation, server.data.system_id) == (
                    self.record.generation,
                    self.record.system_id,
                )
                lost = node not in self.servers[source].slots
                ahead = server.data.timeline > self.record.timeline
                assert lost or ahead or not usable or server.data.role is Role.PRIMARY
            case StopInstance(node) if self.record.wanted is Wanted.STOPPED:
                assert server.data.role is Role.PRIMARY or not writable

    def apply(self, action: NodeAction, told: bool = True) -> None:
        """``told``: the master lives to hear that it worked."""
        server = self.servers[action.node]
        change = msgspec.structs.replace
        match action:
            case Initialise(node, generation, replace):
                if server.data.generation == generation:
                    return
                assert replace or server.data.state is InstanceState.EMPTY
                self.acknowledged.clear()
                server.rows, server.slots = set(), set()
                server.data = Instance(
                    node=node,
                    state=InstanceState.STOPPED,
                    role=Role.PRIMARY,
                    generation=generation,
                    owner="db",
                    system_id=f"s{next(self.systems)}",
                    timeline=1,
                )
            case StartPrimary(_, quorum):
                if not server.data.running and server.data.role is Role.PRIMARY:
                    server.data = change(server.data, state=InstanceState.READY)
                    server.quorum = quorum
            case StartStandby(node, primary):
                if not server.data.running and server.data.role is Role.STANDBY:
                    server.data = change(server.data, state=InstanceState.READY)
                    self.catch_up(node, primary)
            case Clone(node, source):
                origin = self.servers[source]
                if origin.data.state is InstanceState.READY and origin.online and not server.data.running:
                    server.data = change(origin.data, node=node, state=InstanceState.STOPPED, role=Role.STANDBY)
                    server.rows = set(origin.rows)
                    origin.slots.add(node)
            case SetQuorum(node, quorum):
                followers = [one for one in quorum.standbys if one in self.followers(node)]
                if server.data.state is InstanceState.READY:
                    server.quorum = quorum
                    if told and len(followers) >= quorum.acks:
                        for one in followers:
                            self.catch_up(one, node)
                        self.record = confirmed(self.record, action)
            case StopInstance(_):
                if server.data.running:
                    server.data = change(server.data, state=InstanceState.STOPPED)

    def catch_up(self, node: int, primary: int) -> None:
        if node in self.followers(primary) and self.servers[primary].data.state is InstanceState.READY:
            self.servers[node].rows |= self.servers[primary].rows


TestDatabase = Database.TestCase
TestDatabase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


def situation(record: Record, *seen: Instance, nodes: tuple[int, ...] = NODES, redundancy: int = 2) -> Situation:
    """Nodes that are not seen are offline."""
    states = {node: NodeState.ONLINE if any(one.node == node for one in seen) else NodeState.OFFLINE for node in nodes}
    return Situation(
        database="db",
        spec=Spec(nodes, (), redundancy),
        record=record,
        nodes=states,
        seen={one.node: one for one in seen},
    )


def instance(
    node: int, state: InstanceState = InstanceState.STOPPED, role: Role = Role.PRIMARY, **more: object
) -> Instance:
    """Make an instance of the database that RUNNING describes."""
    return msgspec.structs.replace(
        Instance(node=node, state=state, role=role, generation="g", owner="db", system_id="s", timeline=1), **more
    )


RUNNING = Record(wanted=Wanted.RUNNING, generation="g", system_id="s", primary=11, timeline=1, volume="v")


def test_primary_stops_first() -> None:
    """Standbys stop once no writable instance is left."""
    stopped = msgspec.structs.replace(RUNNING, wanted=Wanted.STOPPED)
    ready = InstanceState.READY
    now = situation(stopped, instance(11, ready), instance(12, ready, Role.STANDBY), instance(13, ready, Role.STANDBY))
    assert [action.node for action in plan(now).actions] == [11]
    now = situation(stopped, instance(11), instance(12, ready, Role.STANDBY), instance(13, ready, Role.STANDBY))
    assert [action.node for action in plan(now).actions] == [12, 13]


def test_standbys_start_beside_their_primary() -> None:
    """Existing copies start together with the primary."""
    now = situation(RUNNING, instance(11), instance(12, role=Role.STANDBY), instance(13, role=Role.STANDBY))
    assert plan(now).actions == (StartPrimary(11, Quorum()), StartStandby(12, 11), StartStandby(13, 11))


def test_second_writable_instance_is_stopped_before_anything_starts() -> None:
    """Nothing else is planned while a wrong instance is writable."""
    now = situation(RUNNING, instance(11), instance(12, InstanceState.READY, Role.PRIMARY, timeline=2))
    assert [type(action) for action in plan(now).actions] == [StopInstance]


def test_foreign_data_blocks() -> None:
    """Data of another database is named, not replaced."""
    record = Record(wanted=Wanted.RUNNING, next_generation="n", volume="V1")
    decided = plan(situation(record, *(instance(node, owner="other", generation="x") for node in NODES)))
    assert decided.actions == ()
    assert "V1 holds data of other" in decided.blocked


def test_newest_data_is_found_again() -> None:
    """Of several data directories of the database the newest timeline is taken, once all nodes are seen."""
    record = Record(wanted=Wanted.RUNNING, next_generation="n", volume="V1")
    some = (instance(11), instance(12, timeline=3))
    assert plan(situation(record, *some)).offline
    (action,) = plan(situation(record, *some, instance(13, role=Role.STANDBY))).actions
    assert isinstance(action, Remember)
    assert (action.record.primary, action.record.timeline) == (12, 3)


@pytest.mark.parametrize("state", [NodeState.OFFLINE, NodeState.SUSPENDED])
def test_missing_primary_blocks(state: NodeState) -> None:
    """Without the primary nothing starts: this is where promotion will come in."""
    now = situation(RUNNING, instance(12, role=Role.STANDBY), instance(13, role=Role.STANDBY))
    decided = plan(msgspec.structs.replace(now, nodes={**now.nodes, 11: state}))
    assert (decided.actions, decided.offline) == ((), True)
    assert state.value in decided.blocked


def test_shrinking_quorum_is_recorded_first() -> None:
    """A standby is lost: the record is weakened, then PostgreSQL, then the record names who is left."""
    ready, both = InstanceState.READY, Quorum((12, 13), 2)
    record = msgspec.structs.replace(RUNNING, quorum=both)
    followers = (Follower(13, "streaming", "quorum", "0/0"),)
    primary = instance(11, ready, followers=followers, synchronous=both.names(), kept=(12, 13))
    now = situation(record, primary, instance(13, ready, Role.STANDBY), redundancy=3)
    (first,) = plan(now).actions
    assert isinstance(first, Remember)
    assert first.record.quorum == Quorum((12, 13), 1)
    (second,) = plan(msgspec.structs.replace(now, record=first.record)).actions
    assert second == SetQuorum(11, Quorum((13,), 1), Quorum((12, 13), 1))
    assert confirmed(first.record, second).quorum == Quorum((13,), 1)


def test_growing_quorum_is_recorded_last() -> None:
    """A standby has joined: PostgreSQL waits for it first, the record follows when it has caught up."""
    ready = InstanceState.READY
    followers = tuple(Follower(node, "streaming", "async", "0/0") for node in (12, 13))
    now = situation(
        RUNNING,
        instance(11, ready, followers=followers, kept=(12, 13)),
        instance(12, ready, Role.STANDBY),
        instance(13, ready, Role.STANDBY),
    )
    assert plan(now).actions == (SetQuorum(11, Quorum((12, 13), 1), Quorum()),)
