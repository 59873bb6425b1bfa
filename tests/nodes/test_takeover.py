"""Who may take over by order: not a node of another version than most of those that would have to follow it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from confd import __version__
from confd.cluster.leading.takeover import collect
from confd.exaconf import Conf, Global, Node, Section
from confd.exaconf.nodes import SUSPENDED
from confd.model.errors import NodeOffline, WrongState
from confd.store.sqlite import SqliteStore
from tests.nodes.conftest import run

OLD = "0.0.1"


def conf(suspended: frozenset[int] = frozenset()) -> Conf:
    """Return a configuration of four nodes."""
    sections: list[Section] = [Global(cluster_name="test")]
    for number in (11, 12, 13, 14):
        state = SUSPENDED if number in suspended else ""
        sections.append(Node(number, name=f"n{number}", private_net=f"127.0.0.{number}/8", state=state))
    return Conf(1, {section.key: section for section in sections})


class Others:
    """The nodes that answer, by the version that they say; one that says none is older than this question."""

    def __init__(self, software: Mapping[int, str | None], leader: int | None = None) -> None:
        self.software, self.leader = software, leader
        self.asked: set[str] = set()

    async def call(self, address: str, port: int, method: str, body: dict[str, Any], timeout: float) -> Any:
        """Answer with a journal that is longer than any other."""
        node = int(address.rpartition(".")[2])
        if node not in self.software:
            raise NodeOffline("nobody there")
        self.asked.add(method)
        if method == "records":
            return {"records": []}
        told: dict[str, Any] = {"last": 7, "n": 1_000, "term": 7, "leads": node == self.leader, "master": 11}
        return told if self.software[node] is None else told | {"software": self.software[node]}


def order(tmp_path: Path, others: Others, suspended: frozenset[int] = frozenset()) -> str:
    """Order n11 to take over; return why it does not."""
    store, refusal = SqliteStore(tmp_path / "journal.db"), []

    async def test() -> None:
        connector: Any = others
        with pytest.raises(WrongState) as refused:
            await collect(store, connector, conf(suspended), 11, 1)
        refusal.append(refused.value.message)
        assert store.head().n == 0

    run(test())
    store.close()
    return refusal[0]


def test_a_node_of_another_version_than_most_is_refused(tmp_path: Path) -> None:
    """Before anything is fetched or promised; it says who may."""
    others = Others({12: OLD, 13: OLD, 14: OLD})
    assert order(tmp_path, others) == (
        f"n11 runs OpenConfD {__version__}, and the next master is one of the nodes that run {OLD} (n12, n13, n14); "
        "install the same version on all nodes, or take over on one of those; nothing was changed"
    )
    assert others.asked == {"position"}


def test_a_master_that_answers_is_named_whatever_it_runs(tmp_path: Path) -> None:
    """That is the reason to tell first."""
    assert "n12 is master and answers" in order(tmp_path, Others({12: OLD, 13: OLD}, leader=12))


@pytest.mark.parametrize(("software", "suspended"), [
    ({12: __version__, 13: OLD}, frozenset()),
    ({12: OLD}, frozenset()),
    ({12: OLD, 13: "0.0.2", 14: "0.0.3"}, frozenset()),
    ({12: None, 13: None, 14: None}, frozenset()),
    ({12: OLD, 13: None, 14: None}, frozenset()),
    ({12: OLD, 13: OLD, 14: OLD}, frozenset({12, 13})),
])  # fmt: skip
def test_nobody_is_kept_from_leading_who_could(
    tmp_path: Path, software: dict[int, str | None], suspended: frozenset[int]
) -> None:
    """Of equals each may, whoever says no version does not count, nor who is suspended: it goes on to the journal."""
    others = Others(software)
    assert "has a newer journal" in order(tmp_path, others, suspended)
    assert others.asked == {"position", "records"}


def test_a_single_survivor_takes_over(tmp_path: Path) -> None:
    """Nobody else could."""
    store = SqliteStore(tmp_path / "journal.db")

    async def test() -> None:
        connector: Any = Others({})
        taken = await collect(store, connector, conf(), 11, 1)
        assert taken.silent == (12, 13, 14)

    run(test())
    store.close()
