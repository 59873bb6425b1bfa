"""The planner against a simulated cluster: whatever fails when, the invariants hold and the goal is reached."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from confd.model.states import NodeState
from confd.services.database.observed import Follower, History, Instance, InstanceState, Place, Point, Role, lsn
from confd.services.database.planning.actions import (
    Clone,
    Detach,
    Follow,
    Initialise,
    NodeAction,
    Promote,
    Remember,
    Rewind,
    SetQuorum,
    StartPrimary,
    StartStandby,
    StopInstance,
)
from confd.services.database.planning.planner import plan
from confd.services.database.planning.quorum import confirmed, target_quorum, transition
from confd.services.database.planning.seats import with_guests
from confd.services.database.planning.situation import Plan, Situation, Spec
from confd.services.database.record import Quorum, Record, Wanted, resuming, suspending
from confd.services.database.supervision.moving import arrived, parted, with_move
from tests.torture import TORTURE

NODES = (11, 12, 13)
SERVERS = (*NODES, 14)
"""The last one has no copy until one moves there."""

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


NOTHING = Point(1, "0/0")


@dataclass
class Server:
    """A simulated node with its instance.

    ``log``: the commits that it has, in order. A node that is not ``online`` may be alive; ``dead`` ones run nothing.
    ``ghosts``: actions that the master has given up, and that may still happen. ``hold``: of its lease, where there are
    any; one that ``lapsed`` has been gone for so long that its keeper has stopped what took writes.
    ``past``: where the earlier timelines of its log ended. ``settled``: the state of its files; the log beyond is WAL.
    A standby that has ``heard`` of a history which its log is not part of does not start if its files are beyond the
    fork; else it goes ``astray``: it receives, and acknowledges, what it never has.
    """

    data: Instance
    online: bool = True
    dead: bool = False
    quorum: Quorum = field(default_factory=Quorum)
    log: tuple[int, ...] = ()
    ended: bool = False
    slots: set[int] = field(default_factory=set)
    ghosts: list[NodeAction] = field(default_factory=list)
    hold: int = 1
    lapsed: bool = False
    past: tuple[Point, ...] = ()
    settled: Point = NOTHING
    heard: bool = False
    astray: bool = False

    @property
    def end(self) -> Point:
        return Point(self.data.timeline, f"0/{len(self.log) + 1:X}")

    @property
    def history(self) -> History:
        return History(self.data.timeline, self.past)

    def promoted(self, timeline: int = 0) -> None:
        """Begin a timeline: the next one where no number is given, as somebody does it by hand."""
        timeline = max(timeline, self.data.timeline + 1)
        self.past = (*self.past, self.end)
        self.settled = Point(timeline, self.end.position)
        self.data = msgspec.structs.replace(self.data, role=Role.PRIMARY, timeline=timeline, follows=None)

    def cut(self, history: History) -> None:
        """Lose the WAL that is not part of a history which knows the files."""
        if not history.knows(self.settled) or self.data.timeline > history.timeline:
            return
        for kept in (*self.past, self.end):
            end = history.end(kept.timeline)
            if end is not None and lsn(kept.position) > end:
                self.log = self.log[: max(end, lsn(self.settled.position), 1) - 1]
                self.past = tuple(one for one in self.past if one.timeline < kept.timeline)
                self.data = msgspec.structs.replace(self.data, timeline=kept.timeline)
                return

    @property
    def lease(self) -> str:
        return f"e/{self.hold}"

    @property
    def writable(self) -> bool:
        return self.data.running and self.data.role is Role.PRIMARY


STARTS = StartPrimary | StartStandby


class Database(RuleBasedStateMachine):
    """Nodes, servers and the record; rules are what may happen to them."""

    @initialize(
        redundancy=st.integers(1, 3),
        create_new=st.booleans(),
        running=st.sampled_from((True, True, True, False)),
        leased=st.booleans(),
    )
    def begin(self, redundancy: int, create_new: bool, running: bool, leased: bool = False) -> None:
        self.redundancy, self.leased = redundancy, leased
        self.out: set[int] = set()
        self.record = Record(next_generation="g1", create_new=create_new, volume="v")
        self.servers = {node: Server(Instance(node=node, state=InstanceState.EMPTY)) for node in SERVERS}
        self.home = NODES
        self.move: tuple[int, int] | None = None
        self.left: set[int] = set()
        self.doomed: set[int] = set()
        self.busy: dict[int, NodeAction] = {}
        self.systems = itertools.count(1)
        self.commits = itertools.count(1)
        self.acknowledged: set[int] = set()
        self.by_hand: set[int] = set()
        self.late: frozenset[int] = frozenset()
        self.stuck: dict[int, int] = {}
        self.times: dict[int, int] = {}
        self.unable: frozenset[int] = frozenset()
        self.failed: dict[int, NodeAction] = {}
        self.misjudged: set[int] = set()
        self.given_up: set[int] = set()
        if running:
            self.want(Wanted.RUNNING)
            self.work(12)
            assert self.plan().reached

    @property
    def spec(self) -> Spec:
        active = tuple(node for node in self.home if node not in (*self.record.suspended, *self.out))
        return with_guests(Spec(active, (), self.redundancy), self.record, self.redundancy)

    @rule(wanted=st.sampled_from(Wanted), accept_loss=st.booleans())
    def want(self, wanted: Wanted, accept_loss: bool = False) -> None:
        self.record = msgspec.structs.replace(
            self.record,
            wanted=wanted,
            next_generation=self.record.next_generation or f"g{next(self.systems) + 100}",
            accept_loss=accept_loss and wanted is Wanted.RUNNING,
        )

    @rule(node=st.sampled_from(SERVERS), suspended=st.booleans())
    def suspend(self, node: int, suspended: bool) -> None:
        """An administrator takes a node from the database, or gives it back.

        Of one that does not answer he says that it is dead, and may be wrong; of one that does he does not.
        """
        if not suspended:
            self.record = resuming(self.record, [node])
        elif node in self.home and set(self.home) - {*self.record.suspended, node}:
            dead = [] if self.servers[node].online else [node]
            self.record = suspending(self.record, [node], dead)

    @rule(node=st.sampled_from(SERVERS), out=st.booleans())
    def take_out_of_service(self, node: int, out: bool) -> None:
        """The node itself is suspended: one that answers is left first, one that does not is said to be dead."""
        server = self.servers[node]
        left = not server.data.running and node not in self.busy and not server.ghosts
        if not out:
            self.out.discard(node)
        elif set(self.home) - self.out - {*self.record.suspended, node} and (left or not server.online):
            self.out.add(node)

    @precondition(lambda self: self.leased)
    @rule(node=st.sampled_from(SERVERS))
    def lease_lapses(self, node: int) -> None:
        """Nobody hears of a node for so long that its keeper stops what takes writes, and the master knows."""
        server = self.servers[node]
        if not server.online and not server.lapsed:
            server.lapsed = True
            server.hold += 1
            if server.writable:
                self.crash(node)

    @rule(source=st.sampled_from(SERVERS), guest=st.sampled_from(SERVERS))
    def begin_move(self, source: int, guest: int) -> None:
        """The copy of a node is to move to one that has none."""
        free = guest not in self.home and guest not in self.left and not self.servers[guest].dead
        if self.move is None and source in self.home and free and self.record.wanted is Wanted.RUNNING:
            self.move = source, guest
            self.record = with_move(self.record, (guest,), ())

    @precondition(lambda self: self.move)
    @rule()
    def go_on_moving(self) -> None:
        """The guest follows: the source is not relied on any more; then the configuration changes."""
        assert self.move is not None
        (source, guest), now = self.move, self.situation()
        if self.record.leaving == (guest,) or not arrived(now, guest):
            return
        if not self.record.leaving:
            self.record = with_move(self.record, (guest,), (source,))
        elif parted(self.record, source):
            self.home = tuple(guest if node == source else node for node in self.home)
            self.end_move(source)

    @precondition(lambda self: self.move)
    @rule()
    def take_move_back(self) -> None:
        """The move is undone, at any moment; the guest is sent away once nothing relies on it."""
        assert self.move is not None
        guest = self.move[1]
        if self.record.leaving == (guest,) and parted(self.record, guest):
            self.end_move(guest)
        else:
            self.record = with_move(self.record, (guest,), (guest,))

    def end_move(self, left: int) -> None:
        self.record = with_move(self.record, (), ())
        self.left.add(left)
        self.move = None

    @rule()
    def destroy_what_was_left(self) -> None:
        """Decided when nothing relies on it any more, done at some time after."""
        for node in sorted(self.doomed):
            server = self.servers[node]
            if server.online and node not in self.busy:
                self.ghosts_end(node)
                server.data = Instance(node=node, state=InstanceState.EMPTY)
                server.log, server.slots = (), set()
                self.left.discard(node)
                self.by_hand.discard(node)
        self.doomed = {node for node in self.left if parted(self.record, node)}

    @rule()
    def decide(self) -> None:
        for action in (decided := self.plan()).actions:
            if isinstance(action, Remember):
                assert len(decided.actions) == 1
                self.remember(action.record)
            else:
                self.check(action)
                self.busy[action.node] = action

    def remember(self, record: Record) -> None:
        """A change of the primary is checked: the old one is stopped, or cut off from its quorum for good."""
        before, self.record = self.record, record
        if before.primary not in (None, record.primary) and not before.create_new:
            old = self.servers[before.primary]
            # A node that was suspended although it lives may be back, and about to be stopped.
            vouched = before.primary in self.out or (before.primary in before.vouched and not old.online)
            assert not old.writable or (vouched and not self.leased)
            assert not old.writable or before.accept_loss or not self.can_acknowledge(before.primary)
            self.misjudged |= {before.primary} if old.writable else set()
            if before.accept_loss:
                self.given_up.add(before.primary)
                assert record.primary is not None
                self.acknowledged &= set(self.servers[record.primary].log)

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), works=st.booleans())
    def end(self, data: st.DataObject, works: bool) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.busy))), works, data.draw(st.booleans()))

    def finish(self, node: int, works: bool, told: bool) -> None:
        """An action ends: it worked, and perhaps the master hears of it; or it failed."""
        action = self.busy.pop(node)
        if works and self.servers[node].online:
            self.apply(action, told)
            return
        self.failed[node] = action
        if not self.servers[node].dead and not self.servers[node].online:
            self.servers[node].ghosts.append(action)

    @rule(node=st.sampled_from(SERVERS))
    def ghosts_end(self, node: int) -> None:
        """What the master has given up happens after all."""
        ghosts, self.servers[node].ghosts = self.servers[node].ghosts, []
        for ghost in ghosts:
            self.happen(ghost)

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
        for node, action in self.busy.items():
            if not self.servers[node].dead:
                self.servers[node].ghosts.append(action)
        self.busy.clear()
        self.failed.clear()
        self.stuck.clear()
        self.times.clear()
        self.unable = frozenset()

    @rule(node=st.sampled_from(SERVERS))
    def cut(self, node: int) -> None:
        """The master does not reach a node any more, or again; its server runs on."""
        server = self.servers[node]
        server.online ^= not server.dead
        server.lapsed &= not server.online

    @rule(node=st.sampled_from(SERVERS))
    def kill(self, node: int) -> None:
        """All processes of a node die, or a dead node comes back."""
        server = self.servers[node]
        server.dead ^= True
        server.online = not server.dead
        server.lapsed &= not server.online
        if server.dead:
            server.ghosts.clear()
            self.crash(node)

    @rule(node=st.sampled_from(SERVERS))
    def crash(self, node: int) -> None:
        server = self.servers[node]
        if server.data.running:
            server.ended = False
            server.data = msgspec.structs.replace(server.data, state=InstanceState.STOPPED, follows=None)

    @rule(nodes=st.sets(st.sampled_from(SERVERS)))
    def cannot_start(self, nodes: set[int]) -> None:
        self.unable = frozenset(nodes)

    @rule()
    def time_passes(self) -> None:
        """Who should stream and does not is found to be late, and later to be stuck."""
        primary = self.record.primary
        if primary is None or not self.servers[primary].writable:
            return
        following = set(self.followers(primary))
        self.late = frozenset(self.spec.nodes) - following - {primary}
        for node in self.spec.nodes:
            if node in following:
                self.stuck.pop(node, None)
                self.times.pop(node, None)
            elif self.servers[node].data.state is InstanceState.READY and self.servers[node].data.follows == primary:
                self.stuck[node] = self.times[node] = self.times.get(node, 0) + 1

    @rule(node=st.sampled_from(SERVERS))
    def promote_by_hand(self, node: int) -> None:
        server = self.servers[node]
        if server.data.state is InstanceState.READY and server.data.role is Role.STANDBY and not server.data.paused:
            self.by_hand.add(node)
            server.promoted()

    @rule(node=st.sampled_from(SERVERS))
    def write_out(self, node: int) -> None:
        """The files of a running instance get the state that it has."""
        server = self.servers[node]
        if server.data.state is InstanceState.READY and not server.astray:
            server.settled = server.end

    @rule(node=st.sampled_from(SERVERS))
    def pause(self, node: int) -> None:
        """A standby replays nothing any more: its limits are lower than those of its primary."""
        server = self.servers[node]
        if server.data.state is InstanceState.READY and server.data.role is Role.STANDBY:
            server.data = msgspec.structs.replace(server.data, paused=True)

    @rule(node=st.sampled_from(SERVERS))
    def run_out_of_wal(self, node: int) -> None:
        """The primary could not keep WAL any longer for a standby that does not follow."""
        primary = self.record.primary
        if primary is not None and node not in self.followers(primary):
            self.servers[primary].slots.discard(node)

    @rule(node=st.sampled_from(SERVERS), chance=st.randoms(use_true_random=False))
    def write(self, node: int, chance: random.Random) -> None:
        """A client commits on what is writable; acknowledged once as many followers have it as are asked for."""
        server = self.servers[node]
        if server.data.state is not InstanceState.READY or not server.writable or node in self.by_hand:
            return
        number = next(self.commits)
        server.log += (number,)
        members = [one for one in server.quorum.standbys if one in self.followers(node)]
        reached = chance.sample(members, chance.randint(0, len(members)))
        for one in reached:
            self.catch_up(one, node)
        if len(reached) >= server.quorum.acks:
            self.acknowledged.add(number)

    @invariant()
    def record_is_true_of_acknowledged_commits(self) -> None:
        """Every acknowledged commit is on the recorded primary and on as many standbys as the record says."""
        if not getattr(self, "record", None) or self.record.primary is None or self.record.create_new:
            return
        quorum = self.record.quorum
        for number in self.acknowledged:
            assert number in self.servers[self.record.primary].log
            holders = [node for node in quorum.standbys if number in self.servers[node].log]
            assert len(holders) >= quorum.acks

    @invariant()
    def one_is_writable(self) -> None:
        """Two are writable only where an administrator declared a living node dead; that one gets no commit through."""
        if not getattr(self, "record", None) or self.record.create_new:
            return
        for node, server in self.servers.items():
            if server.writable and node not in (*self.by_hand, self.record.primary):
                assert node in self.misjudged
                assert node in self.given_up or not self.can_acknowledge(node)

    def can_acknowledge(self, node: int) -> bool:
        server = self.servers[node]
        return len([one for one in server.quorum.standbys if one in self.followers(node)]) >= server.quorum.acks

    def teardown(self) -> None:
        """When nothing fails any more, the wanted state is reached."""
        if not hasattr(self, "record"):
            return
        for node, server in self.servers.items():
            self.ghosts_end(node)
            server.online, server.dead, server.lapsed = True, False, False
        self.out.clear()
        self.unable = frozenset()
        self.record = resuming(self.record, self.record.suspended)
        for _ in range(80):
            if self.move is not None and self.record.wanted is Wanted.RUNNING:
                self.take_move_back()
            decided = self.plan()
            if (decided.reached and self.move is None) or decided.blocked:
                break
            self.decide()
            for node in list(self.busy):
                self.apply(self.busy.pop(node))
            self.time_passes()
        assert self.plan().reached or self.plan().blocked
        running = [node for node, server in self.servers.items() if server.data.running]
        if self.plan().reached:
            assert running == (sorted(self.home) if self.record.wanted is Wanted.RUNNING else [])

    def plan(self) -> Plan:
        return plan(self.situation())

    def situation(self) -> Situation:
        concerned = {*self.spec.nodes, *self.record.copies, *self.record.quorum.standbys, self.record.primary}
        seen = {
            node: self.see(node)
            for node, server in self.servers.items()
            if self.reached(node) and (node in concerned or server.data.running)
        }
        states = {
            node: NodeState.ONLINE if server.online else NodeState.OFFLINE for node, server in self.servers.items()
        } | dict.fromkeys(self.out, NodeState.SUSPENDED)
        lapsed = frozenset(node for node, server in self.servers.items() if server.lapsed and not server.online)
        silent = {node for node in self.out if self.servers[node].online and not self.servers[node].data.running}
        return Situation(
            database="db",
            spec=self.spec,
            record=self.record,
            nodes=states,
            seen=seen,
            busy=dict(self.busy),
            failed=dict(self.failed),
            gone=frozenset(node for node, server in self.servers.items() if server.dead),
            late=self.late,
            stuck=dict(self.stuck),
            unable=self.unable,
            leased=self.leased,
            lapsed=lapsed,
            quiet=lapsed | silent,
        )

    def reached(self, node: int) -> bool:
        """Whether the master gives a node commands."""
        return self.servers[node].online and node not in self.out

    def see(self, node: int) -> Instance:
        server = self.servers[node]
        data, end = server.data, f"0/{len(server.log) + 1:X}"
        if self.leased:
            data = msgspec.structs.replace(data, place=Place("m", "/r", "/r/d", server.lease))
        if data.role is Role.PRIMARY and data.state is not InstanceState.EMPTY:
            data = msgspec.structs.replace(data, history=server.history)
        if data.state is InstanceState.STOPPED and data.role is Role.STANDBY:
            data = msgspec.structs.replace(data, settled=server.settled)
        if data.state is InstanceState.STOPPED and any(isinstance(ghost, STARTS) for ghost in server.ghosts):
            return msgspec.structs.replace(data, state=InstanceState.STARTING)
        if data.state is InstanceState.STOPPED and data.role is Role.PRIMARY and server.ended:
            return msgspec.structs.replace(data, ended=f"0/{len(server.log):X}")
        if data.state is not InstanceState.READY:
            return data
        if data.role is Role.STANDBY:
            return msgspec.structs.replace(data, flushed=end, detached=data.follows is None and not data.paused)
        followers = tuple(Follower(other, "streaming", "quorum", "0/0") for other in self.followers(node))
        kept = tuple(sorted(server.slots))
        return msgspec.structs.replace(
            data, flushed=end, followers=followers, synchronous=server.quorum.names(), kept=kept
        )

    def followers(self, primary: int) -> list[int]:
        source = self.servers[primary]
        if source.data.state is not InstanceState.READY or source.data.role is not Role.PRIMARY:
            return []
        return [
            node
            for node, server in self.servers.items()
            if node != primary
            and server.data.state is InstanceState.READY
            and server.data.role is Role.STANDBY
            and server.data.follows == primary
            and server.data.system_id == source.data.system_id
            and (server.log == source.log[: len(server.log)] or server.astray)
            and node in source.slots
        ]

    def check(self, action: NodeAction) -> None:
        """The invariants of the module's docstring, for one action."""
        server = self.servers[action.node]
        assert self.reached(action.node)
        assert action.node not in self.busy or isinstance(action, StopInstance)
        known = (self.record.primary, *self.record.quorum.standbys, *self.record.copies, *self.record.suspended)
        assert action.node in (*self.spec.nodes, *known) or isinstance(action, StopInstance)
        writable = [
            node
            for node, other in self.servers.items()
            if self.reached(node) and other.writable and node != action.node
        ]
        match action:
            case StartPrimary(node, quorum):
                assert node == self.record.primary
                assert not writable
                assert quorum == self.record.quorum
            case Promote(node, quorum):
                assert node == self.record.primary
                assert not writable
                assert implies(quorum, self.record.quorum)
                assert action.timeline == self.record.timeline > server.data.timeline
            case Initialise(_, generation, replace):
                assert generation == self.record.next_generation
                assert server.data.generation != generation
                assert replace == self.record.create_new
                assert replace or all(one.data.state is InstanceState.EMPTY for one in self.servers.values())
            case Rewind(node, source):
                assert not server.data.running
                assert source == self.record.primary
                assert node not in self.record.quorum.standbys
            case Clone(node, source):
                assert not server.data.running
                assert source == self.record.primary
                assert node not in self.record.quorum.standbys
                assert self.servers[source].data.state is InstanceState.READY
            case StopInstance(node) if self.record.wanted is Wanted.STOPPED:
                assert server.data.role is Role.PRIMARY or not writable

    def apply(self, action: NodeAction, told: bool = True) -> None:
        """``told``: the master lives to hear that it worked."""
        if not isinstance(action, StopInstance):
            self.ghosts_end(action.node)
        self.happen(action)
        if told:
            self.failed.pop(action.node, None)
            if isinstance(action, SetQuorum) and self.holds(action):
                for one in action.quorum.standbys:
                    self.catch_up(one, action.node)
                self.record = confirmed(self.record, action)
            if isinstance(action, Clone | Rewind):
                self.stuck.pop(action.node, None)

    def holds(self, action: SetQuorum) -> bool:
        following = [one for one in action.quorum.standbys if one in self.followers(action.node)]
        ready = self.servers[action.node].data.state is InstanceState.READY
        return ready and len(following) >= action.quorum.acks

    def happen(self, action: NodeAction) -> None:
        server = self.servers[action.node]
        change = msgspec.structs.replace
        if self.leased and isinstance(action, StartPrimary | Promote) and action.lease != server.lease:
            return
        match action:
            case Initialise(node, generation, replace):
                if server.data.generation == generation:
                    return
                assert replace or server.data.state is InstanceState.EMPTY
                self.acknowledged.clear()
                server.log, server.slots, server.past, server.settled = (), set(), (), NOTHING
                server.heard = server.astray = False
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
            case StartStandby(node, primary, history):
                if not server.data.running and server.data.role is Role.STANDBY:
                    if history is not None:
                        server.cut(history)
                    self.start(node, primary)
            case Follow(node, primary):
                if server.data.state is InstanceState.READY and server.data.role is Role.STANDBY:
                    server.data = change(server.data, follows=primary)
                    self.admit(node, primary)
            case Detach(_):
                server.data = change(server.data, follows=None)
            case Promote(_, quorum, _, timeline):
                if (
                    server.data.state is InstanceState.READY
                    and server.data.role is Role.STANDBY
                    and not server.data.paused
                ):
                    server.quorum = quorum
                    server.promoted(timeline)
            case Clone(node, source) | Rewind(node, source):
                origin = self.servers[source]
                if origin.data.state is InstanceState.READY and origin.online and not server.data.running:
                    server.data = change(origin.data, node=node, state=InstanceState.STOPPED, role=Role.STANDBY)
                    server.log, server.past, server.settled = origin.log, origin.past, origin.end
                    server.heard = server.astray = False
                    origin.slots.add(node)
                    self.by_hand.discard(node)
            case SetQuorum(_, quorum):
                if server.data.state is InstanceState.READY and server.data.role is Role.PRIMARY:
                    server.quorum = quorum
            case StopInstance(node):
                if server.data.running:
                    server.ended = server.data.role is Role.PRIMARY
                    for one in self.followers(node):
                        self.catch_up(one, node)
                    if not server.astray:
                        server.settled = server.end
                    server.data = change(server.data, state=InstanceState.STOPPED, follows=None)

    def start(self, node: int, primary: int | None) -> None:
        server = self.servers[node]
        source = self.servers[primary] if primary is not None else server
        strays = server.log != source.log[: len(server.log)]
        if server.heard and strays and not source.history.knows(server.settled):
            return
        server.astray = server.heard and strays
        server.data = msgspec.structs.replace(server.data, state=InstanceState.READY, follows=primary, paused=False)
        self.admit(node, primary)

    def admit(self, node: int, primary: int | None) -> None:
        if primary is None:
            return
        server, source = self.servers[node], self.servers[primary]
        if source.data.state is InstanceState.READY and source.writable:
            source.slots.add(node)
            server.heard = server.log != source.log[: len(server.log)]
        self.catch_up(node, primary)

    def catch_up(self, node: int, primary: int) -> None:
        server, source = self.servers[node], self.servers[primary]
        if node in self.followers(primary):
            server.data = msgspec.structs.replace(server.data, timeline=source.data.timeline)
            if not server.astray:
                server.log, server.past = source.log, source.past


TestDatabase = Database.TestCase
TestDatabase.settings = settings(max_examples=1_000 if TORTURE else 40, stateful_step_count=40, deadline=None)


def story(seed: int, steps: int) -> None:
    """Run a random story in which primaries are lost over and over, and copies move in half of them, checking the invariants after every step."""
    chance = random.Random(seed)
    database = Database()
    database.begin(chance.choice((1, 2, 2, 3, 3)), chance.random() < 0.2, True, chance.random() < 0.3)
    moves = chance.choice((0, 12))
    # Apart, so that kept seeds keep their stories.
    disks = random.Random(-seed - 1)
    for _ in range(steps):
        if disks.random() < 0.1:
            database.write_out(disks.choice(SERVERS))
        node = chance.choice(SERVERS)
        event = chance.choices(
            ("commit", "work", "kill", "cut", "crash", "ghosts", "end", "time", "master", "suspend", "want", "start",
             "move", "back", "out", "lapse"),
            (30, 30, 8, 5, 5, 4, 12, 8, 2, 2, 1, 2, moves, moves / 6, 2, 4),
        )[0]  # fmt: skip
        match event:
            case "commit":
                database.write(database.record.primary or node if chance.random() < 0.8 else node, chance)
            case "work":
                database.work(chance.randint(1, 4))
            case "kill" | "cut" | "crash":
                lost = database.record.primary or node
                getattr(database, event)(lost if chance.random() < 0.5 else node)
            case "ghosts":
                database.ghosts_end(node)
            case "end":
                database.decide()
                if database.busy:
                    database.finish(chance.choice(sorted(database.busy)), chance.random() < 0.8, chance.random() < 0.7)
            case "time":
                database.time_passes()
            case "master":
                database.lose_master()
            case "suspend":
                database.suspend(node, chance.random() < 0.4)
            case "out":
                database.take_out_of_service(node, chance.random() < 0.4)
            case "lapse":
                if database.leased:
                    database.lease_lapses(database.record.primary or node)
            case "want":
                database.want(chance.choice(list(Wanted)), chance.random() < 0.1)
            case "move":
                if database.move is None:
                    database.begin_move(node, chance.choice([one for one in SERVERS if one not in database.home]))
                else:
                    database.go_on_moving()
                database.destroy_what_was_left()
            case "back":
                if database.move is not None:
                    database.take_move_back()
            case "start":
                database.cannot_start({node} if chance.random() < 0.5 else set())
        database.record_is_true_of_acknowledged_commits()
        database.one_is_writable()
    database.teardown()


KEPT = (13_219,)
"""A copy that had been read was elected beside, while an order to follow the old primary was on its way to it."""

SEEDS = range(20_000) if TORTURE else (*range(600), *KEPT)


def test_primaries_are_lost_over_and_over() -> None:
    """Whoever dies, is cut off, returns, moves or is given up when: no acknowledged commit is lost, one is writable."""
    for seed in SEEDS:
        try:
            story(seed, 80)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


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


@pytest.mark.parametrize("suspended", [(), (12,)])
def test_nothing_takes_writes_while_another_instance_is_being_stopped(suspended: tuple[int, ...]) -> None:
    """Also where that one, which somebody promoted by hand, is on a node that the database has left."""
    nodes = tuple(node for node in NODES if node not in suspended)
    stray = instance(12, InstanceState.READY)
    for copy in (instance(11), instance(11, InstanceState.READY, Role.STANDBY, detached=True)):
        now = situation(msgspec.structs.replace(RUNNING, suspended=suspended), copy, stray, nodes=nodes)
        now = msgspec.structs.replace(now, nodes=now.nodes | {12: NodeState.ONLINE})
        (stop,) = plan(now).actions
        assert isinstance(stop, StopInstance)
        assert stop.node == 12
        assert plan(msgspec.structs.replace(now, busy={12: stop})).actions == ()
        assert plan(msgspec.structs.replace(now, seen={11: copy})).actions != ()


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
    """With one copy of each commit nothing starts without the primary, whatever is known of it."""
    now = situation(RUNNING, instance(12, role=Role.STANDBY), instance(13, role=Role.STANDBY))
    decided = plan(msgspec.structs.replace(now, nodes={**now.nodes, 11: state}))
    assert (decided.actions, decided.offline) == ((), True)
    assert "n11" in decided.blocked


def test_shrinking_quorum_is_recorded_first() -> None:
    """A standby is lost: the record is weakened, then PostgreSQL, then the record names who is left."""
    ready, both = InstanceState.READY, Quorum((12, 13), 2)
    record = msgspec.structs.replace(RUNNING, quorum=both)
    followers = (Follower(13, "streaming", "quorum", "0/0"),)
    primary = instance(11, ready, followers=followers, synchronous=both.names(), kept=(12, 13))
    now = situation(record, primary, instance(13, ready, Role.STANDBY, follows=11), redundancy=3)
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
        instance(12, ready, Role.STANDBY, follows=11),
        instance(13, ready, Role.STANDBY, follows=11),
    )
    assert plan(now).actions == (SetQuorum(11, Quorum((12, 13), 1), Quorum()),)


def test_who_is_cut_off_goes_on_waiting_for_whom_it_waited() -> None:
    """Without most nodes no commit is acknowledged by fewer than the record says that others may know."""
    quorum = Quorum((12, 13), 1)
    record = msgspec.structs.replace(RUNNING, quorum=quorum)
    primary = instance(11, InstanceState.READY, synchronous=quorum.names())
    now = msgspec.structs.replace(situation(record, primary), late=frozenset({12, 13}))
    assert target_quorum(now, 11, primary) == quorum
    dead = msgspec.structs.replace(now, gone=frozenset({12, 13}))
    assert target_quorum(dead, 11, primary) == Quorum()
    suspended = msgspec.structs.replace(now, nodes={**now.nodes, 12: NodeState.SUSPENDED, 13: NodeState.SUSPENDED})
    assert target_quorum(suspended, 11, primary) == Quorum()
    one_left = Quorum((12,), 1)
    pair = situation(msgspec.structs.replace(record, quorum=one_left), primary, nodes=(11, 12))
    assert target_quorum(msgspec.structs.replace(pair, late=frozenset({12})), 11, primary) == Quorum()


def test_who_cannot_replay_is_started_anew() -> None:
    """A standby whose replay is paused is stopped, then started: whether it follows, or is to be the next primary."""
    ready = InstanceState.READY
    record = msgspec.structs.replace(RUNNING, quorum=Quorum((12,), 1))
    paused = instance(12, ready, Role.STANDBY, follows=11, paused=True)
    followers = (Follower(12, "streaming", "quorum", "0/0"),)
    primary = instance(11, ready, followers=followers, synchronous=record.quorum.names(), kept=(12,))
    promoting = msgspec.structs.replace(RUNNING, primary=12, promoting=True)
    for now, start in (
        (situation(record, primary, paused, nodes=(11, 12)), StartStandby(12, 11)),
        (msgspec.structs.replace(situation(record, paused), gone=frozenset({11})), StartStandby(12, None)),
        (situation(promoting, paused), StartStandby(12, None)),
    ):
        (stop,) = plan(now).actions
        assert isinstance(stop, StopInstance)
        stopped = msgspec.structs.replace(now, seen=now.seen | {12: instance(12, role=Role.STANDBY)})
        assert start in plan(stopped).actions


def test_server_without_keeper_is_stopped_first() -> None:
    """It counts as running until it is gone: nobody is elected or started beside it."""
    orphan = instance(11, InstanceState.STOPPING, orphan=True)
    now = situation(RUNNING, orphan, instance(12, InstanceState.READY, Role.STANDBY, detached=True))
    assert plan(now).actions == (StopInstance(11, "its keeper is gone"),)
    assert not now.stopped(11)


def leased(lease: str) -> Place:
    """Where an instance is, and the hold that bounds it."""
    return Place("m", "/r", "/r/d", lease)


BOUND = msgspec.structs.replace(RUNNING, place=leased("e/5"), quorum=Quorum((12, 13), 1))


def test_lapsed_lease_is_proof() -> None:
    """Without it a silent primary blocks; with it another one is elected."""
    standbys = [instance(node, InstanceState.READY, Role.STANDBY, detached=True) for node in (12, 13)]
    now = msgspec.structs.replace(situation(BOUND, *standbys), leased=True)
    assert plan(now).blocked
    now = msgspec.structs.replace(now, lapsed=frozenset({11}))
    (action,) = plan(now).actions
    assert isinstance(action, Remember)
    assert action.record.primary in (12, 13)
    # An instance that is seen to run is believed, whatever is known of its lease.
    now = msgspec.structs.replace(now, seen=now.seen | {11: instance(11, InstanceState.READY)})
    assert not now.stopped(11)


def test_nothing_takes_writes_without_a_lease() -> None:
    """A primary whose node holds no lease waits; with one it is recorded first, and goes along with the order."""
    now = msgspec.structs.replace(situation(BOUND, instance(11, place=leased(""))), leased=True)
    assert "cannot renew its lease" in plan(now).blocked
    now = msgspec.structs.replace(now, seen={11: instance(11, place=leased("e/9"))})
    (remembered,) = plan(now).actions
    assert isinstance(remembered, Remember)
    now = msgspec.structs.replace(now, record=remembered.record)
    assert plan(now).actions == (StartPrimary(11, BOUND.quorum, "e/9"),)
    promoting = msgspec.structs.replace(BOUND, promoting=True, place=leased("e/9"))
    chosen = instance(11, InstanceState.READY, Role.STANDBY, detached=True, place=leased(""))
    now = msgspec.structs.replace(situation(promoting, chosen), leased=True)
    assert "cannot renew its lease" in plan(now).blocked
    now = msgspec.structs.replace(now, seen={11: msgspec.structs.replace(chosen, place=leased("e/9"))})
    assert plan(now).actions == (Promote(11, BOUND.quorum, "e/9", BOUND.timeline),)


def test_no_number_is_begun_twice() -> None:
    """A copy that never knew the last timeline begins one that nobody had: what is lost is seen to have parted."""
    chosen = instance(13, InstanceState.READY, Role.STANDBY, detached=True)
    known = msgspec.structs.replace(RUNNING, timeline=2, accept_loss=True, copies=(12, 13), quorum=Quorum((12,), 1))
    (elected,) = plan(situation(suspending(known, [11], [11]), chosen)).actions
    assert isinstance(elected, Remember)
    assert (elected.record.primary, elected.record.timeline) == (13, 3)
    (promote,) = plan(situation(elected.record, chosen)).actions
    assert promote == Promote(13, Quorum(), timeline=3)
    history = History(3, (Point(1, "0/100"),))
    primary = instance(13, InstanceState.READY, Role.PRIMARY, timeline=3, history=history, kept=(12,))
    lost = instance(12, InstanceState.STOPPED, Role.STANDBY, timeline=2, settled=Point(2, "0/80"), flushed="0/90")
    after = msgspec.structs.replace(elected.record, promoting=False)
    assert Rewind(12, 13, history) in plan(situation(after, primary, lost)).actions


def test_lease_of_an_earlier_store_is_forgotten() -> None:
    """Where the store has no leases, the record names none: it would prove something in the next store that has."""
    now = situation(BOUND, instance(12, InstanceState.READY, Role.STANDBY))
    (action,) = plan(now).actions
    assert isinstance(action, Remember)
    assert action.record == msgspec.structs.replace(BOUND, place=leased(""))


def test_a_mark_given_while_the_node_answered_is_no_proof() -> None:
    """Who takes a node out for maintenance does not say that it is dead: it is waited for, or said anew."""
    standbys = [instance(node, InstanceState.READY, Role.STANDBY, detached=True) for node in (12, 13)]
    quorum = msgspec.structs.replace(RUNNING, quorum=Quorum((12, 13), 1))
    left = situation(suspending(quorum, [11]), *standbys)
    assert not left.stopped(11)
    assert "cannot be seen from here" in plan(left).blocked
    told = msgspec.structs.replace(left, record=suspending(left.record, [11], [11]))
    assert told.stopped(11)
    (elected,) = plan(told).actions
    assert isinstance(elected, Remember)
    assert elected.record.primary == 12
    assert msgspec.convert({"suspended": [11]}, Record).vouched == ()


def test_the_word_of_an_administrator_ends_when_the_node_is_here_again() -> None:
    """It was about what ran before: cut off once more, the node is waited for."""
    told = suspending(RUNNING, [11], [11])
    back = situation(told, instance(11, InstanceState.READY), *(instance(node, role=Role.STANDBY) for node in (12, 13)))
    (remembered,) = plan(back).actions
    assert isinstance(remembered, Remember)
    assert (remembered.record.vouched, remembered.record.suspended) == ((), (11,))


@pytest.mark.parametrize("state", [NodeState.OFFLINE, NodeState.SUSPENDED])
def test_nobody_vouches_for_a_node_whose_lease_is_held(state: NodeState) -> None:
    """It may take writes, whatever an administrator says; without a lease that the store knows, his word counts."""
    standbys = [instance(node, InstanceState.READY, Role.STANDBY, detached=True) for node in (12, 13)]
    now = situation(suspending(BOUND, [11], [11]), *standbys)
    now = msgspec.structs.replace(now, leased=True, nodes=now.nodes | {11: state})
    assert not now.stopped(11)
    assert "its lease is held" in plan(now).blocked
    assert msgspec.structs.replace(now, quiet=frozenset({11})).stopped(11)


FORKED = History(3, (Point(1, "0/500"), Point(2, "0/900")))
"""Of the primary 11, whose timeline is 3."""

AFTER = msgspec.structs.replace(RUNNING, timeline=3)


def rejoining(record: Record, standby: Instance, **more: object) -> Situation:
    """Its primary runs and keeps all WAL; 12 is there again."""
    return situation(record, instance(11, InstanceState.READY, timeline=3, history=FORKED, kept=(12,), **more), standby)


@pytest.mark.parametrize(
    ("settled", "strays"),
    [
        (Point(1, "0/4FF"), False),
        (Point(1, "0/500"), False),
        (Point(1, "0/501"), True),
        (Point(2, "0/501"), False),
        (Point(2, "0/900"), False),
        (Point(2, "0/901"), True),
        (Point(3, "0/A00"), False),
        (None, False),
    ],
)
def test_what_strayed_is_rewound_at_once(settled: Point | None, strays: bool) -> None:
    """Files of a state that the primary's history does not contain cannot follow; others start and lose WAL only."""
    (action,) = plan(rejoining(AFTER, instance(12, role=Role.STANDBY, timeline=2, settled=settled))).actions
    assert action == (Rewind(12, 11, FORKED) if strays else StartStandby(12, 11, FORKED))


def test_what_strayed_is_not_started_beside_its_primary() -> None:
    """The primary is only to start: it waits to be rewound, and nothing else has to."""
    stray, sound = (
        instance(node, role=Role.STANDBY, settled=Point(1, position))
        for node, position in ((12, "0/501"), (13, "0/500"))
    )
    now = situation(AFTER, instance(11, timeline=3, history=FORKED), stray, sound)
    assert plan(now).actions == (StartPrimary(11, Quorum()), StartStandby(13, 11, FORKED))


def test_what_strayed_counts_no_more_before_it_is_rewound() -> None:
    """A member of the recorded quorum keeps its copy until commits do not rely on it."""
    record = msgspec.structs.replace(AFTER, quorum=Quorum((12,), 1))
    stray = instance(12, role=Role.STANDBY, timeline=2, settled=Point(2, "0/901"))
    (action,) = plan(rejoining(record, stray, synchronous=record.quorum.names())).actions
    assert isinstance(action, Remember)
    assert action.record.quorum == Quorum()


@pytest.mark.parametrize(
    ("more", "action"),
    [
        ({"flushed": "0/901", "follows": 13}, StopInstance(12, "it has what the primary does not know")),
        ({"flushed": "0/901", "detached": True}, StopInstance(12, "it has what the primary does not know")),
        ({"flushed": "0/900", "follows": 13}, Detach(12)),
        ({"flushed": "0/900", "detached": True}, Follow(12, 11)),
        ({"flushed": "0/A00", "follows": 13, "timeline": 3}, Follow(12, 11)),
    ],
)
def test_what_runs_follows_when_it_is_known_not_to_stray(more: dict[str, object], action: NodeAction) -> None:
    """As long as it receives something else, it may be about to."""
    standby = instance(12, InstanceState.READY, Role.STANDBY, **{"timeline": 2, **more})
    assert plan(rejoining(AFTER, standby)).actions == (action,)


def test_what_strayed_is_copied_where_the_fork_is_gone() -> None:
    """Without WAL from before its last fork, the primary has nothing to rewind with."""
    stray = instance(12, role=Role.STANDBY, timeline=2, settled=Point(2, "0/901"))
    assert plan(rejoining(AFTER, stray, oldest="0/901")).actions == (Clone(12, 11),)
    assert plan(rejoining(AFTER, stray, oldest="0/900")).actions == (Rewind(12, 11, FORKED),)


@pytest.mark.parametrize("rounds", range(1, 6))
@pytest.mark.parametrize("written", [False, True])
def test_who_was_ahead_acknowledges_only_what_it_has(rounds: int, written: bool) -> None:
    """It got what the next primary did not, comes back, and crashes once more at any moment of its rejoining."""
    database = Database()
    database.begin(redundancy=3, create_new=False, running=True)
    database.servers[11].log += (next(database.commits),)
    database.catch_up(13, 11)
    if written:
        database.write_out(13)
    database.kill(13)
    database.kill(11)
    database.work(12)
    assert database.record.primary == 12
    database.servers[12].slots.add(13)
    database.kill(13)
    database.work(rounds)
    database.crash(13)
    database.work(12)
    for seed in range(10):
        database.write(12, random.Random(seed))
        database.record_is_true_of_acknowledged_commits()
    assert database.servers[13].log == database.servers[12].log
    assert database.acknowledged
    database.teardown()
