"""Jobs are admitted once, run side by side where they may, and always end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import Annotated, Any

import pytest

from confd.exaconf import Group, User
from confd.model.errors import (
    Interrupted,
    LimitExceeded,
    MissingParameter,
    NoMaster,
    NoQuorum,
    PermissionDenied,
    UnknownJob,
    WrongState,
)
from confd.scheduler.caller import caller_named
from confd.scheduler.context import Context
from confd.scheduler.events import Events
from confd.scheduler.locks import exclusive
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, READ, SELF, Allow, Job, job
from confd.scheduler.scheduler import Admission
from confd.store.protocol import JobQuery
from confd.store.terms import next_term
from tests.scheduler.world import PATIENCE, Crash, World, make, remove

ROOT = Allow(users=("root",), groups=("exaadm",))
ANYBODY = Allow(groups=("exausers", "exaadm"))


class Gate:
    """Where jobs wait until the test lets them go on."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self._changed = threading.Condition()
        self._open: set[str] = set()

    def pass_through(self, name: str) -> None:
        """Wait to be let go on."""
        with self._changed:
            self.arrived.append(name)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: name in self._open, PATIENCE)

    def wait_for(self, *names: str) -> None:
        """Wait until these jobs have arrived."""
        with self._changed:
            assert self._changed.wait_for(lambda: set(names) <= set(self.arrived), PATIENCE)

    def open(self, *names: str) -> None:
        """Let jobs go on."""
        with self._changed:
            self._open |= set(names)
            self._changed.notify_all()


@pytest.fixture
def gate() -> Gate:
    """Give the gate of the jobs below."""
    return Gate()


@pytest.fixture(autouse=True)
def declared(jobs: dict[str, Job], gate: Gate) -> dict[str, Job]:
    """Declare the jobs of these tests."""

    @job(MODIFY, allow=ROOT, locks=lambda conf, values: [exclusive("group", values["name"])])
    def group_put(ctx: Context, name: str, *, number: int = 1, wait: str = "") -> int:
        """Put a group.

        :param name: its name
        :param number: its id
        :param wait: where to wait
        """
        if wait:
            gate.pass_through(wait)
        ctx.conf.put(Group(name=name, id=number))
        return number

    @job(READ, allow=ANYBODY)
    def group_names(ctx: Context, *, wait: str = "") -> list[str]:
        """List groups.

        :param wait: where to wait
        """
        if wait:
            gate.pass_through(wait)
        return sorted(ctx.conf.groups)

    @job(READ, allow=Allow(users=(SELF,)))
    def own_things(ctx: Context, *, username: str = "", failing: bool = False) -> Any:
        """Fail or not.

        :param username: who
        :param failing: raise
        """
        if failing:
            raise ZeroDivisionError("oops")
        return ctx.run(make.on(11, "read", by_node={3: "x"}))

    @job(MODIFY, allow=ROOT, locks=lambda conf, values: conf.nothing)  # type: ignore[attr-defined]
    def badly_locked(ctx: Context) -> str:
        """Run although its locks cannot be named."""
        return "ran"

    @job(MODIFY, allow=ROOT)
    def secretive(ctx: Context, plain: str, hidden: Annotated[str, Rule(secret=True)], number: int) -> None:
        """Take a secret.

        :param plain: no secret
        :param hidden: a secret
        :param number: a number
        """

    @job(READ, allow=ANYBODY, waits=True)
    def wait_for(ctx: Context, name: str) -> str:
        """Wait.

        :param name: for what
        """
        ctx.run(make.on(11, f"read-{name}"))
        gate.pass_through(name)
        return name

    @job(MODIFY, allow=ROOT, without_quorum=True)
    def bring_back(ctx: Context) -> str:
        """Bring a quorum back."""
        return "back"

    @job(MODIFY, allow=ROOT, lockless=True)
    def abort(ctx: Context) -> str:
        """Run at once."""
        return "aborted"

    def unless_busy(records: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        if records.get(f"busy/{values['name']}"):
            raise WrongState("it is busy")

    @job(MODIFY, allow=ROOT, locks=lambda conf, values: [exclusive("group", values["name"])], refuses=unless_busy)
    def group_end(ctx: Context, name: str) -> str:
        """End a group.

        :param name: its name
        """
        return name

    @job(MODIFY, allow=ROOT)
    def dry(ctx: Context, *, deep: bool = False) -> str:
        """Do everything.

        :param deep: rely on a result
        """
        ctx.conf.put(User(name="new", id=7000, group="exaadm"))
        result = ctx.run(make.on(11, "dry"), remove.on(11, "dry"))
        ctx.settle(remove.on(12, "old"))
        ctx.warn("careful")
        return "x".join(result.missing) if deep else "done"  # type: ignore[attr-defined]

    return jobs


def test_many_who_wait_keep_nobody_from_being_answered(world: World, gate: Gate) -> None:
    """Jobs that wait have threads of their own."""
    master = world.master()
    waiting = [master.admit("wait_for", name=f"w{number}") for number in range(40)]
    gate.wait_for(*(f"w{number}" for number in range(40)))
    assert master.run("own_things").code == 0
    gate.open(*(f"w{number}" for number in range(40)))
    assert [ticket.done.result(PATIENCE).output for ticket in waiting] == [f"w{number}" for number in range(40)]


def test_some_calls_are_refused_before_they_wait(world: World, gate: Gate) -> None:
    """What the records forbid now is an answer at once, with an id like any other; else the call waits for its locks."""
    master = world.master()
    holding = master.admit("group_put", name="a", wait="held")
    gate.wait_for("held")
    waiting = master.admit("group_end", name="a")
    master.head.put_record("busy/a", {"by": "a restore"})
    refused = master.admit("group_end", name="a", job_id="11.77")
    assert refused.done.result(0).message == "it is busy"
    assert master.finish("11.77").code == WrongState.code
    assert not waiting.done.done()
    gate.open("held")
    assert (holding.done.result(PATIENCE).code, waiting.done.result(PATIENCE).output) == (0, "a")


def test_what_brings_a_quorum_back_needs_none(world: World) -> None:
    """Other changes are refused; a full disk stops all."""
    master = world.master()

    def too_few() -> None:
        raise NoQuorum("2 of 3 nodes are offline (n12, n13)")

    def full() -> None:
        raise LimitExceeded("disk full")

    master.may_change = too_few
    assert master.run("group_put", name="a").code == NoQuorum.code
    assert master.run("bring_back").output == "back"
    master.may_change = full
    assert master.run("bring_back").code == LimitExceeded.code


def test_jobs_on_different_objects_run_side_by_side(world: World, gate: Gate) -> None:
    """Those on the same object one after the other, in order of arrival."""
    master = world.master()
    first = master.admit("group_put", name="a", wait="1")
    second = master.admit("group_put", name="a", number=2, wait="2")
    third = master.admit("group_put", name="b", wait="3")
    gate.wait_for("1", "3")
    assert "2" not in gate.arrived
    gate.open("3")
    assert third.done.result(PATIENCE).revision == 2
    gate.open("1", "2")
    assert first.done.result(PATIENCE).revision == 3
    assert second.done.result(PATIENCE).revision == 4
    assert master.head.conf.groups["a"].id == 2
    assert master.scheduler._tickets == {}
    assert master.scheduler._waiting == {}


def test_read_jobs_wait_for_nobody(world: World, gate: Gate) -> None:
    """They see the newest committed revision."""
    master = world.master()
    waiting = master.admit("group_put", name="a", wait="1")
    gate.wait_for("1")
    assert master.run("group_names").output == ["exaadm"]
    assert master.run("group_names", start=True).output == ["exaadm"]
    assert master.run("abort").output == "aborted"
    gate.open("1")
    waiting.done.result(PATIENCE)
    assert master.run("group_names").output == ["a", "exaadm"]


def test_refused_calls_are_in_the_history(world: World) -> None:
    """With their ids, errors, and without secrets; nothing was tried."""
    master = world.master()
    ann = caller_named(master.head.conf, "ann")
    bob = type(ann)("bob", 1002, 500, frozenset({"exausers"}))
    for name, caller, given, wanted in (
        ("group_putt", ann, {}, UnknownJob),
        ("group_put", ann, {}, MissingParameter),
        ("group_put", bob, {"name": "x"}, PermissionDenied),
        ("group_put", bob, {"name": "x", "pasword": "hunter2"}, None),
        ("group_put", ann, {"name": ["x", {}], "secret": ["hunter2", {"a": "hunter2"}]}, None),
        ("change_password", bob, {"name": "hunter2"}, None),
        ("secretive", ann, {"plain": "shown", "hidden": "hunter2", "number": "x"}, None),
    ):
        ticket = master.admit(name, caller=caller, **given)
        outcome = ticket.done.result(0)
        assert outcome.code != 0
        assert wanted is None or outcome.code == wanted.code
        assert ticket.durable is not None
        ticket.durable.result(PATIENCE)
        file = master.scheduler.file(ticket.id)
        assert file is not None
        assert file.info()["result"]["result_code"] == outcome.code
        assert "hunter2" not in str(file.info())
        assert ("shown" in str(file.info())) == (name == "secretive")
    assert master.head.conf.revision == 1


def test_self_means_the_caller(world: World) -> None:
    """Only for himself."""
    master = world.master()
    bob = type(caller_named(master.head.conf, "ann"))("bob", 1002, 500, frozenset({"exausers"}))
    assert master.run("own_things", caller=bob, username="bob").code == 0
    assert master.run("own_things", caller=bob, username="ann").code == PermissionDenied.code


def test_changes_are_refused_when_they_cannot_be_accepted(world: World) -> None:
    """No quorum, or no room: read jobs go on."""
    master = world.master()

    def full() -> None:
        raise LimitExceeded("no room")

    master.may_change = full
    assert master.run("group_put", name="a").code == LimitExceeded.code
    assert master.run("group_names").code == 0


def test_a_retry_never_runs_a_job_twice(world: World, gate: Gate) -> None:
    """While it is on its way and after its end the id gives the same job."""
    master = world.master()
    ticket = master.admit("group_put", job_id="12.5", name="a", wait="1")
    gate.wait_for("1")
    again = master.admit("group_put", job_id="12.5", retried=True, name="a", wait="1")
    assert again is ticket
    gate.open("1")
    outcome = ticket.done.result(PATIENCE)
    late = master.admit("group_put", job_id="12.5", retried=True, name="a", wait="1")
    assert late.done.result(PATIENCE) == outcome
    assert gate.arrived == ["1"]
    fresh = master.admit("group_put", job_id="12.6", retried=True, name="b")
    assert fresh.done.result(PATIENCE).revision == 3
    assert len(master.real.jobs(JobQuery())) == 2


def test_a_first_try_that_comes_after_its_retry_runs_nothing(world: World, gate: Gate) -> None:
    """It was held up on its way, for instance by a slow login, until its connection was given up."""
    master = world.master()
    ticket = master.admit("group_put", job_id="12.5", retried=True, name="a", wait="1")
    assert master.admit("group_put", job_id="12.5", name="a", wait="1") is ticket
    gate.wait_for("1")
    gate.open("1")
    outcome = ticket.done.result(PATIENCE)
    assert master.admit("group_put", job_id="12.5", name="a", wait="1").done.result(PATIENCE) == outcome
    assert gate.arrived == ["1"]
    assert len(master.real.jobs(JobQuery())) == 1


def test_a_retry_after_a_restart_joins_the_recovered_job(world: World, gate: Gate) -> None:
    """The master died between taking the call and answering it."""
    first = world.master(steps=1)
    with pytest.raises(Crash):
        first.admit("group_put", job_id="12.5", name="a", wait="1")
    first.close()
    second = world.master()
    ticket = second.admit("group_put", job_id="12.5", retried=True, name="a", wait="1")
    gate.wait_for("1")
    gate.open("1")
    assert ticket.done.result(PATIENCE).revision == 2
    assert gate.arrived == ["1"]
    assert len(second.real.jobs(JobQuery())) == 1


def test_a_read_job_that_was_started_survives_a_restart(world: World, gate: Gate) -> None:
    """Its id was given out, so it ends."""
    first = world.master(steps=1)
    with pytest.raises(Crash):
        first.admit("group_names", job_id="12.5", start=True)
    first.close()
    second = world.master()
    assert second.finish("12.5").output == ["exaadm"]


def test_a_started_read_job_that_is_gone_from_the_software_ends(world: World, jobs: dict[str, Job]) -> None:
    """INTERRUPTED, like any other."""
    first = world.master(steps=1)
    with pytest.raises(Crash):
        first.admit("group_names", job_id="12.5", start=True)
    first.close()
    jobs.clear()
    assert world.master().finish("12.5").code == Interrupted.code


def test_a_read_job_is_in_the_history(world: World) -> None:
    """Also one that failed, and one that failed as a defect."""
    master = world.master()
    for given, code in (({}, 0), ({"failing": True}, 901)):
        ticket = master.admit("own_things", username="root", **given)
        assert ticket.done.result(PATIENCE).code == code
    master.scheduler._reading._readers.shutdown(wait=True)
    master.real.flush()
    assert [(row.name, row.code) for row in master.real.jobs(JobQuery())] == [("own_things", 901), ("own_things", 0)]


def test_locks_that_cannot_be_named_do_not_lose_the_job(world: World) -> None:
    """It runs alone instead."""
    master = world.master()
    outcome = master.run("badly_locked")
    assert outcome.output == "ran"
    file = master.scheduler.file("11.1")
    assert file is not None
    assert file.info()["locks"] == ["all"]


@pytest.mark.parametrize("goes", [True, False])
def test_a_job_that_only_waits_for_its_revision_holds_no_thread(world: World, *, goes: bool) -> None:
    """It ends in the thread that tells, with its locks given back; also when the master goes down meanwhile."""
    master = world.master()
    world.writing = queue.SimpleQueue()
    count = 70
    tickets = [master.admit("group_put", name=f"g{number}") for number in range(count)]
    waiting = [world.writing.get(timeout=PATIENCE) for _ in range(count)]
    behind = master.admit("group_put", name="g0", number=2)
    assert not any(ticket.done.done() for ticket in (*tickets, behind))
    world.writing = None
    for written in waiting:
        if goes:
            written.set_result([12])
        else:
            written.set_exception(NoMaster("going down"))
    for ticket in tickets:
        if goes:
            outcome = ticket.done.result(0)
            assert outcome.code == 0
            assert "n12 has not taken in revision" in outcome.warnings[0]
        else:
            assert isinstance(ticket.done.exception(0), NoMaster)
    assert behind.done.result(PATIENCE).output == 2


def test_a_journal_that_fails_leaves_nobody_waiting(world: World, gate: Gate) -> None:
    """Running, waiting and later jobs all end; none of them says that it was done."""
    master = world.master()
    running = master.admit("group_put", name="a", wait="1")
    waiting = master.admit("group_put", name="a")
    reading = master.admit("group_names", start=True, wait="2")
    gate.wait_for("1", "2")
    master.real._give_up(OSError("disk"))
    gate.open("1", "2")
    for ticket in (running, waiting, reading):
        assert isinstance(ticket.done.exception(PATIENCE), NoMaster)
    assert master.head.conf.revision == 1
    late = master.admit("group_put", name="b")
    assert isinstance(late.done.exception(PATIENCE), NoMaster)
    with pytest.raises(Exception, match="cannot be written"):
        assert late.durable is not None
        late.durable.result(PATIENCE)


def test_a_dry_run_has_no_effect(world: World) -> None:
    """It tells the diff and the commands, takes no id, no lock and no revision, and leaves no trace."""
    master = world.master()
    admission = Admission("", "dry", {}, caller_named(master.head.conf, "ann"), {})
    before = master.real.head()
    outcome = master.scheduler.plan(admission)
    assert outcome.code == 0
    assert "[[new]]" in outcome.output["diff"]
    assert [(command["name"], command["node"]) for command in outcome.output["commands"]] == [
        ("test.make", 11), ("test.remove", 12),
    ]  # fmt: skip
    assert outcome.warnings == ("careful",)
    assert (world.files(), world.sent, master.real.head(), master.head.conf.revision) == ({}, [], before, 1)


def test_a_dry_run_answers_whatever_happens(world: World) -> None:
    """Errors of the request, of the job and defects are outcomes."""
    master = world.master()
    ann = caller_named(master.head.conf, "ann")
    for name, given, code in (
        ("none", {}, UnknownJob.code),
        ("group_put", {}, MissingParameter.code),
        ("dry", {"deep": True}, 901),
    ):
        assert master.scheduler.plan(Admission("", name, given, ann, {})).code == code


def test_events_tell_every_stage_once() -> None:
    """From a cursor on, for the jobs asked for; a cursor of another master starts anew."""
    events = Events(lambda: 1.0)
    woken: list[int] = []
    events.wake_on_next(lambda: woken.append(1))
    for stage in ("submitted", "scheduled", "finished"):
        events.publish("11.1", "x", stage)
        events.publish("11.2", "y", stage)
    assert woken == [1]
    cursor, found = events.after(2)
    assert (cursor, [(event["job_id"], event["stage"]) for event in found]) == (
        6, [("11.1", "scheduled"), ("11.2", "scheduled"), ("11.1", "finished"), ("11.2", "finished")],
    )  # fmt: skip
    assert [event["cursor"] for event in events.after(0, ["11.2"])[1]] == [2, 4, 6]
    assert events.after(6) == (6, [])
    assert len(events.after(500)[1]) == 6


def test_the_next_master_goes_on_behind_the_last_ones_cursors() -> None:
    """Who comes with a cursor of the last master misses no event of the next one, however many there were."""
    last = Events(lambda: 1.0, term=next_term(5, 13))
    following = Events(lambda: 1.0, term=next_term(next_term(5, 13), 12))
    last.publish("11.1", "x", "submitted")
    cursor, _ = last.after(0)
    for number in range(1, 4):
        following.publish(f"12.{number}", "y", "submitted")
    assert [event["job_id"] for event in following.after(cursor)[1]] == ["12.1", "12.2", "12.3"]
    assert [event["job_id"] for event in last.after(following.cursor)[1]] == ["11.1"]
    assert following.after(following.cursor) == (following.cursor, [])
    assert Events(term=next_term(0, 11, 1e12) - 1).cursor < 2**30


def test_who_waits_for_events_is_told_of_their_end() -> None:
    """Once; who does not wait any more is not called."""
    events = Events()
    woken: list[str] = []
    given_up = lambda: woken.append("given up")  # noqa: E731 - it has to be the same object
    events.wake_on_next(given_up)
    events.wake_on_next(lambda: woken.append("waiting"))
    events.forget(given_up)
    events.close()
    events.publish("11.1", "x", "submitted")
    assert (woken, events.closed) == (["waiting"], True)


def test_stages_are_published_in_order(world: World) -> None:
    """Each stage that the job file knows was an event."""
    master = world.master()
    assert master.run("group_put", name="a").code == 0
    stages = [event["stage"] for event in master.scheduler.events.after(0)[1]]
    assert stages == ["submitted", "scheduled", "executed", "finished", "committed"]


def test_a_job_that_comes_while_the_master_goes_is_left(world: World) -> None:
    """Whoever waits for it is told to try the next master, whether it came before, or a moment too late."""
    master = world.master()
    master.scheduler.gate.close()
    early = master.admit("group_put", name="a")
    master.scheduler.close()
    late = master.admit("group_put", name="a")
    for ticket in (early, late):
        with pytest.raises(NoMaster):
            ticket.done.result(PATIENCE)
