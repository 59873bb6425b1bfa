"""A node in the election of the master: one lease says that it is alive and, when it wins, that it is master.

The key of the master belongs to the lease and is made in the transaction that raises the term, so a term has one
master. A master counts its lease on CLOCK_BOOTTIME from asking, so it stops being master by itself before etcd lets
another one win. Candidates watch the key; the one that is preferred tries first.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
import structlog

from confd.store.etcd.client import EtcdClient, absent, delete, modified_at, prefix_end, put, read, value_is
from confd.store.etcd.errors import EtcdError, EtcdUncertain, EtcdUnreachable
from confd.store.etcd.keys import Keys
from confd.store.etcd.values import Term
from confd.store.terms import next_term

log = structlog.get_logger("candidate")

TTL_SECONDS: Final = 3
_RENEW_SECONDS: Final = 0.8
_CALL_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.5
_RANK_SECONDS: Final = 0.3
_NEXT_SECONDS: Final = 6.0
_MARGIN_SECONDS: Final = 0.3
_WATCH_SECONDS: Final = 10.0


class Next(msgspec.Struct, frozen=True):
    """To whom the last master gave its place; others leave it a while for that."""

    to: int


class Voter(Protocol):
    """What a candidate asks its node, and tells it; from the candidate's thread, must not block."""

    def rank(self, software: Mapping[int, str], last: str) -> int | None:
        """Return how many living nodes are to try before this one; None: it must not be master now.

        :param software: the version that each living node runs.
        :param last: the version that the last master ran.
        """

    def own_term(self) -> int:
        """Return the highest term that this node has heard of."""

    def outdated(self, term: int) -> None:
        """Take note that etcd knows only this term, an older one than this node: it is not to be followed."""

    def won(self, term: int) -> None:
        """Take note that this node is master."""

    def lost(self, reason: str) -> None:
        """Take note that this node is master no longer."""

    def seen(self, node: int, term: int) -> None:
        """Take note that another node is master."""

    def unheard(self, error: EtcdError | None) -> None:
        """Take note that etcd does not do what it is asked to; None once it does."""


class Candidate:
    """One node's part in the election, in a thread of its own.

    :param software: the version that this node runs, which the others are told.
    :param clock: seconds since the machine was booted, sleep included.
    """

    def __init__(
        self, client: EtcdClient, keys: Keys, node: int, voter: Voter, software: str,
        clock: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        self._client, self._keys, self._node, self._voter = client, keys, node, voter
        self._version = software.encode()
        self._clock = clock or _boottime
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._closed = False
        self._lease, self._deadline, self._renewed = 0, 0.0, 0.0
        self._leading: Term | None = None
        self._trouble: EtcdError | None = None
        self._pausing = 0.0
        self._resigned = 0
        self._chosen: int | None = None
        self._vacant_since: float | None = None
        self._software: Mapping[int, str] = {}
        self._seen: frozenset[int] = frozenset()
        self._threads = [
            threading.Thread(target=self._run, name="candidate", daemon=True),
            threading.Thread(target=self._watch, name="election", daemon=True),
        ]

    def start(self) -> None:
        """Begin to be a candidate."""
        for thread in self._threads:
            thread.start()

    @property
    def software(self) -> Mapping[int, str]:
        """The version that each node runs whose lease etcd knew at the last look; empty when it did not say."""
        return self._software

    @property
    def alive(self) -> frozenset[int]:
        """The nodes whose leases etcd knew at the last look."""
        return frozenset(self._software)

    @property
    def seen(self) -> frozenset[int]:
        """The nodes whose leases etcd knew at any look."""
        return self._seen

    def holds(self, term: int) -> bool:
        """Tell whether this node certainly is still the only master under a term."""
        leading = self._leading
        return leading is not None and leading.term == term and self._clock() < self._deadline - _MARGIN_SECONDS

    def lapsed(self, term: int) -> float | None:
        """Return for how many seconds this node may be the only master no longer; None while it certainly is."""
        return None if self.holds(term) else max(0.0, self._clock() - self._deadline + _MARGIN_SECONDS)

    def resign(self, to: int | None = None, pause: float = _NEXT_SECONDS) -> None:
        """Be master no longer, at once for everybody; and no candidate for a while.

        :param to: the node that shall be the next one.
        """
        with self._lock:
            leading, self._leading = self._leading, None
            self._pausing = self._clock() + pause
            if leading is None:
                return
            self._resigned, self._chosen = leading.term, to
        try:
            self._free(leading)
        except EtcdError as error:
            log.warning("mastership_not_freed_yet", error=str(error))
        self._news.set()

    def _free(self, leading: Term) -> None:
        keys, to = self._keys, self._chosen
        steps = [delete(keys.master)] + ([] if to is None else [put(keys.next, msgspec.json.encode(Next(to)))])
        self._client.txn([value_is(keys.master, msgspec.json.encode(leading))], steps, timeout=_CALL_SECONDS)

    def close(self) -> None:
        """End: the lease goes, and with it what this node was."""
        self._closed = True
        self._news.set()
        self._client.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        if self._lease:
            with contextlib.suppress(EtcdError):
                self._client.lease_revoke(self._lease, timeout=_CALL_SECONDS)
        self._client.close()

    def _run(self) -> None:
        while not self._closed:
            try:
                self._renew()
                self._look()
                self._tell(None)
            except EtcdError as error:
                self._tell(error)
            except Exception:
                log.exception("election_failed")
            self._check_deadline()
            self._news.wait(self._pause())
            self._news.clear()

    def _tell(self, error: EtcdError | None) -> None:
        before, self._trouble = self._trouble, error
        if error is not None and str(error) != str(before):
            log.warning("election_without_etcd", error=str(error))
        self._voter.unheard(error)

    def _pause(self) -> float:
        if not isinstance(self._trouble, EtcdUnreachable | EtcdUncertain | None):
            # It answered at once, and would again.
            return _LOOK_SECONDS
        due = self._renewed + _RENEW_SECONDS - self._clock()
        return max(0.02, min(due, _LOOK_SECONDS if self._vacant_since is None else 0.1))

    def _renew(self) -> None:
        asked = self._clock()
        if self._lease and asked - self._renewed < _RENEW_SECONDS:
            return
        if self._lease:
            ttl = self._client.lease_keepalive(self._lease, timeout=_CALL_SECONDS)
            if ttl:
                self._deadline, self._renewed = asked + ttl, asked
                return
            self._lease = 0
            self._lose("its lease ran out")
        asked = self._clock()
        self._lease, ttl = self._client.lease_grant(TTL_SECONDS, timeout=_CALL_SECONDS)
        self._client.put(self._keys.node(self._node), self._version, self._lease, timeout=_CALL_SECONDS)
        self._deadline, self._renewed = asked + ttl, asked

    def _check_deadline(self) -> None:
        if self._leading is not None and not self.holds(self._leading.term):
            self._lose("its lease could not be renewed")

    def _lose(self, reason: str) -> None:
        with self._lock:
            leading, self._leading = self._leading, None
        if leading is not None:
            log.warning("mastership_lost", term=leading.term, reason=reason)
            self._voter.lost(reason)

    def _look(self) -> None:
        keys = self._keys
        single = [read(key) for key in (keys.master, keys.term, keys.next, keys.software)]
        answer = self._client.txn([], [*single, read(keys.nodes, prefix_end(keys.nodes))], timeout=_CALL_SECONDS)
        master, term, following, last, nodes = answer.reads
        self._software = {int(row.key[len(keys.nodes) :]): _text(row.value) for row in nodes}
        self._seen |= self.alive
        if self._node not in self._software:
            # Another etcd, or one that was restored: the lease there is none of this node's.
            self._lease = 0
        if master:
            self._vacant_since = None
            self._heed(msgspec.json.decode(master[0].value, type=Term), master[0].lease)
            return
        self._lose("another order of etcd took it away")
        known = msgspec.json.decode(term[0].value, type=Term) if term else Term(0, 0)
        wanted = msgspec.json.decode(following[0].value, type=Next).to if following else None
        if self._is_my_turn(wanted, _text(last[0].value) if last else ""):
            self._compete(known, term[0].modified if term else 0)

    def _heed(self, master: Term, lease: int) -> None:
        if master == self._leading:
            return
        self._lose(f"n{master.node} is master with term {master.term}")
        if master.node == self._node and master.term == self._resigned:
            # The request that frees it is on its way, or was lost.
            self._free(master)
        elif master.node == self._node and lease == self._lease:
            # Won by a request whose answer was lost.
            self._win(master)
        elif master.node != self._node:
            self._voter.seen(master.node, master.term)

    def _is_my_turn(self, wanted: int | None, last: str) -> bool:
        now = self._clock()
        if self._vacant_since is None:
            self._vacant_since = now
        vacant = now - self._vacant_since
        if now < self._pausing and wanted != self._node:
            return False
        rank = self._voter.rank(self._software, last)
        if rank is None or not self._lease:
            return False
        if wanted == self._node:
            return True
        given_away = wanted is not None and wanted in self._software
        return vacant >= rank * _RANK_SECONDS + (_NEXT_SECONDS if given_away else 0.0)

    def _compete(self, known: Term, modified: int) -> None:
        keys = self._keys
        if self._voter.own_term() > known.term:
            # Every term is raised in etcd before anybody leads under it: this is an old backup, or the rest of a
            # cluster that was given up.
            self._voter.outdated(known.term)
            return
        wanted = Term(next_term(known.term, self._node), self._node)
        value = msgspec.json.encode(wanted)
        raised = [put(keys.master, value, self._lease), put(keys.term, value)]
        steps = [*raised, put(keys.software, self._version), delete(keys.next)]
        compare = [absent(keys.master), modified_at(keys.term, modified)]
        if self._client.txn(compare, steps, timeout=_CALL_SECONDS).held:
            self._vacant_since = None
            self._win(wanted)
        else:
            self._news.set()

    def _win(self, won: Term) -> None:
        with self._lock:
            self._leading = won
        log.info("election_won", term=won.term)
        self._voter.won(won.term)

    def _watch(self) -> None:
        """Wake the candidate when the master's key changes; it looks by itself, too, only less often."""
        while not self._closed:
            try:
                for events, _ in self._client.watch(self._keys.master, idle=_WATCH_SECONDS):
                    if events:
                        self._news.set()
                    if self._closed:
                        return
            except EtcdError:
                if not self._closed:
                    time.sleep(_RANK_SECONDS)


def _text(version: bytes) -> str:
    # Another version may one day say more there.
    return version.decode(errors="replace")


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
