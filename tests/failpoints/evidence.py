"""What the files of nodes tell about a cluster, beside its daemons."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.harness import Cluster


def journal_of(cluster: Cluster, node: int) -> Path:
    """Return where a node's journal is."""
    return cluster.root(node) / "metadata/confd/journal.db"


def ask(journal: Path, query: str) -> Iterator[Sequence[Any]]:
    """Read a node's journal beside its daemon."""
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=20)) as connection:
        yield from connection.execute(query)


def term_of(cluster: Cluster, node: int) -> int:
    """Return the highest term under which a node has a record."""
    ((term,),) = ask(journal_of(cluster, node), "SELECT max(term) FROM records")
    return int(term)


def trees(cluster: Cluster, without: str = "/") -> dict[int, list[str]]:
    """Return everything below each node's data directories, without what ends with a path."""
    return {
        node: sorted(
            found for path in (cluster.root(node) / "data").rglob("*") if not (found := str(path)).endswith(without)
        )
        for node in cluster.addresses
    }


def is_unlocked(path: Path) -> bool:
    """Tell whether no daemon holds its lock."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def check_journal(journal: Path, job_id: str, *, failed: bool = False) -> None:
    """Check that a job has one beginning and one end, and that revisions follow the order of the journal.

    One that failed may have been refused before it began: that is a single record.
    """
    kinds = Counter(kind for (kind,) in ask(journal, f"SELECT kind FROM records WHERE key = '{job_id}'"))
    refused = failed and kinds == {"read": 1}
    assert refused or kinds["submitted"] == kinds["finished"] == 1 <= kinds["committed"], (job_id, kinds)
    jobs = [job for (job,) in ask(journal, "SELECT job FROM revisions ORDER BY revision")]
    order = [key for (key,) in ask(journal, "SELECT key FROM records WHERE kind = 'finished' ORDER BY n")]
    places = [order.index(job) for job in jobs if job in order]
    assert places == sorted(places)
    terms = [term for (term,) in ask(journal, "SELECT term FROM records ORDER BY n")]
    assert terms == sorted(terms)
    leaders = list(
        ask(journal, "SELECT term, count(*) FROM records WHERE kind = 'term' GROUP BY term HAVING count(*) > 1")
    )
    assert not leaders, f"terms with two masters: {leaders}"
