"""A long past for a cluster: finished jobs in the journals of all nodes, as real ones left them."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.clusters import MASTER
from confd.cluster.identity import NodeFiles, write_private
from confd.store.protocol import Kind, Record
from confd.store.sqlite import SqliteStore
from tests.cluster.harness import Cluster

_BATCH: Final = 20_000
_READ_EVERY: Final = 6
_AGE_SECONDS: Final = 5 * 86_400.0  # read jobs are forgotten after a week

Template = list[tuple[Kind, dict[str, Any]]]


def write_past(cluster: Cluster, count: int) -> None:
    """Stop the daemons, write finished jobs into their journals, start them again.

    The jobs repeat a modify job and a read job that really ran, with ids, revisions and times of their own.
    """
    change = [cluster.try_run("user_modify", username="bench0", login_enabled=enabled) for enabled in (False, True)]
    look = cluster.try_run("user_info", username="bench0")
    cluster.c4("stop", "-t", "1")
    files = {node: NodeFiles(cluster.root(node)) for node in cluster.addresses}
    store = SqliteStore(files[MASTER].journal)
    try:
        changes = [_template(store, answer) for answer in change]
        reserved = int(files[MASTER].counter.read_text())
        ids = range(reserved + 1, reserved + 1 + count)
        records = _Past(store, changes, _template(store, look)).records(ids)
        while batch := list(itertools.islice(records, _BATCH)):
            store.copy(batch)
    finally:
        store.close()
    write_private(files[MASTER].counter, str(ids[-1]).encode())
    for node in files.keys() - {MASTER}:
        _replace(files[MASTER].journal, files[node].journal)
    os.sync()
    cluster.start()
    _check(cluster, ids)


class _Past:
    """Makes records that continue a journal."""

    def __init__(self, store: SqliteStore, changes: list[Template], look: Template) -> None:
        head = store.head()
        self._term, self._n, self._revision = head.term, head.n, store.sections()[0]
        self._changes, self._look = itertools.cycle(changes), look

    def records(self, ids: range) -> Iterator[Record]:
        """Make the records of jobs, spread over the last days."""
        began = time.time() - _AGE_SECONDS
        for number in ids:
            at = began + _AGE_SECONDS * (number - ids[0]) / len(ids)
            template = self._look if number % _READ_EVERY == 0 else next(self._changes)
            for kind, body in template:
                yield self._record(kind, f"{MASTER}.{number}", body, at)

    def _record(self, kind: Kind, job_id: str, body: dict[str, Any], at: float) -> Record:
        self._n += 1
        if kind is Kind.SCHEDULED:
            body = body | {"base_revision": self._revision}
        elif kind is Kind.FINISHED:
            self._revision += 1
            body = body | {"revision": self._revision}
        elif kind is Kind.READ:
            body = body | {"submitted": at, "revision": self._revision}
        return Record(self._term, self._n, kind, job_id, at, msgspec.Raw(msgspec.json.encode(body)))


def _template(store: SqliteStore, answer: dict[str, Any]) -> Template:
    records = store.job(answer["result_jobid"])
    assert records, answer
    return [(record.kind, msgspec.json.decode(record.body)) for record in records]


def _replace(source: Path, target: Path) -> None:
    for suffix in ("-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(source, target)


def _check(cluster: Cluster, ids: range) -> None:
    """Make sure that the past is a real one: listed, readable job by job, and the same on all nodes."""
    lines = cluster.run("job_history", limit=10_000)
    assert len(lines) >= min(10_000, len(ids)), len(lines)
    for number in (ids[0], ids[len(ids) // 2], ids[-1]):
        info: Any = cluster.client(MASTER).job_info(f"{MASTER}.{number}")
        assert info["stage"] in {"committed", "finished"}, info
    cluster.wait_same()
