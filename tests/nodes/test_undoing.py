"""Of a command that is undone nothing is left, in whatever order the two come to a node, and how often."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confd.cluster.following.agent import Agent, Reply, Results
from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.model.errors import NodeOffline, StorageWrite, WrongState

PATIENCE = 20.0
COMMAND, UNDO = ("11.1", 3), ("11.1", -3)


class Life:
    """One daemon: its threads do nothing more once it is dead."""

    def __init__(self) -> None:
        self.go, self.dead = threading.Event(), False
        self.go.set()


class Place:
    """A node whose daemon ends and begins: what its commands left, and who acts there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left: set[str] = set()
        self.ran: list[str] = []
        self.life, self.fails = Life(), False
        self.agent = Agent(Results(root / "commands.db"))
        self.running: list[Future[Reply]] = []

    def arrives(self, key: tuple[str, int], name: str) -> Future[Reply]:
        """Have the agent get a command."""
        acting: Any = Acting(self, self.life)
        future = self.agent.run(key, name, {}, lambda lines: acting)
        self.running.append(future)
        return future

    def hold(self) -> None:
        """Have commands wait half done from now on."""
        self.life.go.clear()

    def release(self) -> None:
        """Let commands end, and wait for that."""
        self.life.go.set()
        wait(self.running, PATIENCE)

    def die(self) -> None:
        """Kill the daemon with its threads, and start the next one."""
        life, self.life = self.life, Life()
        life.dead = True
        life.go.set()
        self.agent.close()
        self.agent._pool.shutdown(wait=True)
        self.running.clear()
        self.agent = Agent(Results(self.root / "commands.db"))

    def close(self) -> None:
        """Be gone."""
        self.die()
        self.agent.close()


class Acting(NamedTuple):
    """What the operations of these tests get as their host: the place, and the life in which they act."""

    place: Place
    life: Life

    def check(self) -> None:
        """Let the dead do nothing."""
        if self.life.dead:
            raise NodeOffline("dead")


@operation("undoing_test.reserve")
def reserve(host: Host) -> None:
    """Leave two things, with a pause between them; it may fail then."""
    acting = cast(Acting, host)
    place = acting.place
    acting.check()
    place.ran.append("reserve")
    place.left.add("first")
    assert acting.life.go.wait(PATIENCE)
    acting.check()
    place.left.add("second")
    if place.fails:
        raise StorageWrite("full")


@operation("undoing_test.release")
def release(host: Host) -> None:
    """Take away what is there; nothing may be."""
    acting = cast(Acting, host)
    acting.check()
    acting.place.ran.append("release")
    acting.place.left.clear()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Give a node."""
    made = Place(tmp_path)
    yield made
    made.close()


def reply(future: Future[Reply]) -> Reply:
    """Wait for the end of a command."""
    return future.result(PATIENCE)


def test_an_undo_waits_for_its_command(place: Place) -> None:
    """A command may still be under way when its master, which took the node for dead, has it undone."""
    place.hold()
    command = place.arrives(COMMAND, "undoing_test.reserve")
    undo = place.arrives(UNDO, "undoing_test.release")
    assert place.arrives(UNDO, "undoing_test.release") is undo
    place.release()
    assert (reply(command).code, reply(undo).code) == (0, 0)
    assert place.ran == ["reserve", "release"]
    assert place.left == set()


def test_a_command_that_comes_after_its_undo_is_refused(place: Place) -> None:
    """It was on its way when its master gave it up; also another daemon refuses it."""
    assert reply(place.arrives(UNDO, "undoing_test.release")).code == 0
    for _ in range(2):
        late = reply(place.arrives(COMMAND, "undoing_test.reserve"))
        assert late.code == WrongState.code
        assert "is undone" in late.message
        place.die()
    assert place.ran == ["release"]
    assert reply(place.arrives(("11.1", 4), "undoing_test.reserve")).code == 0, "another command of the job is not"


def test_a_command_that_comes_while_its_undo_waits_its_turn_is_refused(place: Place) -> None:
    """The undo is the first to have come, even if it has not begun."""
    place.hold()
    for number in range(4, 4 + 40):
        place.arrives(("11.1", number), "undoing_test.reserve")
    undo = place.arrives(UNDO, "undoing_test.release")
    assert not undo.done()
    assert reply(place.arrives(COMMAND, "undoing_test.reserve")).code == WrongState.code
    place.release()
    assert reply(undo).code == 0


def test_more_undos_than_threads_wait_for_their_commands(place: Place) -> None:
    """They do not keep the commands from running for which they wait."""
    place.hold()
    for number in range(1, 40):
        place.arrives(("11.1", number), "undoing_test.reserve")
    for number in range(1, 40):
        place.arrives(("11.1", -number), "undoing_test.release")
    place.release()
    assert {reply(future).code for future in place.running} == {0}
    assert place.left == set()


def test_a_command_that_failed_is_not_tried_again_once_it_is_undone(place: Place) -> None:
    """A failure is not kept, that it was undone is."""
    place.fails = True
    assert reply(place.arrives(COMMAND, "undoing_test.reserve")).code == StorageWrite.code
    assert reply(place.arrives(UNDO, "undoing_test.release")).code == 0
    assert reply(place.arrives(COMMAND, "undoing_test.reserve")).code == WrongState.code
    assert place.left == set()


def test_a_command_is_undone_even_if_that_cannot_be_noted(place: Place) -> None:
    """A full disk must not keep what fills it."""

    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    place.arrives(COMMAND, "undoing_test.reserve")
    place.release()
    place.agent._results.put = fail  # type: ignore[method-assign]
    assert reply(place.arrives(UNDO, "undoing_test.release")).code == 0
    assert place.left == set()


#: What may happen at the node from the moment at which the master sends the command.
EVENTS = ("command", "undo", "hold", "release", "die", "fails")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), max_size=10))
def test_nothing_is_left_of_an_undone_command(events: list[str]) -> None:
    """Commands and undos come late, twice, while the other one runs, to a daemon that was started anew."""
    with tempfile.TemporaryDirectory() as directory:
        place = Place(Path(directory))
        for event in events:
            if event == "command":
                place.arrives(COMMAND, "undoing_test.reserve")
            elif event == "undo":
                place.arrives(UNDO, "undoing_test.release")
            elif event == "fails":
                place.fails = not place.fails
            else:
                {"hold": place.hold, "release": place.release, "die": place.die}[event]()
        # The master sends the undo until it is done; what was on its way all the time comes after that.
        last = place.arrives(UNDO, "undoing_test.release")
        place.arrives(COMMAND, "undoing_test.reserve")
        place.release()
        assert reply(last).code == 0
        place.arrives(COMMAND, "undoing_test.reserve")
        place.die()
        place.arrives(COMMAND, "undoing_test.reserve")
        place.release()
        place.close()
        assert place.left == set()
