"""A command runs once, whoever asks for it again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confd.cluster.following.agent import Agent, Reply, Results
from confd.cluster.host import Host, reporter, reports
from confd.cluster.operations import find_operation, operation
from confd.exaconf import Conf
from confd.model.errors import Internal, NodeOffline, StorageWrite

RUNS: list[str] = []
GATE = threading.Event()
PATIENCE = 20.0


@operation("agent_test.note")
def note(host: Host, word: str, wait: bool = False, fail: bool = False) -> str:
    """Note that it ran."""
    if wait:
        assert GATE.wait(PATIENCE)
    RUNS.append(word)
    host.say(f"noted {word}")
    if fail:
        raise StorageWrite(f"no {word}")
    return word.upper()


@operation("agent_test.typed")
def typed(host: Host, by_node: dict[int, tuple[int, ...]]) -> dict[int, list[int]]:
    """Return what was given."""
    return {node: [2 * number for number in numbers] for node, numbers in by_node.items()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Give a machine."""
    return Host(11, "127.0.0.11", tmp_path, tmp_path, None, (), lambda: Conf(0, {}))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """Give the agent of the machine."""
    RUNS.clear()
    GATE.clear()
    made = Agent(Results(tmp_path / "commands.db"))
    yield made
    GATE.set()
    made.close()


def run(agent: Agent, host: Host, job: str, number: int, **arguments: Any) -> Reply:
    """Run the command and wait for it."""
    return agent.run((job, number), "agent_test.note", arguments, host.with_output).result(PATIENCE)


def test_a_repeat_gets_the_stored_result(agent: Agent, host: Host) -> None:
    """Result and output are those of the first time."""
    first = run(agent, host, "11.1", 1, word="a")
    assert first == Reply(result="A", output="noted a")
    assert run(agent, host, "11.1", 1, word="a") == first
    assert run(agent, host, "11.1", 2, word="b").result == "B"
    assert RUNS == ["a", "b"]


def test_results_survive_a_restart(tmp_path: Path, agent: Agent, host: Host) -> None:
    """A daemon that comes back answers from its file."""
    first = run(agent, host, "11.1", 1, word="a")
    agent.close()
    again = Agent(Results(tmp_path / "commands.db"))
    assert run(again, host, "11.1", 1, word="a") == first
    assert RUNS == ["a"]
    again.close()


def test_a_repeat_joins_the_running_command(agent: Agent, host: Host) -> None:
    """Both get its result."""
    arguments = {"word": "a", "wait": True}
    one = agent.run(("11.1", 1), "agent_test.note", arguments, host.with_output)
    two = agent.run(("11.1", 1), "agent_test.note", arguments, host.with_output)
    GATE.set()
    assert one.result(PATIENCE) == two.result(PATIENCE) == Reply(result="A", output="noted a")
    assert RUNS == ["a"]


def test_a_failure_is_tried_again(agent: Agent, host: Host) -> None:
    """It is reported with its code and output, and not kept."""
    reply = run(agent, host, "11.1", 1, word="a", fail=True)
    assert reply == Reply(code=StorageWrite.code, message="no a", output="noted a")
    assert run(agent, host, "11.1", 1, word="a").result == "A"
    assert RUNS == ["a", "a"]


def test_a_command_outside_of_jobs_runs_always(agent: Agent, host: Host) -> None:
    """Nothing of it is remembered."""
    run(agent, host, "", 0, word="a")
    run(agent, host, "", 0, word="a")
    assert RUNS == ["a", "a"]


@pytest.mark.parametrize("arguments", [{}, {"word": 5}, {"word": "a", "other": 1}])
def test_wrong_arguments_are_an_error(agent: Agent, host: Host, arguments: dict[str, Any]) -> None:
    """A command of another version ends INTERNAL, with its name."""
    reply = agent.run(("11.1", 1), "agent_test.note", arguments, host.with_output).result(PATIENCE)
    assert reply.code == Internal.code
    assert RUNS == []


def test_an_unknown_operation_is_an_error(agent: Agent, host: Host) -> None:
    """The message says to run the same version everywhere."""
    reply = agent.run(("11.1", 1), "agent_test.none", {}, host.with_output).result(PATIENCE)
    assert (reply.code, "same version" in reply.message) == (Internal.code, True)


@pytest.mark.parametrize("culprit", ["ran", "results"])
def test_a_command_ends_whatever_fails_around_it(agent: Agent, host: Host, culprit: str) -> None:
    """A report or a result that cannot be kept neither hides the reply nor blocks the key."""

    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    if culprit == "ran":
        agent.ran = fail
    else:
        agent._results.put = fail  # type: ignore[method-assign]
    assert run(agent, host, "11.1", 1, word="a").result == "A"
    assert run(agent, host, "11.1", 1, word="a").result == "A"
    assert agent._running == {}


def test_who_watches_is_told_before_the_reply_is_given(agent: Agent, host: Host) -> None:
    """Whoever asks for the status after the reply sees what the command did."""
    seen: list[list[str]] = []
    agent.ran = lambda: seen.append(list(RUNS))
    run(agent, host, "11.1", 1, word="a")
    assert seen == [["a"]]


def test_a_closed_agent_runs_nothing(agent: Agent, host: Host) -> None:
    """The master takes it for offline, and asks again."""
    agent.close()
    for key in (("11.1", 1), ("", 0)):
        with pytest.raises(NodeOffline):
            agent.run(key, "agent_test.note", {"word": "a"}, host.with_output)
    assert RUNS == []


def test_old_results_are_forgotten(tmp_path: Path) -> None:
    """The newest are kept."""
    results = Results(tmp_path / "few.db", kept=10)
    for number in range(1, 31):
        results.put(("11.1", number), Reply(result=number))
    known = [number for number in range(1, 31) if results.get(("11.1", number)) is not None]
    assert known == list(range(21, 31))
    results.close()


def test_arguments_and_results_keep_their_types_through_json(host: Host) -> None:
    """Numbers as keys and tuples come back as declared, and a command equals its journalled form."""
    command = typed.on(11, {11: (1, 2)})
    travelled = msgspec.json.decode(msgspec.json.encode(command), type=type(command))
    assert travelled == command
    result = find_operation(travelled.name).run(host, travelled.arguments)
    assert typed.result(msgspec.json.decode(msgspec.json.encode(result))) == {11: [2, 4]}
    assert typed.result(result) == {11: [2, 4]}


def test_a_report_that_fails_is_left_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """One service cannot make its node silent."""
    monkeypatch.setattr("confd.cluster.host._REPORTERS", {})

    @reporter("good")
    def good(host: Host) -> Any:
        return {"n": host.node}

    @reporter("bad")
    def bad(host: Host) -> Any:
        raise OSError("no")

    assert reports(host) == {"good": {"n": 11}}
