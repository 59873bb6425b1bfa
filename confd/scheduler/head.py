"""The newest state of the cluster on its master: configuration and runtime records.

One lock orders revisions. A commit is checked against everything committed since the job's base revision;
what it changes becomes visible to other jobs once it is durable.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from confd.exaconf import Change, Conf, Draft, Section, conflicts
from confd.model.errors import Conflict
from confd.store.protocol import Kind, Position, Store
from confd.store.records import Finished

_REMEMBERED_REVISIONS = 10_000


class Head:
    """Latest configuration and runtime records, and the only way to change them."""

    def __init__(
        self, store: Store, conf: Conf, records: Mapping[str, Any], remembered: int = _REMEMBERED_REVISIONS
    ) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._ordered = conf
        self._published = conf
        self._records = dict(records)
        self._recent: deque[tuple[int, list[tuple[str, Change]]]] = deque(maxlen=remembered)
        self._forgotten = conf.revision
        self._watchers: list[Callable[[], None]] = []

    @property
    def conf(self) -> Conf:
        """The newest durable revision."""
        return self._published

    @property
    def ordered(self) -> Conf:
        """The newest revision that has its place in the order; durable before anything based on it."""
        return self._ordered

    @property
    def records(self) -> dict[str, Any]:
        """All runtime records; a dictionary that is replaced, never changed."""
        return self._records

    def watch(self, changed: Callable[[], None]) -> None:
        """Call back after a change became durable."""
        self._watchers.append(changed)

    def commit(
        self, job_id: str, draft: Draft, finish: Callable[[int | None], Finished]
    ) -> tuple[int | None, Conf, Future[Position]]:
        """Give a job its place in the order.

        :param finish: makes the durable record, with runtime records in it, for the revision (None: configuration
            unchanged).
        :raises Conflict: something the job read or wrote changed meanwhile.
        """
        changes = draft.changes
        with self._lock:
            self._check(draft, changes)
            revision = self._ordered.revision + 1 if changes else None
            finished = finish(revision)
            future = self._store.append(Kind.FINISHED, job_id, finished)
            if revision is not None:
                kinds = [(key, self._kind(key, section)) for key, section in changes.items()]
                self._remember(revision, kinds)
                self._ordered = self._ordered.with_changes(changes, revision)
            if finished.runtime:
                self._records = _merged(self._records, finished.runtime)
            return revision, self._ordered, future

    def publish(self, conf: Conf) -> None:
        """Make a revision visible that has become durable."""
        with self._lock:
            if conf.revision > self._published.revision:
                self._published = conf
        self._notify()

    def put_record(self, key: str, value: Any) -> None:
        """Write a runtime record; durable when this returns."""
        with self._lock:
            future = self._store.append(Kind.RUNTIME, key, value)
            self._records = _merged(self._records, {key: value})
        future.result()
        self._notify()

    def _check(self, draft: Draft, changes: Mapping[str, Section | None]) -> None:
        later = self._later(draft.base)
        if later and (key := conflicts(draft.reads, frozenset(changes), later)) is not None:
            raise Conflict(f"[{key}] was changed by another job meanwhile; nothing was changed, submit the job again")

    def _later(self, base: Conf) -> list[tuple[str, Change]]:
        """Return what changed after a revision."""
        if base.revision < self._forgotten:
            # From before this master, or long ago: the two revisions are compared as wholes.
            return list(_differences(base.sections, self._ordered.sections))
        newest_first = itertools.takewhile(lambda entry: entry[0] > base.revision, reversed(self._recent))
        return [change for _, kinds in newest_first for change in kinds]

    def _remember(self, revision: int, kinds: list[tuple[str, Change]]) -> None:
        if len(self._recent) == self._recent.maxlen:
            self._forgotten = self._recent[0][0]
        self._recent.append((revision, kinds))

    def _kind(self, key: str, section: Section | None) -> Change:
        if section is None:
            return Change.REMOVED
        return Change.CHANGED if self._ordered.get(key) is not None else Change.ADDED

    def _notify(self) -> None:
        for watcher in self._watchers:
            watcher()


def _differences(old: Mapping[str, Section], new: Mapping[str, Section]) -> Iterator[tuple[str, Change]]:
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if before != after:
            yield key, Change.ADDED if before is None else Change.REMOVED if after is None else Change.CHANGED


def _merged(records: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**records, **changes}
    return {key: value for key, value in merged.items() if value is not None}
