"""Jobs that say who is to be master: candidates, affinities, and what they are refused for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.leading.handover import RECORD
from confd.exaconf import Node
from confd.model.errors import ConfDError, NodeError, NodeOffline, NoMaster
from confd.model.states import NodeState
from confd.services.nodes.mastership import AFFINITIES, Giving, affinities, choose, preferred, set_back
from tests.jobs.stage import Stage

STATES = st.sampled_from(NodeState)
NODES = st.lists(st.builds(Node, id=st.integers(11, 20), affinity=st.integers(0, 30)), unique_by=lambda n: n.id)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Give a cluster whose master is n11 and gives its place away as it is told."""
    made = Stage(tmp_path)

    def give(node: int, job: str) -> None:
        made.services[Giving] = Giving(node, give)

    made.services[Giving] = Giving(11, give)
    return made


def test_the_chosen_node_leads(stage: Stage) -> None:
    """The online candidate of the lowest affinity that is not the master already; affinities follow for the while."""
    stage.states[12] = NodeState.OFFLINE
    assert stage.run("master_change", nids=[11, 12, 13]).result == 13
    assert stage.services[Giving].node == 13
    assert min(affinities(stage.conf.nodes.values(), stage.records).items(), key=lambda pair: pair[1])[0] == 13
    stage.run("affinity_reset")
    assert stage.services[Giving].node == 11
    assert affinities(stage.conf.nodes.values(), stage.records) == {11: 11, 12: 12, 13: 13}
    assert AFFINITIES not in stage.records


def test_the_configured_affinity_counts_in_a_reset(stage: Stage) -> None:
    """Lower is preferred, among those that are online."""
    stage.put(msgspec.structs.replace(stage.conf.nodes[13], affinity=1))
    stage.run("affinity_reset")
    assert stage.services[Giving].node == 13
    stage.states[13] = NodeState.OFFLINE
    stage.run("affinity_reset")
    assert stage.services[Giving].node == 11


def test_no_candidate_is_online(stage: Stage) -> None:
    """It is said which ones are not; nothing changes."""
    stage.states[12] = stage.states[13] = NodeState.OFFLINE
    with pytest.raises(NodeOffline, match="n12, n13"):
        stage.run("master_change", nids=[12, 13])
    assert stage.records == {}


def test_a_change_that_failed_is_not_tried_again_by_its_own_job(stage: Stage) -> None:
    """The job that finds its hand-over in the records, and another node as master, ends with that."""
    stage.records[RECORD] = {"to": 12, "term": 200_012, "job": "11.1"}
    with pytest.raises(NodeError, match="n12 did not become master, n11 is"):
        stage.run("master_change", nids=[12])
    assert stage.run("master_change", nids=[12]).result == 12
    assert RECORD not in stage.records


def test_a_dry_run_gives_nothing_away(stage: Stage) -> None:
    """It tells whom it would ask."""
    (command,) = stage.plan("master_change", nids=[12]).commands
    assert command.arguments["nid"] == 12
    assert stage.services[Giving].node == 11


def test_only_administrators(stage: Stage) -> None:
    """Others are refused."""
    for job, given_ in (("master_change", {"nids": [12]}), ("affinity_reset", {})):
        with pytest.raises(ConfDError, match="may not run"):
            stage.run(job, by="stella", **given_)


def test_a_master_that_resigns_ends_nothing(stage: Stage) -> None:
    """The job is left to the next master."""

    def give(node: int, job: str) -> None:
        raise NoMaster("gone")

    stage.services[Giving] = Giving(11, give)
    with pytest.raises(NoMaster):
        stage.run("master_change", nids=[12])


@given(NODES, st.dictionaries(st.integers(11, 20), STATES), st.integers(11, 20))
def test_choices(nodes: list[Node], states: dict[int, NodeState], sitting: int) -> None:
    """Only an online candidate is chosen, the sitting master only if alone; none exactly if none is online."""
    online = [node for node in nodes if states.get(node.id) is NodeState.ONLINE]
    chosen, wanted = choose(nodes, states, sitting), preferred(nodes, states)
    assert (chosen is None) == (wanted is None) == (not online)
    if online:
        assert chosen in {node.id for node in online}
        assert (chosen == sitting) == ({node.id for node in online} == {sitting})
        best = next(node for node in online if node.id == wanted)
        assert all(best.affinity <= node.affinity for node in online)


@given(NODES, st.data())
def test_temporary_affinities(nodes: list[Node], data: st.DataObject) -> None:
    """The chosen node comes before the other candidates, those before all others, each in configured order."""
    if not nodes:
        return
    ids = [node.id for node in nodes]
    candidates = data.draw(st.lists(st.sampled_from(ids), min_size=1, unique=True))
    chosen = data.draw(st.sampled_from(candidates))
    now = affinities(nodes, {AFFINITIES: set_back(nodes, candidates, chosen)})
    order = sorted(ids, key=lambda node: now[node])
    assert order[0] == chosen
    assert set(order[: len(candidates)]) == set(candidates)
