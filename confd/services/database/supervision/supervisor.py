"""One database's supervisor: observes, asks the planner, carries out, until its wanted state holds.

It keeps nothing that it could not find again: what is wanted and known is in the runtime record, the rest is
observed. So it may end at any moment and go on in another process or on another node.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Final

import msgspec
import structlog

from confd.cluster.host import Cluster
from confd.model.errors import ConfDError, Internal, NotFound
from confd.model.states import NodeState
from confd.services.backup.restoring import opening
from confd.services.database.instance import operations as instance
from confd.services.database.instance.proof import gone
from confd.services.database.observed import RUNNING_STATES, Instance, InstanceState, Place
from confd.services.database.planning.actions import (
    Action,
    Clone,
    NodeAction,
    Remember,
    Rewind,
    SetQuorum,
    StartPrimary,
    StartStandby,
    describe,
)
from confd.services.database.planning.patience import Patience
from confd.services.database.planning.planner import plan
from confd.services.database.planning.quorum import confirmed
from confd.services.database.planning.seats import seats, with_guests
from confd.services.database.planning.situation import Plan, Situation, Spec
from confd.services.database.record import PREFIX, Record, read_record, write_record
from confd.services.database.supervision.execution import execute
from confd.services.database.supervision.taking_over import TakingOver
from confd.services.rounds import Rounds

_log = structlog.get_logger()

_OBSERVE_WITHIN: Final = 5.0
_TICK_BUSY: Final = 0.5
_TICK_CALM: Final = 5.0
_FIRST_REST: Final = 0.5
_LONGEST_REST: Final = 30.0
_TRIES: Final = 3
"""So often a primary is started where it is, before another node takes over."""


class View(msgspec.Struct, frozen=True):
    """What the supervisor last saw and decided."""

    situation: Situation
    plan: Plan


class Failure(msgspec.Struct, frozen=True):
    """An action that failed, begun for the state wanted ``since``; its node rests, longer each time."""

    action: NodeAction
    error: ConfDError
    since: float
    rest: float
    until: float
    times: int = 1


class Supervisor:
    """Supervises one database in a thread of its own."""

    def __init__(
        self,
        database: str,
        cluster: Cluster,
        looks: Executor,
        works: Executor,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
        proven: Callable[[Place], bool] = gone,
    ) -> None:
        self.database = database
        self.changed = threading.Condition()
        self.view: View | None = None
        self.failures: dict[int, Failure] = {}
        self._cluster, self._looks, self._works, self._clock = cluster, looks, works, clock
        self._proven, self._patience = proven, Patience(clock)
        self._taking_over = TakingOver(database, cluster, self._note, clock, wall)
        self._busy: dict[int, NodeAction] = {}
        self._places: dict[int, Place] = {}
        self._force = False
        self._told: Callable[[str], None] = lambda _: None
        self._known: object = None
        # A supervisor that ended by an error would leave its database alone for good.
        self._rounds = Rounds(f"supervisor of {database}", self._step, every=_TICK_BUSY)

    def start(self) -> None:
        """Begin."""
        self._rounds.start()

    def wake(self) -> None:
        """Look again soon; does not block."""
        self._rounds.wake()

    def notice(self) -> None:
        """Look again soon if anything that matters to this database has changed; does not block."""
        facts = self._facts()
        if facts != self._known:
            self._known = facts
            self._rounds.wake()

    @property
    def ended(self) -> bool:
        """True once it supervises no longer."""
        return self._rounds.ended

    def end(self) -> None:
        """Begin to end, without touching instances; actions under way end by themselves. Does not block."""
        self._rounds.end()

    def close(self) -> None:
        """End, and wait for it."""
        self._rounds.close()

    def doing(self) -> list[str]:
        """Say what is under way."""
        with self.changed:
            return [describe(action) for action in self._busy.values()]

    def change(self, edit: Callable[[Record], Record], force: bool = False) -> Record:
        """Edit the record durably, and forget earlier failures; the supervisor acts on it at once."""
        with self.changed:
            record = edit(read_record(self._cluster, self.database) or Record())
            write_record(self._cluster, self.database, record)
            self.failures.clear()
            self._force = force
            self.view = None
        self.wake()
        return record

    def tell(self, say: Callable[[str], None]) -> None:
        """Report actions to somebody who waits for them."""
        self._told = say

    def observe(self) -> Situation:
        """See all instances now."""
        conf, states = self._cluster.conf(), self._cluster.node_states()
        record = read_record(self._cluster, self.database) or Record()
        spec = self._spec(record, states)
        online = [
            node for node in conf.nodes if states.get(node) is NodeState.ONLINE and self._concerns(node, spec, record)
        ]
        with self.changed:
            resting, failures, busy = self._resting(), dict(self.failures), dict(self._busy)
        seen = {node: one for node, one in zip(online, self._looks.map(self._instance, online), strict=True) if one}
        self._patience.look(record.primary, seen, spec.nodes)
        gone, lapsed = self._silent(record, seen)
        return Situation(
            database=self.database,
            spec=spec,
            record=record,
            nodes=states,
            busy=busy | resting,
            resting=frozenset(resting) - frozenset(busy),
            failed={node: failure.action for node, failure in failures.items()},
            seen=seen,
            gone=gone,
            leased=self._cluster.leases.bound,
            lapsed=lapsed,
            quiet=self._quiet(record, states),
            late=self._patience.late,
            stuck=self._patience.stuck,
            unable=frozenset(node for node, failure in failures.items() if _unable(failure)),
            virtual=self._virtual(record, states),
        )

    def _silent(self, record: Record, seen: dict[int, Instance]) -> tuple[frozenset[int], frozenset[int]]:
        """Look for processes and leases of nodes that do not answer: the primary, and those that this one saw before.

        Returns those without processes, and those whose lease has run out.
        """
        self._places.update({node: one.place for node, one in seen.items() if one.place is not None})
        places = {node: place for node, place in self._places.items() if node != record.primary}
        if record.primary is not None and record.place is not None:
            places[record.primary] = record.place
        silent, leases = {node: place for node, place in places.items() if node not in seen}, self._cluster.leases
        return (
            frozenset(node for node, place in silent.items() if self._proven(place)),
            frozenset(node for node, place in silent.items() if place.lease and leases.lapsed(node, place.lease)),
        )

    def _quiet(self, record: Record, states: dict[int, NodeState]) -> frozenset[int]:
        """Return the nodes of which an administrator's word is believed although there are leases."""
        out = {*record.vouched, *(node for node, state in states.items() if state is NodeState.SUSPENDED)}
        return frozenset(node for node in out if self._cluster.leases.absent(node) or self._says_stopped(node))

    def _says_stopped(self, node: int) -> bool:
        told = self._cluster.status(node, "database")
        return told is not None and told.get(self.database, {}).get("state") not in RUNNING_STATES

    def _virtual(self, record: Record, states: dict[int, NodeState]) -> InstanceState | None:
        opened = record.virtual
        if opened is None or states.get(opened.node) is not NodeState.ONLINE:
            return None
        command = opening.observe_virtual.on(opened.node, self.database)
        try:
            state: InstanceState = self._cluster.call(command, timeout=_OBSERVE_WITHIN)
        except ConfDError:
            return None
        return state

    def _facts(self) -> object:
        # Revisions come in hundreds a second; looking at the instances for each would cost more than all else.
        conf, states = self._cluster.conf(), self._cluster.node_states()
        database = conf.databases.get(self.database)
        volume = conf.volumes.get(database.data_volume) if database else None
        reports = [self._cluster.status(node, "database") for node in states]
        return database, volume, states, reports, self._cluster.record(PREFIX + self.database)

    def _concerns(self, node: int, spec: Spec, record: Record) -> bool:
        """A node that was an instance's before, or reports one, may still run it."""
        reported = self._cluster.status(node, "database") or {}
        named = (record.primary, *spec.nodes, *record.copies, *record.quorum.standbys)
        return node in named or self.database in reported

    def _spec(self, record: Record, states: dict[int, NodeState]) -> Spec:
        conf = self._cluster.conf()
        database = conf.require_database(self.database)
        volume = conf.require_volume(database.data_volume)
        suspended = {*record.suspended, *(node for node, state in states.items() if state is NodeState.SUSPENDED)}
        return with_guests(seats(database, volume, suspended), record, volume.redundancy)

    def _instance(self, node: int) -> Instance | None:
        try:
            seen: Instance = self._cluster.call(instance.observe.on(node, self.database), timeout=_OBSERVE_WITHIN)
        except ConfDError:
            return None
        return seen

    def _step(self) -> float:
        """Look, decide, begin what is to do; return how long to wait for news."""
        try:
            situation = self.observe()
        except NotFound:
            self.end()
            return 0.0
        except ConfDError:
            return _TICK_BUSY
        decided = plan(situation)
        with self.changed:
            # Without a record nothing is known to be wanted: a running database is left alone.
            if situation.record != read_record(self._cluster, self.database):
                return _TICK_CALM if situation.record == Record() else 0.0
            self.view = View(situation, decided)
            again = [self._begin(action, situation.record) for action in decided.actions]
            self.changed.notify_all()
        if any(again):
            return 0.0
        self._taking_over.look(situation)
        return _TICK_CALM if decided.reached else _TICK_BUSY

    def _begin(self, action: Action, record: Record) -> bool:
        """Begin an action; tell whether the situation has changed by it already."""
        if isinstance(action, Remember):
            write_record(self._cluster, self.database, action.record)
            return True
        self._busy[action.node] = action
        self._told(describe(action))
        begun = self._works.submit(self._execute, action, record.maintenance)
        begun.add_done_callback(lambda done: self._ended(action, record.since, done))
        return False

    def _execute(self, action: NodeAction, maintenance: bool) -> None:
        execute(self._cluster, self.database, action, self._force, maintenance)
        if isinstance(action, SetQuorum):
            self._note(lambda record: confirmed(record, action))
        elif isinstance(action, Clone | Rewind):
            self._patience.remade(action.node)

    def _note(self, edit: Callable[[Record], Record]) -> None:
        """Write what an action brought about; a record that was deleted meanwhile stays so."""
        with self.changed:
            record = read_record(self._cluster, self.database)
            if record is not None and edit(record) != record:
                write_record(self._cluster, self.database, edit(record))

    def _ended(self, action: NodeAction, since: float, done: Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            _log.warning("action_failed", database=self.database, action=describe(action), error=str(error))
        with self.changed:
            if self._busy.get(action.node) is action:
                del self._busy[action.node]
            if error is None:
                self.failures.pop(action.node, None)
            else:
                failure = self.failures[action.node] = self._failure(action, since, error)
                if isinstance(action, StartStandby):
                    self._patience.falls(action.node, failure.times)
            self.changed.notify_all()
        self._rounds.wake()

    def _failure(self, action: NodeAction, since: float, error: BaseException) -> Failure:
        before = self.failures.get(action.node)
        rest = min(before.rest * 2, _LONGEST_REST) if before else _FIRST_REST
        known = error if isinstance(error, ConfDError) else Internal(f"{describe(action)}: {error!r}")
        times = before.times + 1 if before and type(before.action) is type(action) else 1
        return Failure(action, known, since, rest, self._clock() + rest, times)

    def _resting(self) -> dict[int, NodeAction]:
        now = self._clock()
        return {node: failure.action for node, failure in self.failures.items() if failure.until > now}


def _unable(failure: Failure) -> bool:
    return isinstance(failure.action, StartPrimary) and failure.times >= _TRIES
