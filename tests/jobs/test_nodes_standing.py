"""Nodes out of service and back, waiting for nodes, stopping them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confd.cluster.host import Submission
from confd.cluster.leading.member import JOINED_AT
from confd.exaconf import Group
from confd.jobs import nodes_standing
from confd.model.errors import ConfDError, InvalidParameter, NoMaster, NoQuorum, NotFound, PermissionDenied, WrongState
from confd.model.states import NodeState
from confd.scheduler.registry import load
from confd.services.database.record import Record, Wanted
from confd.services.nodes import machine
from confd.services.nodes.attendance import Attendance
from confd.services.nodes.standing import Suspension, suspension_key
from tests.jobs.stage import Stage
from tests.services.nodes.test_removal import database

ONLINE, OFFLINE, SUSPENDED = NodeState


@pytest.fixture
def five(tmp_path: Path) -> Stage:
    """A cluster of five nodes."""
    return Stage(tmp_path, nodes=(11, 12, 13, 14, 15))


def test_suspended_and_resumed(stage: Stage) -> None:
    """The wish is in EXAConf and shown by node_list; with disable it says so."""
    stage.run("node_suspend", nid=12)
    assert stage.run("node_list").result["12"]["state"] == "suspended"
    assert stage.records[suspension_key(12)] == {"revision": stage.conf.revision}
    stage.states[12] = SUSPENDED
    stage.run("node_resume", nid=12)
    assert stage.conf.require_node(12).state == ""
    assert suspension_key(12) not in stage.records
    stage.states[12] = ONLINE
    stage.run("node_suspend", nid=12, disable=True)
    assert stage.conf.require_node(12).state == "disabled"
    stage.states[12] = SUSPENDED
    with pytest.raises(WrongState, match=r"n12 is disabled; give enable"):
        stage.run("node_resume", nid=12)
    stage.run("node_resume", nid=12, enable=True)
    assert stage.conf.require_node(12).state == ""


def test_lists_of_nodes(five: Stage) -> None:
    """Several nodes at once, all or none."""
    before = five.conf
    with pytest.raises(NotFound, match="no node '19'"):
        five.run("node_suspend", nid=[12, 19])
    with pytest.raises(InvalidParameter, match="each once"):
        five.run("node_suspend", nid=[12, 12])
    with pytest.raises(InvalidParameter, match="at least one"):
        five.run("node_suspend", nid=[])
    assert five.conf is before
    five.run("node_suspend", nid=[12, 13])
    assert [node.id for node in five.conf.nodes.values() if node.suspended] == [12, 13]


def test_what_is_not_suspended(stage: Stage) -> None:
    """The master, the last one, a suspended one."""
    for nid, text in ((11, "n11 is the master"), ([11, 12, 13], "all that runs")):
        with pytest.raises(WrongState, match=text):
            stage.run("node_suspend", nid=nid)
    stage.run("node_suspend", nid=12)
    with pytest.raises(WrongState, match="n12 is suspended already"):
        stage.run("node_suspend", nid=12)
    with pytest.raises(WrongState, match="n13 is not suspended"):
        stage.run("node_resume", nid=13)


def test_the_failed_half_is_suspended_without_a_quorum(five: Stage) -> None:
    """Dead nodes one by one, each time telling what is still missing; nodes that are online not before that."""
    assert load()["node_suspend"].without_quorum
    five.states |= {13: OFFLINE, 14: OFFLINE, 15: OFFLINE}
    with pytest.raises(NoQuorum, match=r"3 of 5 nodes are offline .* n12 is online"):
        five.run("node_suspend", nid=[12, 13])
    [warning] = five.run("node_suspend", nid=13).warnings
    assert warning.startswith("2 of 4 nodes are offline (n14, n15) still")
    five.states[13] = SUSPENDED
    assert five.run("node_suspend", nid=[14]).warnings == []


def test_resuming_a_silent_node_keeps_the_quorum(stage: Stage) -> None:
    """It would count and be missing; one that answers is welcome at any time."""
    stage.states |= {12: SUSPENDED, 13: SUSPENDED}
    for node in (12, 13):
        stage.put(msgspec.structs.replace(stage.conf.require_node(node), state="suspended"))
    with pytest.raises(WrongState, match=r"2 of 3 nodes are offline .*start the daemon"):
        stage.run("node_resume", nid=[12, 13])


def test_rights(stage: Stage) -> None:
    """Nodes are for administrators."""
    for job, params in (
        ("node_suspend", {"nid": 12}),
        ("node_remove", {"nid": 12}),
        ("nodes_terminate", {"nids": [12]}),
    ):
        with pytest.raises(PermissionDenied):
            stage.run(job, by="stella", **params)


def test_waiting_ends_when_all_are_there(stage: Stage) -> None:
    """At once, when the nodes are as wanted; else it returns who is, after the time."""
    stage.states[12] = OFFLINE
    machine.READY.set()
    assert stage.run("node_wait_ready", nids=[13, 11]).result == [13, 11]
    assert stage.run("node_wait_offline", nids=[12]).result == [12]
    assert stage.run("node_wait_ready", nids=[11, 12], timeout=1).result == [11]
    assert stage.run("node_wait_offline", nids=[13], timeout=1).result == []
    for name in ("node_wait_ready", "node_wait_offline"):
        assert load()[name].waits
        with pytest.raises(NotFound, match="no node '14'"):
            stage.run(name, nids=[14])
        with pytest.raises(InvalidParameter, match="timeout"):
            stage.run(name, nids=[11], timeout=0)


def test_who_waits_is_told_of_news_and_of_the_end(stage: Stage) -> None:
    """A node that goes is noticed; a master that goes down asks to turn to the next one."""
    attendance: Attendance = stage.services[Attendance]
    answers: list[Any] = []

    def wait() -> None:
        answers.append(attendance.wait([12], attendance.gone, 60))
        try:
            attendance.wait([13], attendance.gone, 60)
        except NoMaster as error:
            answers.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    stage.states[12] = OFFLINE
    attendance._wake()
    while not answers:
        time.sleep(0.005)
    attendance.close()
    waiting.join(20)
    assert answers[0] == [12]
    assert isinstance(answers[1], NoMaster)


class Station:
    """A cluster as the attendance sees it: what nodes report is set by the test."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.node = 11
        self.told: dict[tuple[int, str], Any] = {}
        self.submitted: list[dict[str, Any]] = []
        self.called: list[tuple[str, int]] = []

    def conf(self) -> Any:
        return self._stage.conf

    def record(self, key: str) -> Any:
        return self._stage.records.get(key)

    def node_states(self) -> dict[int, NodeState]:
        return self._stage.states

    def status(self, node: int, service: str) -> Any:
        return self.told.get((node, service))

    def submit(self, job: str, params: dict[str, Any]) -> Submission:
        self.submitted.append({"job": job, **params})
        raise NoMaster("not here")

    def call(self, command: Any, timeout: float = 60.0) -> None:
        self.called.append((command.name, command.node))


def test_who_was_started_anew_is_resumed(stage: Stage) -> None:
    """A daemon that joined after its node was suspended brings the node back, unless that is disabled."""
    station: Any = Station(stage)
    clock = [100.0]
    attendance = Attendance(station, lambda: clock[0])
    stage.run("node_suspend", nid=12)
    at = msgspec.convert(stage.records[suspension_key(12)], Suspension).revision
    attendance.look()
    station.told[12, JOINED_AT] = at - 1
    attendance.look()
    assert station.submitted == []
    station.told[12, JOINED_AT] = at
    attendance.look()
    attendance.look()
    assert station.submitted == [{"job": "node_resume", "nid": [12]}]
    clock[0] += 10
    attendance.look()
    assert len(station.submitted) == 2
    clock[0] += 10
    stage.states |= {12: OFFLINE, 13: OFFLINE}
    attendance.look()
    assert len(station.submitted) == 2, "it would be refused"
    stage.states |= {12: ONLINE, 13: ONLINE}
    stage.run("node_suspend", nid=12, disable=True)
    attendance.look()
    assert len(station.submitted) == 2


def test_who_was_started_anew_a_moment_later_does_not_wait(stage: Stage) -> None:
    """The pause after a job is for the nodes that it was for."""
    station: Any = Station(stage)
    attendance = Attendance(station, lambda: 100.0)
    for node in (12, 13):
        stage.run("node_suspend", nid=node)
        station.told[node, JOINED_AT] = msgspec.convert(stage.records[suspension_key(node)], Suspension).revision
        attendance.look()
    assert [given["nid"] for given in station.submitted] == [[12], [13]]


def test_who_was_started_anew_while_it_was_being_suspended_stays_suspended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moving databases away takes its time; another job commits meanwhile, and the node's daemon joins after that."""
    monkeypatch.setattr(nodes_standing, "leave_databases", lambda *given: stage.put(Group(name="other", id=2000)))
    station: Any = Station(stage)
    attendance = Attendance(station)
    joined = stage.conf.revision + 1
    stage.run("node_suspend", nid=12)
    assert stage.conf.revision == joined + 1
    station.told[12, JOINED_AT] = joined
    attendance.look()
    assert station.submitted == []


def test_what_a_suspended_node_still_runs_is_stopped(stage: Stage) -> None:
    """It was out of reach when it was suspended: others may have taken over meanwhile."""
    station: Any = Station(stage)
    attendance = Attendance(station)
    station.told[12, "database"] = {"DB": {"state": "ready", "restarts": 0}}
    attendance.look()
    assert station.called == []
    stage.run("node_suspend", nid=12)
    attendance.look()
    assert station.called == [("nodes.quiesce", 12)]
    station.told[12, "database"] = {"DB": {"state": "stopped", "restarts": 0}}
    attendance.look()
    assert len(station.called) == 1


def test_nodes_are_stopped_the_master_last(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each daemon that answers is told once, and only the one that ran when the job did."""
    ended: list[int] = []
    hosts = stage.host

    def host(node: int) -> Any:
        made = hosts(node)
        object.__setattr__(made, "end", lambda removed: ended.append(-node if removed else node))
        return made

    monkeypatch.setattr(stage, "host", host)
    ran = stage.run("nodes_terminate", nids=[11, 12, 13])
    assert ended == [12, 13, 11]
    assert ran.warnings == []
    machine.leave.function(host(12), started=machine.STARTED - 1)
    assert ended == [12, 13, 11]
    stage.states[13] = OFFLINE
    warnings = stage.run("nodes_terminate", nids=[12, 13]).warnings
    assert "2 of 3 nodes are offline (n12, n13) now" in warnings[0]
    assert "n13 does not answer" in warnings[1]
    with pytest.raises(ConfDError, match="no node '14'"):
        stage.run("nodes_terminate", nids=[14])


def test_work_that_cannot_move_keeps_a_node_in_service(stage: Stage) -> None:
    """A backup that is taken from a primary there, or one that is open for reading there; the message names it."""
    stage.run("st_volume_create", name="V", type="data", disk="disk1", size="64 MiB", nodes=[12, 13], redundancy=2,
              num_master_nodes=1)  # fmt: skip
    stage.put(database([12, 13], 1))
    record = Record(wanted=Wanted.RUNNING, primary=12, operation="backup", volume="V", system_id="s")
    stage.records["database/DB"] = msgspec.to_builtins(record)
    for job, params in (
        ("node_suspend", {"nid": 12}),
        ("node_remove", {"nid": 12, "force": True}),
        ("nodes_terminate", {"nids": [12]}),
    ):
        with pytest.raises(WrongState, match=r"a backup of database DB runs on n12; wait for its end"):
            stage.run(job, **params)
