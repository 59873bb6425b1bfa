"""A job ends once and for all, wherever the master dies on the way."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confd.exaconf import User
from confd.model.errors import Interrupted, NodeOffline, NotFound, StorageWrite
from confd.model.secret import Secret, Vault
from confd.scheduler.context import Context
from confd.scheduler.debts import command_key, is_debt
from confd.scheduler.locks import Lock
from confd.scheduler.registry import MODIFY, Allow, Job, job
from confd.scheduler.steps import as_command
from confd.store.protocol import Kind
from confd.store.records import Step, Submitted
from tests.scheduler.world import PATIENCE, Crash, World, make, refuse, remove

ROOT = Allow(users=("root",))
LOCK = [lambda conf, values: [Lock("thing:1")]]


@pytest.fixture(autouse=True)
def declared(jobs: dict[str, Job]) -> dict[str, Job]:
    """Declare the jobs of these tests."""

    @job(MODIFY, allow=ROOT, locks=LOCK)
    def build(ctx: Context, name: str, *, fail: bool = False) -> dict[str, Any]:
        """Make files on nodes, change EXAConf and records, and remove what was there before.

        :param name: of the files
        :param fail: fail at the end
        """
        token = ctx.token()
        number = ctx.next_number("thing", 3)
        ctx.run(make.on(11, f"{name}-a", (1, 2), {7: token}), remove.on(11, f"{name}-a"))
        given = ctx.run_all(
            [
                (make.on(11, f"{name}-b", (3,), {8: token}), remove.on(11, f"{name}-b")),
                (make.on(12, f"{name}-c", (), {9: token}), remove.on(12, f"{name}-c")),
            ]
        )
        assert given == [{8: token}, {9: token}]
        started = ctx.now()
        ctx.run(make.on(12, f"{name}-d"), remove.on(12, f"{name}-d"))
        ctx.conf.put(User(name=name, id=2000 + number, group="exaadm"))
        ctx.put_record(f"thing/{name}", {"token": token, "number": number})
        ctx.settle(remove.on(11, "old"))
        ctx.settle(remove.on(12, "old"))
        ctx.warn("as told")
        if fail:
            raise NotFound("there is no such thing")
        return {"token": token, "at": started, "number": number}

    return jobs


MADE = {"n11/x-a": 1, "n11/x-b": 1, "n12/x-c": 1, "n12/x-d": 1}


def prepare(world: World) -> None:
    """Lay down what the job removes."""
    for host in world.hosts.values():
        (host.root / "old").write_text("old\n")


def steps_of(tmp_path: Path, **given: Any) -> int:
    """Return how many steps a master takes for the job."""
    (tmp_path / "rehearsal").mkdir()
    world = World(tmp_path / "rehearsal")
    prepare(world)
    master = world.master()
    master.run("build", name="x", **given)
    world.close()
    return master.life.happened


def lives(tmp_path: Path, **given: Any) -> Iterator[tuple[int, World]]:
    """Give a world for every moment at which the master of the job may die; it is dead."""
    for step in range(1, steps_of(tmp_path, **given) + 1):
        (root := tmp_path / str(step)).mkdir()
        world = World(root)
        prepare(world)
        first = world.master(steps=step)
        first.tickets.clear()
        with contextlib.suppress(Crash):
            first.admit("build", name="x", job_id="11.7", **given)
        first.die_or_end()
        yield step, world
        world.close()


def check_built(world: World, master: Any, outcome: Any) -> None:
    """Check that every effect of the job is there, once."""
    assert outcome.code == 0
    assert outcome.warnings == ("as told",)
    assert world.files() == MADE
    assert master.head.conf.revision == 2
    assert master.head.conf.users["x"].id == 2003
    assert master.head.records == {
        "numbers/thing": 4,
        "thing/x": {"token": outcome.output["token"], "number": 3},
    }


def check_undone(world: World, master: Any) -> None:
    """Check that the job left nothing."""
    assert world.files() == {"n11/old": 1, "n12/old": 1}
    assert master.head.conf.revision == 1
    assert "x" not in master.head.conf.users
    assert set(master.head.records) <= {"numbers/thing"}


def test_a_job_does_what_it_promises(world: World) -> None:
    """Commands, revision, records and settling commands happen; the job file tells of all of them."""
    prepare(world)
    master = world.master()
    outcome = master.run("build", name="x")
    check_built(world, master, outcome)
    assert (outcome.revision, master.real.unfinished()) == (2, [])
    file = master.scheduler.file("11.1")
    assert file is not None
    info = file.info()
    assert list(info["stages"]) == ["submitted", "scheduled", "executed", "finished", "committed"]
    assert (info["base_revision"], info["revision"], info["locks"]) == (1, 2, ["all (shared)", "thing:1"])
    assert [command["name"] for command in info["commands"]] == [
        "learn random", "learn numbers/thing", "test.make", "test.make", "test.make", "learn time", "test.make",
    ]  # fmt: skip
    assert info["commands"][2]["output"] == "made x-a"
    assert info["result"]["result_output"] == outcome.output


def test_a_record_is_stamped_with_the_revision_that_its_job_makes(world: World, jobs: dict[str, Job]) -> None:
    """Not with the one before, between which and it others may have committed; nothing is stamped without one."""
    prepare(world)
    master = world.master()

    @job(MODIFY, allow=ROOT)
    def mark(ctx: Context, *, change: bool = False) -> None:
        """Mark when it committed.

        :param change: change EXAConf
        """
        ctx.stamp_record(f"marked/{change}")
        if change:
            ctx.conf.put(User(name="later", id=3000, group="exaadm"))
            assert master.run("build", name="x").revision == 2

    assert master.run("mark", change=True).revision == 3
    assert master.run("mark").revision is None
    master.close()
    for records in (master.head.records, world.master().head.records):
        assert {key: value for key, value in records.items() if key.startswith("marked/")} == {
            "marked/True": {"revision": 3}
        }


def test_a_failed_job_is_undone(world: World) -> None:
    """The error is the outcome, undos ran in reverse, nothing has changed."""
    prepare(world)
    master = world.master()
    outcome = master.run("build", name="x", fail=True)
    assert (outcome.code, outcome.message) == (NotFound.code, "there is no such thing")
    check_undone(world, master)
    undos = [key for key, name in world.sent if name == "test.remove"]
    assert undos == [("11.1", -7), ("11.1", -5), ("11.1", -4), ("11.1", -3)]


def test_a_job_survives_a_crash_at_every_moment(tmp_path: Path) -> None:
    """After the next start it is done, every effect exactly once, with what it had learned before."""
    for step, world in lives(tmp_path):
        second = world.master()
        outcome = second.finish("11.7")
        check_built(world, second, outcome)
        assert second.real.unfinished() == [], step
        kinds = [record.kind for record in second.records("11.7")]
        assert kinds.count(Kind.LEARNED) == 3
        assert kinds.count(Kind.FINISHED) == kinds.count(Kind.COMMITTED) == kinds.count(Kind.SUBMITTED) == 1
        assert kinds.count(Kind.COMMAND) == 4


def test_a_failing_job_survives_a_crash_at_every_moment(tmp_path: Path) -> None:
    """After the next start it has failed with its own error, and nothing is left of it."""
    for step, world in lives(tmp_path, fail=True):
        second = world.master()
        outcome = second.finish("11.7")
        assert outcome.code == NotFound.code, step
        check_undone(world, second)
        assert second.real.unfinished() == []


def test_two_crashes_are_not_worse_than_one(tmp_path: Path) -> None:
    """A master that dies while it recovers leaves the job to the next one."""
    for fail, (first, second) in itertools.product((False, True), [(4, 3), (9, 1), (9, 4), (14, 2), (18, 3), (24, 2)]):
        (root := tmp_path / f"{fail}-{first}-{second}").mkdir()
        world = World(root)
        prepare(world)
        one = world.master(steps=first)
        one.admit("build", name="x", job_id="11.7", fail=fail)
        one.die_or_end()
        two = world.master(steps=second)
        two.tickets += filter(None, [two.scheduler.ticket("11.7")])
        two.die_or_end()
        three = world.master()
        outcome = three.finish("11.7")
        if fail:
            assert outcome.code == NotFound.code
            check_undone(world, three)
        else:
            check_built(world, three, outcome)
        world.close()


def test_another_version_undoes_what_is_not_finished(tmp_path: Path) -> None:
    """Until COMMIT the job ends INTERRUPTED without effect; before its start and after COMMIT it goes on."""
    seen = set()
    for _, world in lives(tmp_path):
        before = world.master(recover=False).scheduler.file("11.7")
        world.masters[-1].close()
        assert before is not None
        second = world.master(software="2")
        outcome = second.finish("11.7")
        if before.scheduled is not None and before.finished is None:
            assert outcome.code == Interrupted.code
            assert "version 1" in outcome.message
            check_undone(world, second)
        else:
            check_built(world, second, outcome)
        seen.add(outcome.code)
    assert seen == {0, Interrupted.code}


@pytest.mark.parametrize("change", ["other command", "other question", "fewer steps"])
def test_a_job_that_asks_something_else_is_undone(world: World, jobs: dict[str, Job], change: str) -> None:
    """A replay that differs from its record ends INTERRUPTED, with every recorded undo."""
    prepare(world)
    first = world.master(steps=12)
    first.admit("build", name="x", job_id="11.7")
    first.die_or_end()
    assert "n11/x-a" in world.files()
    del jobs["build"]

    @job(MODIFY, allow=ROOT, locks=LOCK)
    def build(ctx: Context, name: str, *, fail: bool = False) -> str:
        """Do something else.

        :param name: of the files
        :param fail: not used
        """
        token = ctx.token()
        if change == "other question":
            ctx.now()
        if change == "other command":
            ctx.next_number("thing", 3)
            ctx.run(make.on(12, "other"), remove.on(12, "other"))
        ctx.conf.put(User(name=name, id=2003, group="exaadm"))
        return token

    second = world.master()
    outcome = second.finish("11.7")
    assert outcome.code == Interrupted.code
    check_undone(world, second)


def test_a_job_that_the_software_has_no_longer_is_undone(world: World, jobs: dict[str, Job]) -> None:
    """It does not keep the master from starting."""
    prepare(world)
    first = world.master(steps=12)
    first.admit("build", name="x", job_id="11.7")
    first.die_or_end()
    jobs.clear()
    second = world.master()
    assert second.finish("11.7").code == Interrupted.code
    check_undone(world, second)


def test_one_job_that_cannot_be_read_does_not_stop_recovery(world: World) -> None:
    """The others go on."""
    prepare(world)
    first = world.master()
    sealed = Vault(Vault.new_key()).seal(Secret("of another cluster"))
    first.store.append(Kind.SUBMITTED, "11.1", Submitted("build", "modify", "root", 0, {}, {"name": sealed}))
    first.store.append(Kind.SUBMITTED, "11.2", Submitted("build", "modify", "root", 0, {}, {"name": "x"})).result()
    first.close()
    second = world.master()
    assert second.finish("11.2").code == 0
    assert second.real.unfinished() == ["11.1"]


def test_an_undo_on_an_offline_node_becomes_a_debt(world: World) -> None:
    """The job ends at once; what is left to undo is a runtime record, kept across restarts."""
    prepare(world)
    master = world.master()
    real = master.send

    def send(job_id: str, number: int, command: Any) -> Any:
        if number < 0:
            world.offline.add(12)
        return real(job_id, number, command)

    master.send = send  # type: ignore[method-assign]
    outcome = master.run("build", name="x", fail=True)
    assert outcome.code == NotFound.code
    debts = {key: value for key, value in master.head.records.items() if key.startswith("settle/")}
    assert {key: (value["node"], value["arguments"]["name"]) for key, value in debts.items()} == {
        "settle/11.1/-5": (12, "x-c"),
        "settle/11.1/-7": (12, "x-d"),
    }
    assert world.files() == {"n11/old": 1, "n12/old": 1, "n12/x-c": 1, "n12/x-d": 1}
    master.close()
    again = world.master()
    assert {key for key in again.head.records if key.startswith("settle/")} == set(debts)


def test_debts_of_undos_survive_a_crash_at_every_moment(tmp_path: Path) -> None:
    """Whatever an offline node still holds of a failed job is known after the next start."""
    for step in range(1, 40):
        (root := tmp_path / str(step)).mkdir()
        world = World(root)
        first = world.master(steps=step)
        real = first.send

        def send(job_id: str, number: int, command: Any, world: World = world, real: Any = real) -> Any:
            if number < 0:
                world.offline.add(12)
            return real(job_id, number, command)

        first.send = send  # type: ignore[method-assign]
        with contextlib.suppress(Crash):
            first.admit("build", name="x", job_id="11.7", fail=True)
        first.die_or_end()
        second = world.master()
        assert second.finish("11.7").code == NotFound.code
        owed = {v["arguments"]["name"] for k, v in second.head.records.items() if k.startswith("settle/")}
        assert {name for name in world.files() if name.startswith("n12/")} <= {f"n12/{name}" for name in owed}
        assert not any(name.startswith("n11/") for name in world.files())
        world.close()


def test_a_node_that_is_cut_off_holds_nothing_of_a_job_that_went_back(world: World) -> None:
    """Its command runs on there, and what it leaves is taken away after it: what is owed waits for its end."""
    master, go = world.master(), threading.Event()
    real, agent, host = master.send, world.agents[12], world.hosts[12]
    stranded: list[Any] = []

    def place(lines: list[str]) -> Any:
        assert go.wait(PATIENCE)
        return host.with_output(lines)

    def send(job_id: str, number: int, command: Any) -> Any:
        if command.node == 12:
            world.offline.add(12)
            if number > 0:
                stranded.append(agent.run((job_id, number), command.name, command.arguments, place))
        return real(job_id, number, command)

    master.send = send  # type: ignore[method-assign]
    assert master.run("build", name="x").code == NodeOffline.code
    owed = {key: as_command(msgspec.convert(v, Step)) for key, v in master.head.records.items() if is_debt(key)}
    assert [command.node for command in owed.values()] == [12]
    paid = [
        agent.run(command_key(key), command.name, command.arguments, host.with_output) for key, command in owed.items()
    ]
    go.set()
    assert [one.result(PATIENCE).code for one in (*stranded, *paid)] == [0, 0]
    assert world.files() == {}


def test_an_undo_that_fails_is_told(world: World, jobs: dict[str, Job]) -> None:
    """The job ends with its own error and a warning that says what is left where."""

    @job(MODIFY, allow=ROOT)
    def stick(ctx: Context) -> None:
        """Make something that cannot be undone."""
        ctx.run(make.on(11, "stuck"), remove.on(11, "stuck"))
        ctx.run(make.on(12, "loose"), remove.on(12, "loose"))
        ctx.run(refuse.on(12))

    master = world.master()
    outcome = master.run("stick")
    assert outcome.code == StorageWrite.code
    assert [warning for warning in outcome.warnings if "n11" in warning and "the disk says no" in warning]
    assert world.files() == {"n11/stuck": 1}


def test_a_settling_command_that_fails_stays_a_debt(world: World) -> None:
    """The job is committed with a warning; the command is repeated until it is done."""
    prepare(world)
    master = world.master()
    real = master.send

    def send(job_id: str, number: int, command: Any) -> Any:
        if job_id.startswith("settle/"):
            world.offline.add(12)
        return real(job_id, number, command)

    master.send = send  # type: ignore[method-assign]
    outcome = master.run("build", name="x")
    assert outcome.code == 0
    assert any("test.remove on n12" in warning for warning in outcome.warnings)
    assert [key for key in master.head.records if key.startswith("settle/")] == ["settle/11.1/1"]
    assert world.files() == MADE | {"n12/old": 1}


def test_a_node_that_is_late_is_named(world: World) -> None:
    """The job is committed with a warning."""
    prepare(world)
    world.late = [12]
    outcome = world.master().run("build", name="x")
    assert (outcome.code, outcome.revision) == (0, 2)
    assert "n12" in outcome.warnings[-1]


def test_a_defect_of_a_job_is_an_answer(world: World, jobs: dict[str, Job]) -> None:
    """An exception of any kind, and a result that is no JSON, undo the job and end it INTERNAL."""

    @job(MODIFY, allow=ROOT)
    def crash(ctx: Context) -> None:
        """Fail."""
        ctx.run(make.on(11, "x"), remove.on(11, "x"))
        raise ZeroDivisionError("oops")

    @job(MODIFY, allow=ROOT)
    def odd(ctx: Context) -> object:
        """Return something odd."""
        ctx.run(make.on(11, "x"), remove.on(11, "x"))
        return object()

    @job(MODIFY, allow=ROOT)
    def odd_record(ctx: Context) -> None:
        """Record something odd."""
        ctx.run(make.on(11, "x"), remove.on(11, "x"))
        ctx.put_record("k", object())

    @job(MODIFY, allow=ROOT)
    def odd_text(ctx: Context) -> str:
        """Return text that cannot be encoded."""
        ctx.run(make.on(11, "x"), remove.on(11, "x"))
        return "\ud800"

    master = world.master()
    for name in ("crash", "odd", "odd_record", "odd_text"):
        outcome = master.run(name)
        assert (outcome.code, world.files()) == (901, {}), name
        assert name in outcome.message
    assert master.real.unfinished() == []
    assert master.head.conf.revision == 1


def test_a_resigned_master_records_nothing(world: World, jobs: dict[str, Job]) -> None:
    """A job that is on its way when the master goes down is left as it is, and goes on after the next start."""
    reached, go = threading.Event(), threading.Event()
    broken = True

    @job(MODIFY, allow=ROOT, locks=LOCK)
    def slow(ctx: Context) -> str:
        """Wait."""
        ctx.run(make.on(11, "x"), remove.on(11, "x"))
        reached.set()
        assert go.wait(30)
        if broken:
            raise NodeOffline("a part of the master is closed already")
        return "done"

    first = world.master()
    ticket = first.admit("slow", job_id="11.7")
    first.admit("slow", job_id="11.8")
    assert reached.wait(30)
    first.scheduler.close()
    go.set()
    assert ticket.done.exception(30) is not None
    first.close()
    assert world.files() == {"n11/x": 1}
    broken = False
    second = world.master()
    assert second.finish("11.7").output == "done"
    assert second.finish("11.8").output == "done"


def test_a_secret_result_is_told_once(world: World, jobs: dict[str, Job]) -> None:
    """Who waits for the job gets it; the journal keeps it sealed, and whoever looks later sees that it is hidden."""

    @job(MODIFY, allow=ROOT, locks=LOCK)
    def reveal(ctx: Context) -> Secret:
        """Make a secret."""
        return Secret("open sesame")

    master = world.master()
    outcome = master.admit("reveal", job_id="11.7").done.result(30)
    assert outcome.output == "open sesame"
    assert master.finish("11.7").output == "***"
    assert not any(b"sesame" in bytes(record.body) for record in master.records("11.7"))
