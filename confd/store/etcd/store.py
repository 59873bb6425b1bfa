"""The distributed store: etcd is the authority, the node's SQLite file its local copy and history.

A group commit is one transaction in etcd, after it one in the local file, after it the futures are done. Everything
that is read is read from the local file, which has the whole history; etcd holds the state, what is not over, and the
end of the log. A master begins by bringing its file up to etcd's head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from confd.model.errors import LimitExceeded
from confd.model.failpoints import Failpoint, reach
from confd.store.etcd.authority import Authority
from confd.store.etcd.errors import EtcdError
from confd.store.protocol import Gap, Position, Record, StaleTerm, StoreFailed
from confd.store.sqlite import Entry, SqliteStore


class WentBack(StoreFailed):
    """etcd knows less than this node: an old backup of it was restored, or it is another one."""


class EtcdStore(SqliteStore):
    """One node's store of a cluster whose records are in etcd.

    :param path: the node's own file.
    :param authority: what etcd holds.
    :param failed: called once when the local file cannot be written; final.
    """

    shared = True

    deposed: Callable[[Exception], None] = staticmethod(lambda error: None)
    """Called when this node is the writer no longer without having resigned; it may lead again."""

    def __init__(
        self,
        path: Path,
        authority: Authority,
        failed: Callable[[Exception], None] = lambda error: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.authority = authority
        # Not synced at each commit: what a power failure takes from the file is in etcd.
        super().__init__(path, failed, clock, synchronous="NORMAL")

    def lead(self, term: int, node: int) -> None:
        """Become the writer under a term, which is raised in etcd; the local file ends where etcd's records do.

        :raises StaleTerm: a higher term is known.
        :raises Gap: etcd's log does not go on from where the local file ends; see ``catch_up``.
        :raises WentBack: etcd knows less than this node.
        :raises StoreFailed: etcd does not answer, or not as it should.
        """
        known, master = self.leader()
        if term < known or (term == known and master not in (0, node)):
            raise StaleTerm(known)
        try:
            if self._leading != term:
                self.catch_up()
                self.authority.begin(term, node)
                self.catch_up()
                self.authority.know_jobs(self.intents())
            super().lead(term, node)
        except EtcdError as error:
            raise StoreFailed(str(error)) from error

    def catch_up(self) -> None:
        """Take in what etcd's log has and the local file lacks.

        :raises Gap: the log does not reach back that far, or has another record where the local file ends.
        :raises WentBack: etcd knows less than this node.
        """
        _, head = self.authority.read_head()
        end = Position(head.term, head.n)
        self._check_not_back(end)
        while (own := self.head()) < end:
            # The last one that is here already, too: it has to be the same one there.
            records = self.authority.records_after(max(own.n - 1, 0))
            fresh = [record for record in records if record.n > own.n]
            parted = own.n > 0 and (not records or records[0].position != own)
            if parted or not fresh or fresh[0].n != own.n + 1:
                raise Gap(
                    f"etcd's log does not have record {own.n} of term {own.term}, with which the journal here ends"
                )
            self.copy(fresh)

    def abandon(self) -> None:
        """Be the writer no longer, at once: what etcd has not confirmed fails, though it may have happened."""
        self.resign()
        self.authority.give_up()

    def intents(self) -> dict[str, str]:
        """Return the jobs that are not over, with their intents."""
        return dict(self._ask("SELECT id, intent FROM jobs WHERE ended IS NULL"))

    def check_room(self) -> None:
        """Refuse to begin something while etcd or this node's disk is out of space."""
        super().check_room()
        if self.authority.full:
            raise LimitExceeded(self.authority.full)

    def when_full(self, tell: Callable[[str], None]) -> None:
        """Call back when etcd is out of space, and when it is so no longer."""
        self.authority.when_full = tell

    def flush(self) -> None:
        """Return when everything appended so far is in etcd; at once with an error while it is out of space."""
        if self.authority.full:
            raise StoreFailed(self.authority.full)
        super().flush()

    def trim(self, upto: int) -> int:
        """Forget records of etcd's log before one that every node has; how many keys went.

        :raises StoreFailed: etcd does not answer, or there is a newer master.
        """
        try:
            return self.authority.trim(upto)
        except (EtcdError, StaleTerm) as error:
            raise StoreFailed(str(error)) from error

    def close(self) -> None:
        """Finish what is queued, unless etcd does not answer now, and release the files."""
        self.authority.hurry()
        super().close()

    def _check_not_back(self, end: Position) -> None:
        # By the term first: more records of an older one are some that nobody else got, not what etcd has lost.
        if (own := self.head()) > end:
            raise WentBack(
                f"etcd's records end at {end.n} of term {end.term}, this node's at {own.n} of term {own.term}: an old "
                "backup of etcd was restored, or it is the wrong one; nothing was changed. Have the node with the "
                "longest journal put it right: c4 store recover --yes-others-are-down"
            )

    def _write_batch(self, batch: list[Entry]) -> None:
        entries = iter(batch)
        try:
            with self._write_lock:
                batch = self._without_stale(batch)
            entries = iter(batch)
            for part in self.authority.parts([record for record, _ in batch]):
                own = [next(entries) for _ in part.records]
                try:
                    if self._failure:
                        raise self._failure
                    reach(Failpoint.ETCD_DUE)
                    self.authority.append(part)
                except BaseException as error:
                    _refuse(own, error)
                    raise
                super()._write_batch(own)
        except Exception as error:
            _refuse(entries, error)
            self._depose(error)

    def _before_writing(self, records: Sequence[Record]) -> None:
        # They are durable in etcd: the nodes may have them sent while this one's file takes them in.
        self._announce(records)

    def _depose(self, error: Exception) -> None:
        with self._order:
            led, self._leading = self._leading, None
        if led is not None and self._failure is None:
            self.deposed(error)


def _refuse(entries: Iterable[Entry], error: BaseException) -> None:
    shown = error if isinstance(error, StoreFailed) else StoreFailed(f"etcd took no records: {error}")
    for _, done in entries:
        done.set_exception(shown)
