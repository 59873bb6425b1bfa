"""Each method answers as clients of the vendor's ConfD expect."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from confd.api.descriptions import METHODS
from confd.api.request import UNKNOWN_ID, UNKNOWN_METHOD, WRONG_ARGUMENTS, Fault, Unauthorized
from confd.model.errors import (
    InvalidParameter,
    LimitExceeded,
    MissingParameter,
    NoMaster,
    NotFound,
    PermissionDenied,
    UnknownJob,
    UnknownParameter,
)
from confd.scheduler.registry import READ, job
from confd.store.protocol import Kind
from confd.store.records import Submitted
from tests.api.conftest import ANYBODY, PATIENCE, Table, run


async def fault_of(table: Table, method: str, *params: Any, **more: Any) -> Fault:
    """Return the fault that a call ends with."""
    with pytest.raises(Fault) as caught:
        await table.call(method, *params, **more)
    return caught.value


def test_a_job_runs_and_its_envelope_comes_back(table: Table) -> None:
    """With the documented keys; output only when there is some."""

    async def test() -> None:
        assert await table.call("job_exec", "user_names", job_id="12.1") == {
            "result_code": 0, "result_name": "OK", "result_desc": "Success", "result_jobid": "12.1",
            "result_output": ["ann"],
        }  # fmt: skip
        envelope = await table.call("job_exec", "user_put", {"params": {}}, job_id="12.2")
        assert envelope == {
            "result_code": 0, "result_name": "OK", "result_desc": "Success", "result_jobid": "12.2",
            "result_revision": 2,
        }  # fmt: skip

    run(test())


@pytest.mark.parametrize(
    ("name", "options", "by", "error"),
    [
        ("group_putt", {}, "root", UnknownJob),
        (5, {}, "root", UnknownJob),
        ("group_put", {}, "root", MissingParameter),
        ("group_put", {"params": {"name": "x", "nam": 1}}, "root", UnknownParameter),
        ("group_put", {"params": {"name": ["x"]}}, "root", InvalidParameter),
        ("group_put", {"params": [1]}, "root", InvalidParameter),
        ("group_put", {"name": "x"}, "root", InvalidParameter),
        ("group_put", "x", "root", InvalidParameter),
        ("group_put", [{"params": {}}], "root", InvalidParameter),
        ("group_put", {"params": {"name": "x"}, "dry_run": "perhaps"}, "root", InvalidParameter),
        ("group_put", {"params": {"name": "x"}, "dry_run": 2}, "root", InvalidParameter),
        ("group_put", {"params": {"name": "x"}, "dry_run": True, "other": 1}, "root", InvalidParameter),
        ("group_put", {"params": 5, "dry_run": True}, "root", InvalidParameter),
        ("user_put", {}, "bob", PermissionDenied),
    ],
)
@pytest.mark.parametrize("method", ["job_exec", "job_start"])
def test_a_refused_call_is_an_envelope(table: Table, method: str, name: Any, options: Any, by: str, error: Any) -> None:
    """It has an id, and nothing happened; only calls that are wrong as calls are faults."""

    async def test() -> None:
        if method == "job_start" and isinstance(options, dict) and options.get("dry_run") is True:
            assert (await fault_of(table, method, name, options, by=by)).code == WRONG_ARGUMENTS
            return
        answer = await table.call(method, name, options, by=by, job_id="12.1")
        if method == "job_start":
            assert answer == "12.1"
            answer = await table.call("job_result", "12.1", by=by)
        assert answer["result_code"] == error.code
        assert answer["result_jobid"] in ("12.1", "")
        assert table.master.head.conf.revision == 1

    run(test())


class LateStore:
    """A store whose records become durable when the test says so, and which may be full until then."""

    def __init__(self, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        self._append = table.master.store.append
        self._held: list[Callable[[], None]] = []
        monkeypatch.setattr(table.master.store, "append", self.append, raising=False)

    def append(self, *record: Any, **more: Any) -> Future[Any]:
        """Append a record, the durability of which is told later."""
        done: Future[Any] = Future()
        self._held.append(lambda: done.set_result(self._append(*record, **more).result()))
        return done

    def write(self) -> None:
        """Make everything durable."""
        while self._held:
            self._held.pop(0)()


async def turns() -> None:
    """Let whatever can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


REFUSED = [("group_putt", {}, "root"), ("group_put", {}, "root"), ("user_put", {}, "bob"), ("group_put", 5, "root")]


@pytest.mark.parametrize(("name", "options", "by"), REFUSED)
def test_a_refused_call_that_is_started_gets_its_id(
    table: Table, monkeypatch: pytest.MonkeyPatch, name: str, options: Any, by: str
) -> None:
    """When it is recorded, however long that takes: it is not taken for a job that is held up."""

    async def test() -> None:
        store = LateStore(table, monkeypatch)
        starting = asyncio.create_task(table.call("job_start", name, options, by=by, job_id="12.1"))
        await turns()
        assert not starting.done()
        store.write()
        assert await asyncio.wait_for(starting, PATIENCE) == "12.1"
        assert await table.call("job_wait", "12.1", by=by) is True
        assert (await table.call("job_result", "12.1", by=by))["result_code"] != 0

    run(test())


@pytest.mark.parametrize("full_before", [True, False])
def test_what_cannot_be_recorded_is_told_at_once(
    table: Table, monkeypatch: pytest.MonkeyPatch, full_before: bool
) -> None:
    """A job that is started is told to be held up, a refused one why it was refused; neither can give its id."""

    async def test() -> None:
        store = LateStore(table, monkeypatch)
        if full_before:
            table.master.scheduler._hold_up("make room")
        calls = [table.call("job_start", "group_put", {"params": {"name": "g"}}), table.call("job_start", "group_putt")]
        tasks = [asyncio.create_task(call) for call in calls]
        await turns()
        if not full_before:
            assert not any(task.done() for task in tasks)
            table.master.scheduler._hold_up("make room")
        held, refused = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
        assert (held.code, "held up" in held.message) == (LimitExceeded.code, True)  # type: ignore[union-attr]
        assert (refused.code, "held up" in refused.message) == (UnknownJob.code, False)  # type: ignore[union-attr]
        store.write()

    run(test())


@pytest.mark.parametrize("dry", [True, 1, "true", "Yes", "1"])
def test_a_dry_run_is_never_taken_for_a_real_one(table: Table, dry: Any) -> None:
    """However a client writes true."""

    async def test() -> None:
        answer = await table.call("job_exec", "user_put", {"params": {}, "dry_run": dry})
        assert answer["result_code"] == 0
        assert "[[new]]" in answer["result_output"]["diff"]
        assert (answer["result_jobid"], table.master.head.conf.revision) == ("", 1)
        assert (await fault_of(table, "job_start", "user_put", {"dry_run": dry})).code == WRONG_ARGUMENTS

    run(test())


@pytest.mark.parametrize("dry", [False, None, 0, "false"])
def test_a_job_runs_when_no_dry_run_is_asked_for(table: Table, dry: Any) -> None:
    """However a client writes false."""

    async def test() -> None:
        answer = await table.call("job_exec", "user_put", {"dry_run": dry})
        assert answer["result_revision"] == 2

    run(test())


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("job_exec", ()),
        ("job_exec", ("a", {}, 3)),
        ("job_start", ()),
        ("job_wait", ()),
        ("job_result", (1, 2)),
        ("job_info", ()),
        ("job_list", (1,)),
        ("job_desc", ()),
        ("system.methodHelp", ()),
        ("user_state", (1,)),
        ("user_login", ("a",)),
        ("user_login", ("a", 5)),
        ("unsubscribe", ()),
    ],
)
def test_a_wrong_number_of_arguments_is_a_fault(table: Table, method: str, params: tuple[Any, ...]) -> None:
    """It says what the method takes."""

    async def test() -> None:
        fault = await fault_of(table, method, *params)
        assert fault.code == WRONG_ARGUMENTS
        assert METHODS[method].summary in fault.message

    run(test())


def test_an_unknown_method_is_a_fault(table: Table) -> None:
    """With the nearest known one; before anybody logs in."""

    async def test() -> None:
        fault = await fault_of(table, "job_exek", by="stranger")
        assert (fault.code, "did you mean job_exec?" in fault.message) == (UNKNOWN_METHOD, True)

    run(test())


def test_a_stranger_is_refused(table: Table) -> None:
    """Every method but the login needs to know who calls."""

    async def test() -> None:
        for method in METHODS.keys() - {"user_login"}:
            with pytest.raises(Unauthorized):
                await table.call(method, by="stranger")

    run(test())


def test_the_seventeen_methods_are_listed_and_explained(table: Table) -> None:
    """Each has a help text; signatures are not supported."""

    async def test() -> None:
        names = await table.call("system.listMethods")
        assert len(names) == len(set(names)) == 17
        for name in names:
            assert METHODS[name].summary in await table.call("system.methodHelp", name)
            assert await table.call("system.methodSignature", name) == "signatures not supported"
        for method in ("system.methodHelp", "system.methodSignature"):
            assert (await fault_of(table, method, "none")).code == UNKNOWN_METHOD

    run(test())


def test_jobs_are_listed_and_described(table: Table) -> None:
    """An unknown one is answered, not a fault."""

    async def test() -> None:
        assert await table.call("job_list") == ["group_put", "user_names", "user_put"]
        known, description = await table.call("job_desc", "group_put")
        assert (known, len(description)) == (True, 12)
        assert await table.call("job_desc", "group_pu") == [
            False, "there is no job 'group_pu' (did you mean group_put?); job_list shows all",
        ]  # fmt: skip
        assert "Description:" in await table.call("job_help", "group_put")
        assert "no job" in await table.call("job_help", "x")

    run(test())


def test_a_started_job_is_waited_for(table: Table) -> None:
    """job_start returns the id at once; job_wait, job_finished and job_result follow it."""

    async def test() -> None:
        job = await table.call("job_start", "group_put", {"params": {"name": "g", "wait": True}}, job_id="12.7")
        assert job == "12.7"
        assert table.master.real.unfinished() == [job]
        assert await table.call("job_wait", job, {"timeout": 0.01}) is False
        assert await table.call("job_wait", job, {"timeout": 0}) is False
        assert await table.call("job_finished", job) is False
        result = asyncio.create_task(table.call("job_result", job))
        waiting = asyncio.create_task(table.call("job_wait", job))
        table.gate.set()
        assert await asyncio.wait_for(waiting, PATIENCE) is True
        assert (await asyncio.wait_for(result, PATIENCE))["result_output"] == "g"
        assert await table.call("job_finished", job) is True
        assert await table.call("job_wait", job, {"timeout": 5}) is True
        assert (await table.call("job_result", job))["result_jobid"] == job
        info = await table.call("job_info", {"job_id": job})
        assert info["request"] == {"method": "job_start", "protocol": "xmlrpc", "peer": "10.0.0.1", "node": 11}
        assert info["stage"] == "committed"
        assert await table.call("job_info", job) == info

    run(test())


def test_a_job_of_another_master_has_not_ended(table: Table) -> None:
    """A master that was deposed and does not know it yet gets the records of the next one: it says nothing of its jobs."""

    async def test() -> None:
        body = Submitted("group_put", "modify", "root", 0, {}, {"name": "g"})
        table.master.store.append(Kind.SUBMITTED, "13.5", body).result()
        for method in ("job_wait", "job_finished", "job_result"):
            with pytest.raises(NoMaster, match=r"13\.5"):
                await table.call(method, "13.5")
        assert (await table.call("job_info", "13.5"))["stage"] == "submitted"

    run(test())


def test_a_wait_that_is_given_up_does_not_end_the_job(table: Table) -> None:
    """A client that hangs up takes nothing with it."""

    async def test() -> None:
        job = await table.call("job_start", "group_put", {"params": {"name": "g", "wait": True}})
        waiting = asyncio.create_task(table.call("job_wait", job))
        exec_ = asyncio.create_task(table.call("job_result", job))
        await table.call("job_finished", job)
        waiting.cancel()
        exec_.cancel()
        await asyncio.gather(waiting, exec_, return_exceptions=True)
        table.gate.set()
        assert await asyncio.wait_for(table.call("job_wait", job), PATIENCE) is True
        assert (await table.call("job_result", job))["result_code"] == 0

    run(test())


def test_the_limit_of_the_job_itself_takes_precedence(table: Table) -> None:
    """A timeout among the job's parameters overrides the caller's."""

    async def test() -> None:
        params = {"name": "g", "wait": True, "timeout": 3600}
        job = await table.call("job_start", "group_put", {"params": params})
        waiting = asyncio.create_task(table.call("job_wait", job, {"timeout": 0.001}))
        await table.call("job_finished", job)
        table.gate.set()
        assert await asyncio.wait_for(waiting, PATIENCE) is True

    run(test())


@pytest.mark.parametrize("timeout", ["soon", [1], {}])
def test_a_timeout_that_is_no_number_is_a_fault(table: Table, timeout: Any) -> None:
    """It says what was sent."""

    async def test() -> None:
        job = await table.call("job_start", "group_put", {"params": {"name": "g", "wait": True}})
        assert (await fault_of(table, "job_wait", job, {"timeout": timeout})).code == WRONG_ARGUMENTS

    run(test())


@pytest.mark.parametrize("timeout", [-5, "0", math.nan, False])
def test_odd_timeouts_do_not_wait(table: Table, timeout: Any) -> None:
    """What is not more than nothing is nothing."""

    async def test() -> None:
        job = await table.call("job_start", "group_put", {"params": {"name": "g", "wait": True}})
        assert await asyncio.wait_for(table.call("job_wait", job, {"timeout": timeout}), PATIENCE) is False

    run(test())


@pytest.mark.parametrize("timeout", [10**400, math.inf, 1e300])
def test_a_very_long_timeout_is_a_long_wait(table: Table, timeout: Any) -> None:
    """It ends with the job."""

    async def test() -> None:
        job = await table.call("job_start", "group_put", {"params": {"name": "g", "wait": True}})
        if isinstance(timeout, int):
            assert (await fault_of(table, "job_wait", job, {"timeout": timeout})).code == WRONG_ARGUMENTS
            return
        waiting = asyncio.create_task(table.call("job_wait", job, {"timeout": timeout}))
        await table.call("job_finished", job)
        table.gate.set()
        assert await asyncio.wait_for(waiting, PATIENCE) is True

    run(test())


@pytest.mark.parametrize("job_id", ["99.1", "", None, 5, ["x"], "x" * 10_000])
def test_an_unknown_id_is_told(table: Table, job_id: Any) -> None:
    """job_wait and job_finished fault, job_result and job_info answer with an envelope."""

    async def test() -> None:
        for method in ("job_wait", "job_finished"):
            fault = await fault_of(table, method, job_id)
            assert (fault.code, len(fault.message) < 300) == (UNKNOWN_ID, True)
        assert (await table.call("job_result", job_id))["result_code"] == NotFound.code
        assert (await table.call("job_info", {"job_id": job_id}))["result_code"] == NotFound.code

    run(test())


def test_jobs_of_others_are_not_visible(table: Table) -> None:
    """While they run and when they ended; administrators see all."""

    async def test() -> None:
        mine = await table.call("job_start", "group_put", {"params": {"name": "g", "wait": True}})
        for _ in range(2):
            assert (await fault_of(table, "job_wait", mine, by="bob")).code == UNKNOWN_ID
            assert (await table.call("job_info", mine, by="bob"))["result_code"] == NotFound.code
            assert (await table.call("job_result", mine, by="bob"))["result_code"] == NotFound.code
            table.gate.set()
            await table.call("job_wait", mine)
        his = await table.call("job_start", "group_put", {"params": {"name": "h"}}, by="bob")
        assert await table.call("job_wait", his, by="bob") is True
        assert (await table.call("job_result", his))["result_code"] == 0
        events = (await table.call("subscribe", {"after": 0, "timeout": 0}, by="bob"))["events"]
        assert {event["job_id"] for event in events} == {his}
        every = (await table.call("subscribe", {"after": 0, "timeout": 0}))["events"]
        assert {event["job_id"] for event in every} == {mine, his}

    run(test())


def test_stages_are_waited_for(table: Table) -> None:
    """A subscriber is woken by the next event, and goes on from its cursor; the end of the master is told at once."""

    async def test() -> None:
        start = await table.call("subscribe", {"timeout": 0})
        assert start["events"] == []
        waiting = asyncio.create_task(table.call("subscribe", {"after": start["cursor"], "timeout": 60}))
        await table.call("job_exec", "group_put", {"params": {"name": "g"}}, job_id="12.9")
        seen, cursor = [], start["cursor"]
        answer = await asyncio.wait_for(waiting, PATIENCE)
        while True:
            seen += [event["stage"] for event in answer["events"]]
            cursor = answer["cursor"]
            if "committed" in seen:
                break
            again = table.call("subscribe", {"after": cursor, "timeout": 60, "jobs": ["12.9"]})
            answer = await asyncio.wait_for(again, PATIENCE)
        assert seen == ["submitted", "scheduled", "executed", "finished", "committed"]
        nobody = await table.call("subscribe", {"after": 0, "timeout": 0, "jobs": ["1.1"]})
        assert nobody["events"] == []
        assert await table.call("unsubscribe", cursor) is True
        last = asyncio.create_task(table.call("subscribe", {"timeout": 60}))
        await asyncio.sleep(0)
        table.master.scheduler.close()
        with pytest.raises(NoMaster):
            await asyncio.wait_for(last, PATIENCE)

    run(test())


@pytest.mark.parametrize("options", [{"after": "x"}, {"after": None}, {"jobs": "12.9"}, {"jobs": 5}, {"timeout": "x"}])
def test_wrong_options_of_subscribe_are_faults(table: Table, options: Any) -> None:
    """Each says what it should be."""

    async def test() -> None:
        assert (await fault_of(table, "subscribe", options)).code == WRONG_ARGUMENTS

    run(test())


def test_the_caller_is_described(table: Table) -> None:
    """Name, id, groups, and how he logged in."""

    async def test() -> None:
        assert await table.call("user_state", by="bob") == {
            "name": "bob", "id": 1002, "groups": ["exausers"], "login": "basic",
        }  # fmt: skip

    run(test())


def test_a_defect_in_a_dry_run_or_a_read_job_is_an_envelope(table: Table) -> None:
    """No exception gets out of the method table but Fault and Unauthorized."""

    @job(READ, allow=ANYBODY)
    def broken(ctx: Any) -> None:
        """Fail with the very error that a wrong call raises."""
        raise TypeError("takes 1 positional argument")

    async def test() -> None:
        for options in ({}, {"dry_run": True}):
            assert (await table.call("job_exec", "broken", options))["result_code"] == 901

    run(test())
