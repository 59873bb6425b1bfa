"""Leases of nodes kept in etcd.

Below a prefix: ``era`` names the history of this etcd; of each node ``held/<node>`` is there as long as its lease is,
``mark/<node>`` stays and was last changed when its present or last hold began, ``restart/<node>`` is there during a
planned restart of its daemon. A renewal counts once the key was seen to be there *after* it: then no other etcd
server can have let the lease run out before.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import structlog

from confd.cluster.leases.lapse import Absence, Look, follow, missing, name_of, proves
from confd.cluster.leases.lease import RESTART_SECONDS, TTL_SECONDS, Hold, Taker, boottime
from confd.store.etcd.client import EtcdClient, KeyValue, absent, modified_at, prefix_end, put
from confd.store.etcd.errors import EtcdError

log = structlog.get_logger("leases")

_RENEW_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.25
_CALL_SECONDS: Final = 2.0
_END_WITHIN: Final = 5.0


class Own(msgspec.Struct, frozen=True):
    """The hold of this node: etcd's number of the lease, the name, and the revision at which it began."""

    lease: int
    name: str
    mark: int


class EtcdLeases:
    """Renews the lease of one node in a thread; on the master, another one follows those of all nodes.

    :param prefix: of the keys.
    :param clock: CLOCK_BOOTTIME, seconds.
    """

    bound = True

    def __init__(self, client: EtcdClient, prefix: bytes, node: int, clock: Callable[[], float] = boottime) -> None:
        self._client, self._prefix, self._node, self._clock = client, prefix, node, clock
        self._takers: list[Taker] = []
        self._own: Own | None = None
        self._hold: Hold | None = None
        self._fresh = False
        self._troubled = False
        self._absences: dict[int, Absence] = {}
        self._last: Look | None = None
        self._closed, self._unattended = threading.Event(), threading.Event()
        self._attending = 0
        self._lock = threading.Lock()
        self._renewing = threading.Thread(target=self._run, name="lease", daemon=True)

    def hold(self) -> Hold | None:
        """Return what this node holds now, None when it holds nothing."""
        hold = self._hold
        return hold if hold is not None and self._clock() < hold.deadline else None

    def watch(self, taker: Taker) -> None:
        """Hand every new deadline to a taker."""
        self._takers.append(taker)

    def start(self) -> None:
        """Begin to renew."""
        self._renewing.start()

    def close(self, planned: bool = True) -> None:
        """End: with what takes writes the lease lasts for a planned restart, without it ends now."""
        with self._lock:
            self._unattended.set()
        self._closed.set()
        if self._renewing.is_alive():
            self._renewing.join(_END_WITHIN)
        try:
            self._leave(planned)
        except EtcdError as error:
            log.warning("lease_left", error=str(error))
        self._client.close()

    def attend(self) -> None:
        """Follow the leases of all nodes from now on."""
        with self._lock:
            self._attending += 1
            if self._attending > 1:
                return
            self._unattended, self._absences, self._last = threading.Event(), {}, None
        threading.Thread(target=self._look, args=(self._unattended,), name="leases", daemon=True).start()

    def neglect(self) -> None:
        """Follow them no longer, unless somebody else wants it, too."""
        with self._lock:
            self._attending = max(0, self._attending - 1)
            if not self._attending:
                self._unattended.set()
                self._absences, self._last = {}, None

    def lapsed(self, node: int, name: str) -> bool:
        """Tell whether whatever took writes on a node under a hold, or a later one, has certainly been stopped."""
        return proves(self._absences.get(node), name)

    def absent(self, node: int) -> bool:
        """Tell whether a node is seen to hold no lease, for the margin if it ever held one; of whatever hold."""
        with self._lock:
            return missing(self._last, self._absences.get(node), node)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._renew() if self._own is not None else self._begin()
                self._tell(None)
            except EtcdError as error:
                self._tell(error)
            except Exception:
                # Without this thread everything that takes writes here would be stopped.
                log.exception("lease_not_renewed")
            self._closed.wait(_RENEW_SECONDS)

    def _begin(self) -> None:
        rows = self._rows()
        era, mark = self._era(rows), _find(rows, self._key("mark"))
        asked = self._clock()
        lease, seconds = self._client.lease_grant(TTL_SECONDS, timeout=_CALL_SECONDS)
        # One that was sent before and not answered must not have its effect after this one.
        begun = self._client.txn(
            [modified_at(self._key("mark"), mark.modified if mark else 0)],
            [put(self._key("mark"), b""), put(self._key("held"), b"", lease)],
            timeout=_CALL_SECONDS,
        )
        if not begun.held:
            return
        self._own, self._fresh = Own(lease, name_of(era, begun.revision), begun.revision), True
        log.info("lease_begun", name=self._own.name)
        self._publish(self._own, asked + min(seconds, TTL_SECONDS))

    def _renew(self) -> None:
        own = self._own
        assert own is not None
        asked = self._clock()
        if self._client.lease_keepalive(own.lease, timeout=_CALL_SECONDS) > 0:
            held = self._client.get(self._key("held"), timeout=_CALL_SECONDS)
            if held is not None and (held.lease, held.modified) == (own.lease, own.mark):
                self._publish(own, asked + TTL_SECONDS)
                return
        log.warning("lease_lost", name=own.name)
        self._own = None

    def _publish(self, own: Own, deadline: float) -> None:
        self._hold = hold = Hold(own.name, deadline)
        # Of a restart that is over nothing is to be left: first all have the near deadline, then it stands alone.
        taken = [taker.take(hold, self._fresh) for taker in self._takers]
        if self._fresh and all(taken):
            self._client.delete(self._key("restart"), timeout=_CALL_SECONDS)
            self._fresh = False

    def _leave(self, planned: bool) -> None:
        own, self._own = self._own, None
        if own is None:
            return
        if not any(taker.writes() for taker in self._takers):
            self._client.lease_revoke(own.lease, timeout=_CALL_SECONDS)
            return
        if not planned:
            return
        asked = self._clock()
        lease, seconds = self._client.lease_grant(RESTART_SECONDS, timeout=_CALL_SECONDS)
        self._client.put(self._key("restart"), b"", lease, timeout=_CALL_SECONDS)
        hold = Hold(own.name, asked + min(seconds, RESTART_SECONDS))
        for taker in self._takers:
            taker.take(hold, False)

    def _tell(self, error: EtcdError | None) -> None:
        if (error is not None) != self._troubled:
            self._troubled = error is not None
            log.warning("lease_not_renewed" if error else "lease_renewed_again", error=str(error or ""))

    def _look(self, unattended: threading.Event) -> None:
        absences: dict[int, Absence] = {}
        while not unattended.is_set():
            try:
                absences = follow(absences, look := self._seen())
                with self._lock:
                    if not unattended.is_set():
                        self._absences, self._last = absences, look
            except EtcdError:
                # The other thread tells of it; what is not seen proves nothing.
                pass
            except Exception:
                log.exception("leases_not_seen")
            unattended.wait(_LOOK_SECONDS)

    def _seen(self) -> Look:
        asked = self._clock()
        rows, revision = self._client.range(self._prefix, prefix_end(self._prefix), timeout=_CALL_SECONDS)
        answered = self._clock()
        era = _find(rows, self._prefix + b"era")
        held = {node for kind, node, _ in self._of_nodes(rows) if kind in ("held", "restart")}
        marks = {node: row.modified for kind, node, row in self._of_nodes(rows) if kind == "mark"}
        return Look(asked, answered, era.value.decode() if era else "", revision, frozenset(held), marks)

    def _of_nodes(self, rows: Iterable[KeyValue]) -> Iterable[tuple[str, int, KeyValue]]:
        for row in rows:
            kind, _, node = row.key[len(self._prefix) :].decode(errors="replace").partition("/")
            if node.isdecimal():
                yield kind, int(node), row

    def _rows(self) -> list[KeyValue]:
        return self._client.range(self._prefix, prefix_end(self._prefix), timeout=_CALL_SECONDS)[0]

    def _era(self, rows: Iterable[KeyValue]) -> str:
        key = self._prefix + b"era"
        if (known := _find(rows, key)) is None:
            self._client.txn([absent(key)], [put(key, uuid.uuid4().hex.encode())], timeout=_CALL_SECONDS)
            known = self._client.get(key, timeout=_CALL_SECONDS)
        return known.value.decode() if known is not None else ""

    def _key(self, kind: str) -> bytes:
        return self._prefix + f"{kind}/{self._node}".encode()


def _find(rows: Iterable[KeyValue], key: bytes) -> KeyValue | None:
    return next((row for row in rows if row.key == key), None)
