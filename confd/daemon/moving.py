"""Moving a running cluster from one store to the other: drain, copy, compare, then one record that is the switch.

Before the record is durable in the old store, the new one counts for nothing and the next try overwrites it; from it
on every node that learns of it restarts into the new store, whenever that is. Nothing is admitted in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from confd.daemon.elections import Seat
from confd.daemon.mastership import Mastership
from confd.model.errors import NoMaster, WrongState
from confd.model.failpoints import Failpoint, reach
from confd.services.nodes.stores import FAILED, NO_ROOM, RECORD, Moved, resolve
from confd.store.choice import StoreChoice
from confd.store.etcd.authority import Authority
from confd.store.etcd.state import Fingerprint, State, read_state, state_of, write
from confd.store.etcd.store import EtcdStore
from confd.store.protocol import Kind, Record, StoreFailed
from confd.store.sqlite import SqliteStore
from confd.store.terms import next_term

log = structlog.get_logger("moving")

_FINISH_SECONDS: Final = 15.0
_COPY_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02


class Mover:
    """Moves the cluster whose master this node is.

    :param authority: opens what etcd holds by a choice with real paths.
    :param path: gives the real path of one in the node's view.
    :param moved: called in the loop's thread once the other nodes know.
    """

    def __init__(
        self, node: int, store: SqliteStore, seat: Seat, authority: Callable[[StoreChoice], Authority],
        path: Callable[[str], Any], moved: Callable[[], None],
    ) -> None:  # fmt: skip
        self._node, self._store, self._seat = node, store, seat
        self._authority, self._path, self._moved = authority, path, moved
        self._loop = asyncio.get_running_loop()
        self._under_way: asyncio.Task[None] | None = None

    def move(self, choice: StoreChoice, sealed: str, job: str) -> None:
        """Move, with sealed access to the new store; for the thread of a job, whose end is the next master's.

        :raises WrongState: other jobs do not end; nothing has changed.
        :raises NoMaster: this node has resigned; always, when it was tried.
        """
        wanted = Moved(msgspec.structs.replace(choice, move=job), "", sealed)
        asyncio.run_coroutine_threadsafe(self._move(wanted, job), self._loop).result()
        raise NoMaster(f"the store moves to {choice.kind}; the master of it goes on with job {job}")

    async def _move(self, wanted: Moved, job: str) -> None:
        master = self._seat.mastership
        if master is None:
            raise NoMaster(f"n{self._node} is not the master")
        gate = master.scheduler.gate
        gate.close()
        left = await asyncio.to_thread(gate.wait_idle, _FINISH_SECONDS, job)
        if left:
            gate.open()
            raise WrongState(f"jobs {', '.join(left)} still run; wait for them, then move the store")
        await master.retire()
        self._under_way = self._loop.create_task(self._switch(master, wanted, job))

    async def _switch(self, master: Mastership, wanted: Moved, job: str) -> None:
        try:
            verified = await asyncio.to_thread(self._copy, master.term, wanted)
        except Exception as error:
            log.exception("store_not_moved", kind=str(wanted.choice.kind))
            await self._go_back(master, job, str(error))
            return
        log.info("store_moved", kind=str(wanted.choice.kind), verified=verified)
        end, until = self._store.head().n, self._loop.time() + _COPY_SECONDS
        while self._loop.time() < until and any(n < end for n in master.leader.progress().values()):  # noqa: ASYNC110 - is polled
            await asyncio.sleep(_LOOK_SECONDS)
        self._moved()

    async def _go_back(self, master: Mastership, job: str, reason: str) -> None:
        """Lead on in the old store; the job is run again there and finds out."""

        def note() -> None:
            self._store.lead(master.term, self._node)
            self._store.append(Kind.RUNTIME, FAILED, {"job": job, "reason": reason}).result()

        try:
            await asyncio.to_thread(note)
        finally:
            await self._seat.leave()
            await self._seat.lead(master.term)

    def _copy(self, term: int, wanted: Moved) -> str:
        """Copy, compare, and write the record that is the switch; what was verified."""
        store = self._store
        store.lead(term, self._node)
        store.flush()
        before = state_of(store)
        moved = msgspec.structs.replace(wanted, verified=str(before.fingerprint()))
        if isinstance(store, EtcdStore):
            _compare(before.fingerprint(), read_state(store.authority).fingerprint())
            reach(Failpoint.COPIED)
            store.append(Kind.RUNTIME, RECORD, moved).result()
            reach(Failpoint.SWITCHED)
            return moved.verified
        record = Record(
            term, before.head.n + 1, Kind.RUNTIME, RECORD, time.time(), msgspec.Raw(msgspec.json.encode(moved))
        )
        self._fill(moved.choice, with_record(before, record), term)
        reach(Failpoint.COPIED)
        if store.append(Kind.RUNTIME, RECORD, moved, record.at).result() != record.position:
            raise StoreFailed("the journal went on while the store was moved")
        reach(Failpoint.SWITCHED)
        return moved.verified

    def _fill(self, choice: StoreChoice, state: State, term: int) -> None:
        authority = self._authority(resolve(choice, self._path))
        # A master waits for room; here the cluster would, without one, though its own store has not changed.
        authority.need_room()
        try:
            known, _ = authority.read_head()
            authority.begin(next_term(max(known.term, term), self._node), self._node)
            write(authority, state)
            _compare(state.fingerprint(), read_state(authority).fingerprint())
        except StoreFailed:
            if authority.full:
                raise StoreFailed(NO_ROOM) from None
            raise
        finally:
            authority.client.close()


def with_record(state: State, record: Record) -> State:
    """Return a state after one more runtime record."""
    head = msgspec.structs.replace(state.head, term=record.term, n=record.n)
    runtime = {**state.runtime, record.key: msgspec.json.decode(record.body)}
    return msgspec.structs.replace(state, head=head, runtime=runtime, log=[record])


def _compare(here: Fingerprint, there: Fingerprint) -> None:
    if here != there:
        raise StoreFailed(f"the copy differs: {here} here, {there} there")
