"""The service that runs schedules, with a clock that the test moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest

from confd.cluster.host import Submission
from confd.exaconf import BackupSchedule, Conf, Database, Global, SnapshotSchedule
from confd.model.envelope import Outcome
from confd.model.errors import Canceled, InsufficientSpace, Interrupted, NodeOffline, NoMaster, WrongState
from confd.model.sizes import Bytes
from confd.model.states import NodeState
from confd.services.backup.location import Location
from confd.services.backup.order import BackupOrder, Ended
from confd.services.backup.scheduling.schedules import PREFIX, describe_schedules, time_zone
from confd.services.backup.scheduling.service import Schedules
from confd.services.database.record import Record, Wanted

NOON = 20_000 * 86400.0 + 12 * 3600.0
HOUR = 3600.0


class Master:
    """The view of a master: configuration, records, and jobs that the test lets end."""

    def __init__(self) -> None:
        weekly = BackupSchedule(name="week ly", volume="3", level=0, expire="1w")
        daily = BackupSchedule(name="daily", volume="Far", level=1)
        self.database = Database(
            name="DB1", id="x", version="18", mem_size=Bytes(1 << 30), nodes=(11,), num_active_nodes=1,
            data_volume="V", backups={"week ly": weekly, "daily": daily},
            snapshots={"quick": SnapshotSchedule(name="quick", minute="30", expire="1d", enabled=False)},
        )  # fmt: skip
        self.records: dict[str, bytes] = {}
        self.running()
        self.submitted: list[tuple[str, dict[str, Any]]] = []
        self.outcomes: list[Future[Outcome]] = []
        self.states = {11: NodeState.ONLINE, 12: NodeState.ONLINE}
        self.watchers: list[Callable[[], None]] = []
        self.told = threading.Condition()

    def running(self, **changes: Any) -> None:
        record = Record(wanted=Wanted.RUNNING, settled=True, primary=11)
        self.put_record("database/DB1", msgspec.to_builtins(msgspec.structs.replace(record, **changes)))

    def conf(self) -> Conf:
        sections = [Global(cluster_name="c", platform="Host", timezone="UTC"), self.database]
        return Conf(1, {section.key: section for section in sections})

    def record(self, key: str) -> Any:
        return msgspec.json.decode(self.records[key]) if key in self.records else None

    def put_record(self, key: str, value: Any) -> None:
        self.records[key] = msgspec.json.encode(value)

    def node_states(self) -> dict[int, NodeState]:
        return dict(self.states)

    def status(self, node: int, service: str) -> Any:
        return {"DB1": {"state": "ready", "restarts": 0}} if (node, service) == (11, "database") else None

    def watch(self, changed: Callable[[], None]) -> None:
        self.watchers.append(changed)

    def submit(self, job: str, params: Mapping[str, Any]) -> Submission:
        with self.told:
            self.submitted.append((job, dict(params)))
            self.outcomes.append(Future())
            self.told.notify_all()
            return Submission(f"11.{len(self.submitted)}", self.outcomes[-1])


class Clock:
    """A wall clock."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def master() -> Master:
    """A database with two backup schedules, both at every full hour, and a disabled one for snapshots."""
    return Master()


@pytest.fixture
def clock() -> Clock:
    """Noon."""
    return Clock()


@pytest.fixture
def schedules(master: Master, clock: Clock) -> Schedules:
    """The service, which has seen the schedules once; the test looks for it."""
    made = service(master, clock)
    made.look()
    return made


def service(master: Any, clock: Clock) -> Schedules:
    """Make the service of a master that begins."""
    return Schedules(master, clock)


def test_due_backups_run_one_after_another(master: Master, clock: Clock, schedules: Schedules) -> None:
    """The full one first, with the settings of its schedule; the incremental one when no backup runs any more."""
    clock.now = NOON + HOUR
    schedules.look()
    assert master.submitted == [
        ("db_backup_start", {"db_name": "DB1", "level": 0, "backup_volume_id": 3, "expire": "1w"})
    ]
    schedules.look()
    master.running(operation="backup")
    master.outcomes[0].set_result(Outcome())
    schedules.look()
    assert len(master.submitted) == 1
    master.running()
    schedules.look()
    assert master.submitted[1:] == [("db_backup_start", {"db_name": "DB1", "level": 1, "backup_volume_name": "Far"})]
    assert schedules.runs("DB1")["backup/daily"].job == "11.2"


def test_the_next_master_runs_nothing_again(master: Master, clock: Clock, schedules: Schedules) -> None:
    """What was submitted is noted before; what waits is started by the next master."""
    clock.now = NOON + HOUR
    schedules.look()
    after = service(master, clock)
    after.look()
    assert [params["level"] for _, params in master.submitted] == [0, 1]
    for passed in (0, 1, 59):
        clock.now = NOON + HOUR + passed
        service(master, clock).look()
    assert len(master.submitted) == 2


def test_a_crash_between_noting_and_submitting(
    master: Master, clock: Clock, schedules: Schedules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master that ends before the job is submitted leaves the time out; it is never run twice."""
    clock.now = NOON + HOUR

    def refuse(job: str, params: Mapping[str, Any]) -> Submission:
        raise NoMaster("going down")

    with monkeypatch.context() as patched:
        patched.setattr(master, "submit", refuse)
        schedules.look()
    again = service(master, clock)
    again.look()
    again.look()
    assert [params["level"] for _, params in master.submitted] == [1]


def test_one_that_met_another_backup_waits_again(master: Master, clock: Clock, schedules: Schedules) -> None:
    """Refused because somebody started a backup by hand in between, it runs afterwards; other errors end it."""
    clock.now = NOON + HOUR
    schedules.look()
    master.running(operation="backup")
    master.outcomes[0].set_result(Outcome(WrongState.code, "a backup is running"))
    schedules.look()
    assert len(master.submitted) == 1
    master.running()
    schedules.look()
    master.outcomes[1].set_result(Outcome(404, "no space"))
    schedules.look()
    assert [params["level"] for _, params in master.submitted] == [0, 0, 1]


def shown(master: Master, clock: Clock, schedules: Schedules, name: str = "week ly") -> dict[str, Any]:
    """Return what db_info says of a schedule."""
    zone = time_zone(master.conf())
    described = describe_schedules(master.database, schedules.runs("DB1"), clock.now, zone)
    return dict(described["backups"][name])


@pytest.fixture
def refused(master: Master, clock: Clock, schedules: Schedules) -> Schedules:
    """The service after a run of the only schedule at 13:00, which was refused because a node was away."""
    master.database = msgspec.structs.replace(
        master.database, backups={"week ly": master.database.backups["week ly"]}, snapshots={}
    )
    clock.now = NOON + HOUR
    schedules.look()
    refuse(master, schedules)
    return schedules


def refuse(master: Master, schedules: Schedules) -> None:
    """End the last job as the cluster refuses it, and look."""
    master.states[12] = NodeState.OFFLINE
    master.outcomes[-1].set_result(Outcome(NodeOffline.code, "no node of volume V is online"))
    schedules.look()


def test_a_refused_run_is_tried_again(master: Master, clock: Clock, refused: Schedules) -> None:
    """After a minute, then two, and so on; db_info tells why it waits and when it is tried."""
    told = shown(master, clock, refused)
    assert told["last_result"] == "NODE_OFFLINE: no node of volume V is online; it is tried again"
    assert (told["last_run"], told["next_run"]) == ("2024-10-04 13:00 UTC", "2024-10-04 13:01 UTC")
    clock.now += 60
    refused.look()
    assert len(master.submitted) == 2
    refuse(master, refused)
    for passed, jobs in ((60, 2), (60, 3)):
        clock.now += passed
        refused.look()
        assert len(master.submitted) == jobs


def test_a_refused_run_goes_when_the_nodes_change(master: Master, clock: Clock, refused: Schedules) -> None:
    """A node returned: it is tried at once, and so by the next master; once more in vain, it waits again."""
    refused.look()
    assert len(master.submitted) == 1
    master.states[12] = NodeState.ONLINE
    refused.look()
    assert len(master.submitted) == 2
    refuse(master, refused)
    service(master, clock).look()
    assert len(master.submitted) == 3


def test_a_refused_run_waits_no_longer_than_its_period(master: Master, clock: Clock, refused: Schedules) -> None:
    """The next time of the schedule takes its place and is run at once; a database that is stopped ends it."""
    clock.now = NOON + 2 * HOUR
    refused.look()
    assert (len(master.submitted), shown(master, clock, refused)["last_run"]) == (2, "2024-10-04 14:00 UTC")
    refuse(master, refused)
    master.running(wanted=Wanted.STOPPED)
    refused.look()
    master.running()
    clock.now += 600
    refused.look()
    assert len(master.submitted) == 2


def test_db_info_shows_what_became_of_a_run(master: Master, clock: Clock, refused: Schedules) -> None:
    """That its backup is being taken, and how that ended, also when another master has taken over meanwhile."""
    clock.now += 60
    refused.look()
    location = Location("DB1", 1, 0, 0, "202410041301")
    order = BackupOrder(node=11, volume="V", volume_id=3, location=location, began=clock.now)
    master.running(operation="backup", backup=order)
    master.outcomes[-1].set_result(Outcome())
    refused.look()
    assert shown(master, clock, refused)["last_result"] == "is being taken"
    for code, text in ((InsufficientSpace.code, "STE_INSUFF_SPACE: full"), (0, "OK")):
        before = master.records[PREFIX + "DB1"]
        master.running(last=Ended(kind="backup", name=location.path, at=clock.now, code=code, message="full"))
        service(master, clock).look()
        assert shown(master, clock, refused)["last_result"] == text
        master.records[PREFIX + "DB1"] = before
    assert len(master.submitted) == 2


def test_a_backup_that_is_lost_is_taken_again(master: Master, clock: Clock, refused: Schedules) -> None:
    """Its node died while it was taken: again after a rest, longer each time, or as soon as the nodes change."""
    clock.now += 60
    refused.look()
    stamp, rests = 1301, (120, 240)
    for rest in rests:
        location = Location("DB1", 1, 0, 0, f"20241004{stamp}")
        stamp += 1
        order = BackupOrder(node=11, volume="V", volume_id=3, location=location, began=clock.now)
        master.running(operation="backup", backup=order)
        master.outcomes[-1].set_result(Outcome())
        refused.look()
        ended = Ended(kind="backup", name=location.path, at=clock.now, code=Interrupted.code, message="n11 is gone")
        master.running(last=ended)
        refused.look()
        assert shown(master, clock, refused)["last_result"] == "INTERRUPTED: n11 is gone; it is tried again"
        jobs = len(master.submitted)
        clock.now += rest - 1
        refused.look()
        assert len(master.submitted) == jobs
        clock.now += 1
        refused.look()
        assert len(master.submitted) == jobs + 1


def test_a_lost_backup_is_taken_again_when_its_node_returns(master: Master, clock: Clock, refused: Schedules) -> None:
    """At once then, once, also by the next master; what was canceled by hand is not taken again."""
    clock.now += 60
    refused.look()
    location = Location("DB1", 1, 0, 0, "202410041301")
    master.running(
        operation="backup", backup=BackupOrder(node=11, volume="V", volume_id=3, location=location, began=clock.now)
    )
    master.outcomes[-1].set_result(Outcome())
    refused.look()
    before = dict(master.records)
    for code, jobs in ((Canceled.code, 2), (Interrupted.code, 3)):
        master.records = dict(before)
        master.running(last=Ended(kind="backup", name=location.path, at=clock.now, code=code, message="gone"))
        refused.look()
        master.states[12] = NodeState.OFFLINE if master.states[12] is NodeState.ONLINE else NodeState.ONLINE
        refused.look()
        refused.look()
        assert len(master.submitted) == jobs


def test_a_stopped_database_is_left_alone(master: Master, clock: Clock, schedules: Schedules) -> None:
    """Nothing is submitted at its due times, then or when it runs again."""
    master.running(wanted=Wanted.STOPPED)
    clock.now = NOON + HOUR
    schedules.look()
    master.running()
    schedules.look()
    assert master.submitted == []


def test_db_info_shows_the_next_run(master: Master, clock: Clock, schedules: Schedules) -> None:
    """In the cluster's time zone, beside the last run and its job; a disabled schedule has no next run."""
    clock.now = NOON + HOUR
    schedules.look()
    zone = time_zone(master.conf())
    shown = describe_schedules(master.database, schedules.runs("DB1"), clock.now, zone)
    assert shown["backups"]["week ly"] == {
        "enabled": True, "volume": "3", "level": 0, "minute": "0", "hour": "*", "day": "*", "month": "*",
        "weekday": "*", "expire": "1w", "next_run": "2024-10-04 14:00 UTC", "last_run": "2024-10-04 13:00 UTC",
        "last_job": "11.1", "last_result": "",
    }  # fmt: skip
    assert shown["snapshots"]["quick"]["next_run"] == ""
    assert shown["backups"]["daily"]["last_run"] == ""


def test_a_schedule_that_cannot_be_read_stops_no_other(master: Master, clock: Clock, schedules: Schedules) -> None:
    """A configuration edited by hand may hold any text."""
    broken = BackupSchedule(name="broken", volume="3", minute="every")
    master.database = msgspec.structs.replace(master.database, backups={**master.database.backups, "broken": broken})
    clock.now = NOON + HOUR
    schedules.look()
    assert len(master.submitted) == 1
    shown = describe_schedules(master.database, {}, clock.now, time_zone(master.conf()))
    assert shown["backups"]["broken"]["next_run"] == ""


@pytest.fixture
def running(master: Master, clock: Clock) -> Iterator[Schedules]:
    """The service in its own thread."""
    made = service(master, clock)
    made.start()
    yield made
    made.close()


def test_the_service_looks_by_itself(master: Master, clock: Clock, running: Schedules) -> None:
    """It notes new schedules as soon as the configuration changes, and runs them when they are due."""
    waiter = threading.Event()
    deadline = time.monotonic() + 20
    while PREFIX + "DB1" not in master.records and time.monotonic() < deadline:
        waiter.wait(0.01)
    clock.now = NOON + HOUR
    master.running(flushed="0/1")
    for changed in master.watchers:
        changed()
    with master.told:
        assert master.told.wait_for(lambda: bool(master.submitted), 20)
