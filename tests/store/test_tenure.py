"""What an earlier time of mastership left running cannot write under a later one."""

from __future__ import annotations

from pathlib import Path

import pytest

from confd.store.protocol import Kind, StoreFailed
from confd.store.sqlite import SqliteStore
from confd.store.tenure import tenure


def test_a_tenure_ends_for_good(tmp_path: Path) -> None:
    """Also when the same node leads again; the later tenure is not touched by the end of the earlier one."""
    store = SqliteStore(tmp_path / "journal.db")
    store.lead(1, 11)
    first = tenure(store)
    first.append(Kind.RUNTIME, "a", 1).result()
    first.resign()
    store.lead(2, 11)
    second = tenure(store)
    first.resign()
    with pytest.raises(StoreFailed, match="no longer"):
        first.append(Kind.RUNTIME, "a", 2).result()
    with pytest.raises(StoreFailed, match="no longer"):
        first.flush()
    second.append(Kind.RUNTIME, "b", 3).result()
    second.flush()
    assert store.runtime() == {"a": 1, "b": 3}
    assert first.head() == second.head() == store.head()
    store.close()


def test_what_was_accepted_before_is_durable(tmp_path: Path) -> None:
    """After resigning, flush returns once it is, and says that nothing more is taken."""
    store = SqliteStore(tmp_path / "journal.db")
    store.lead(1, 11)
    futures = [store.append(Kind.RUNTIME, f"k{n}", n, lazy=True) for n in range(50)]
    store.resign()
    with pytest.raises(StoreFailed):
        store.flush()
    assert all(future.done() for future in futures)
    assert len(store.runtime()) == 50
    store.close()
