"""Every node takes calls, and a call reaches the master once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confd.api.gateway import Gateway
from confd.api.request import UNKNOWN_METHOD, WRONG_ARGUMENTS, Credentials, Fault, Request, Unauthorized
from confd.cluster.counter import Counter
from confd.model.errors import Internal, LimitExceeded, LoginFailed, NodeOffline, NoMaster
from tests.api.conftest import run

ANN = Credentials("basic", "ann", "pw")


class Master:
    """Answers calls and remembers them."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Any] = lambda request: request.job_id or request.method

    async def call(self, request: Request) -> Any:
        """Answer one call."""
        self.requests.append(request)
        return self.answer(request)


class Nodes:
    """Node 12, which takes calls, and node 11, which may be master."""

    def __init__(self, path: Path, patience: float = 20.0) -> None:
        self.master = Master()
        self.own: Master | None = None
        self.trouble: list[Exception] = []
        self.standing_in: Master | None = None
        self.advice = "take over"
        self.remote = Gateway(11, Counter(path / "11"), lambda: self.master, self._nobody)
        self.gateway = Gateway(
            12, Counter(path / "12"), lambda: self.own, self._forward, 0.0, patience, lambda: self.standing_in,
            lambda: self.advice,
        )  # fmt: skip

    async def _nobody(self, method: str, body: Any) -> Any:
        raise NoMaster("no master is known yet")

    async def _forward(self, method: str, body: Any) -> Any:
        assert method == "api"
        if self.trouble:
            raise self.trouble.pop(0)
        travelled = msgspec.msgpack.decode(msgspec.msgpack.encode(body))
        return msgspec.msgpack.decode(msgspec.msgpack.encode(await self.remote.take(travelled)))

    async def call(self, method: str, *params: Any) -> Any:
        """Call as a client of node 12."""
        return await self.gateway.call(method, params, ANN, "10.0.0.1", "json")


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    """Give two nodes."""
    return Nodes(tmp_path)


def test_a_call_is_passed_on_as_it_came(nodes: Nodes) -> None:
    """With caller, address and an id of the node that took it; jobs alone get ids."""

    async def test() -> None:
        params = ("db_start", {"params": {"n": [1, None, b"x"]}})
        assert await nodes.call("job_exec", *params) == "12.1"
        (request,) = nodes.master.requests
        assert (request.method, request.credentials, request.peer) == ("job_exec", ANN, "10.0.0.1")
        assert (request.node, request.protocol, request.retried) == (12, "json", False)
        assert list(request.params) == list(params)
        assert await nodes.call("job_list") == "job_list"
        assert await nodes.call("job_start", "x", {}) == "12.2"

    run(test())


def test_the_master_answers_itself(nodes: Nodes) -> None:
    """Nothing is passed on."""

    async def test() -> None:
        nodes.own = Master()
        assert await nodes.call("job_exec", "x", {}) == "12.1"
        assert nodes.master.requests == []

    run(test())


def test_faults_and_refusals_travel(nodes: Nodes) -> None:
    """They are the client's, whichever node found them."""

    async def test() -> None:
        def fault(request: Request) -> Any:
            raise Fault(UNKNOWN_METHOD, "no such method")

        def refuse(request: Request) -> Any:
            raise Unauthorized("who?")

        nodes.master.answer = fault
        with pytest.raises(Fault) as caught:
            await nodes.call("x")
        assert (caught.value.code, caught.value.message) == (UNKNOWN_METHOD, "no such method")
        nodes.master.answer = refuse
        with pytest.raises(Unauthorized, match=r"who\?"):
            await nodes.call("x")

    run(test())


def test_a_broken_connection_is_retried_with_the_same_id(nodes: Nodes) -> None:
    """The master may have got the first call, so the second says that it is one."""

    async def test() -> None:
        nodes.trouble = [NodeOffline("gone"), NoMaster("not yet"), NodeOffline("gone")]
        assert await nodes.call("job_exec", "x", {}) == "12.1"
        (request,) = nodes.master.requests
        assert (request.job_id, request.retried) == ("12.1", True)
        nodes.own = Master()
        outcomes = iter([NoMaster("this master is going down"), None])

        def going(request: Request) -> Any:
            if (error := next(outcomes)) is not None:
                nodes.own = None
                raise error
            return "never"

        nodes.own.answer = going
        assert await nodes.call("job_exec", "x", {}) == "12.2"
        assert nodes.master.requests[-1].retried

    run(test())


def test_without_a_master_a_call_is_given_up(tmp_path: Path) -> None:
    """A job ends with an envelope that keeps its id, anything else with a fault; both say what to do."""

    async def test() -> None:
        nodes = Nodes(tmp_path, patience=-1.0)
        nodes.trouble = [NoMaster("no master is known yet") for _ in range(3)]
        for method in ("job_exec", "job_start"):
            envelope = await nodes.call(method, "x", {})
            assert (envelope["result_name"], envelope["result_jobid"][:3]) == ("NO_MASTER", "12.")
            assert envelope["result_desc"] == "no master answers (no master is known yet); take over"
        nodes.advice, nodes.trouble = "", [NoMaster("etcd does not answer; start it"), *nodes.trouble]
        envelope = await nodes.call("job_exec", "x", {})
        assert envelope["result_desc"] == "no master answers (etcd does not answer; start it)"
        with pytest.raises(Fault) as caught:
            await nodes.call("job_list")
        assert caught.value.code == NoMaster.code

    run(test())


def test_a_dry_run_takes_no_id(nodes: Nodes) -> None:
    """However the client writes true."""

    async def test() -> None:
        for dry in (True, 1, "true"):
            await nodes.call("job_exec", "x", {"dry_run": dry})
        await nodes.call("job_exec", "x", {"dry_run": False})
        await nodes.call("job_exec", "x", "nonsense")
        assert [request.job_id for request in nodes.master.requests] == ["", "", "", "12.1", "12.2"]

    run(test())


def test_a_counter_that_cannot_be_written_is_told(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ends in a fault that says so; calls without id go on."""

    async def test() -> None:
        def full() -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(nodes.gateway._counter, "next", full)
        with pytest.raises(Fault, match="No space left") as caught:
            await nodes.call("job_exec", "x", {})
        assert caught.value.code == LimitExceeded.code
        assert await nodes.call("job_list") == "job_list"

    run(test())


def test_many_calls_in_one(nodes: Nodes) -> None:
    """Each gets its own answer or fault, in order; one that fails does not stop the others."""

    async def test() -> None:
        def answer(request: Request) -> Any:
            if request.method == "bad":
                raise Fault(UNKNOWN_METHOD, "no")
            return request.method

        nodes.master.answer = answer
        calls = [
            {"methodName": "a", "params": [1]},
            {"methodName": "bad", "params": []},
            {"methodName": "b"},
            {"methodName": "system.multicall", "params": [[]]},
        ]
        answers = await nodes.call("system.multicall", calls)
        assert answers[0] == ["a"]
        assert answers[1] == {"faultCode": UNKNOWN_METHOD, "faultString": "no"}
        assert answers[2] == ["b"]
        assert answers[3]["faultCode"] == WRONG_ARGUMENTS
        assert list(nodes.master.requests[0].params) == [1]

    run(test())


@pytest.mark.parametrize(
    "call",
    [
        None,
        5,
        "job_list",
        [],
        {},
        {"methodName": 5},
        {"methodName": ["a"]},
        {"methodName": "a", "params": "abc"},
        {"methodName": "a", "params": {"x": 1}},
        {"methodName": "a", "params": None},
    ],
)
def test_what_is_no_call_among_many_is_a_fault(nodes: Nodes, call: Any) -> None:
    """The others are answered."""

    async def test() -> None:
        wrong, right = await nodes.call("system.multicall", [call, {"methodName": "a", "params": []}])
        assert (wrong["faultCode"], right) == (WRONG_ARGUMENTS, ["a"])

    run(test())


@pytest.mark.parametrize("params", [(), (5,), ("x",), ([], []), ([{"methodName": "a"}] * 1_001,)])
def test_many_calls_are_limited(nodes: Nodes, params: tuple[Any, ...]) -> None:
    """One list of up to a thousand."""

    async def test() -> None:
        with pytest.raises(Fault) as caught:
            await nodes.call("system.multicall", *params)
        assert caught.value.code == WRONG_ARGUMENTS
        assert nodes.master.requests == []

    run(test())


def test_strangers_among_many_calls_are_refused_as_a_whole(nodes: Nodes) -> None:
    """One 401 for the request, not a thousand tries."""

    async def test() -> None:
        def refuse(request: Request) -> Any:
            raise Unauthorized("who?")

        nodes.master.answer = refuse
        with pytest.raises(Unauthorized):
            await nodes.call("system.multicall", [{"methodName": "a"}] * 10)
        assert len(nodes.master.requests) == 1

    run(test())


def test_a_wrong_login_among_many_calls_takes_no_answers_away(nodes: Nodes) -> None:
    """It is about the user who is named in it, not about the caller; an error of the cluster is told in its place too."""

    async def test() -> None:
        def answer(request: Request) -> Any:
            if request.method == "user_login":
                raise Unauthorized("who?")
            if request.method == "broken":
                raise Internal("cannot be encoded")
            return request.method

        nodes.own = Master()
        nodes.own.answer = answer
        calls = [{"methodName": name} for name in ("user_login", "a", "user_login", "broken", "b")]
        assert await nodes.call("system.multicall", calls) == [
            {"faultCode": LoginFailed.code, "faultString": "who?"},
            ["a"],
            {"faultCode": LoginFailed.code, "faultString": "who?"},
            {"faultCode": Internal.code, "faultString": "cannot be encoded"},
            ["b"],
        ]

    run(test())


def test_a_login_that_ends_among_many_calls(nodes: Nodes) -> None:
    """What was done with it before is told, the rest is not tried any more."""

    async def test() -> None:
        def answer(request: Request) -> Any:
            if len(nodes.master.requests) > 2:
                raise Unauthorized("who?")
            return request.method

        nodes.master.answer = answer
        answers = await nodes.call("system.multicall", [{"methodName": "a"}] * 10)
        assert answers[:2] == [["a"], ["a"]]
        assert answers[2:] == [{"faultCode": LoginFailed.code, "faultString": "who?"}] * 8
        assert len(nodes.master.requests) == 3

    run(test())


def test_a_node_that_is_not_master_says_so(tmp_path: Path) -> None:
    """A call that was passed on to it is tried elsewhere."""

    async def test() -> None:
        nodes = Nodes(tmp_path)
        nodes.remote = Gateway(11, Counter(tmp_path / "x"), lambda: None, nodes._nobody)
        with pytest.raises(NoMaster):
            await nodes.remote.take({})
        await asyncio.wait_for(_eventually(nodes), 20)

    run(test())


async def _eventually(nodes: Nodes) -> None:
    call = asyncio.create_task(nodes.call("job_exec", "x", {}))
    turns = iter(range(50))

    def answering() -> Any:
        return nodes.master if next(turns, None) is None else None

    nodes.remote._answering = answering
    assert await call == "12.1"


def test_a_stand_in_answers_while_there_is_no_master(tmp_path: Path) -> None:
    """As long as no master can be reached; what it cannot answer waits, and then says who is missing."""

    async def test() -> None:
        nodes = Nodes(tmp_path, patience=0.05)
        nodes.standing_in = Master()
        nodes.standing_in.answer = lambda request: "old"
        assert await nodes.call("job_exec", "user_list") == "12.1"
        nodes.trouble = [NodeOffline("n11 was master last")]
        assert await nodes.call("job_exec", "user_list") == "old"

        def refuse(request: Request) -> Any:
            raise NoMaster("group_create needs the master")

        nodes.standing_in.answer = refuse
        nodes.trouble = [NodeOffline("n11 was master last")]
        assert await nodes.call("job_exec", "group_create") == "12.3"
        nodes.trouble = [NodeOffline("n11 was master last")] * 100_000
        envelope = await nodes.call("job_exec", "group_create")
        assert envelope["result_name"] == "NO_MASTER"
        assert "group_create needs the master: n11 was master last" in envelope["result_desc"]

    run(test())


def test_patience_begins_when_the_master_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that a master had for long is not given up when that gives its place to another one."""

    async def test() -> None:
        nodes = Nodes(tmp_path, patience=0.2)
        monkeypatch.setattr("confd.api.gateway._SERVED_SECONDS", 0.1)

        async def long(method: str, body: Any) -> Any:
            if not body["retried"]:
                await asyncio.sleep(0.3)
                raise NoMaster("gone")
            return {"value": "ended"}

        nodes.gateway._forward = long
        assert await nodes.call("job_exec", "db_start") == "ended"

    run(test())
