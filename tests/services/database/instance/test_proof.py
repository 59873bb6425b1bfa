"""What counts as seen dead: no server, no keeper, no daemon, whatever words the daemon was started with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from confd.services.database.instance.proof import gone, machine
from confd.services.database.observed import Place

LOCKS = """
import fcntl, sys
lock = open("spool/confd.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("locked", flush=True)
sys.stdin.read()
"""
WAITS = "import sys; print('here', flush=True); sys.stdin.read()"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A node on which nothing runs."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "data").mkdir()
    return Place(machine(), str(tmp_path), str(tmp_path / "data"))


@pytest.fixture
def run() -> Iterator[Callable[..., None]]:
    """Run a script in the background until the test ends or stops it."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(script: str, where: Path, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", script, *words]
        process = subprocess.Popen(
            command, cwd=where, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_nothing_runs(place: Place) -> None:
    """Gone; but not for who cannot see the processes of that machine."""
    assert gone(place)
    assert not gone(Place("another machine", place.root, place.data))


def test_daemon_with_any_words(place: Place, run: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Whether it was started with --root=DIR, a relative root or the variable: it holds its lock."""
    daemon = run(LOCKS, Path(place.root))
    assert not gone(place)
    daemon.kill()
    daemon.wait()
    assert Path(place.root, "spool/confd.lock").exists()
    assert gone(place)


@pytest.mark.parametrize("words", [("confd", "--root", "{root}"), ("confd.cli.confd", "--root={root}")])
def test_programs_of_the_node(
    place: Place, run: Callable[..., subprocess.Popen[bytes]], words: tuple[str, ...]
) -> None:
    """A program of ours that names the root counts, also before it has its lock."""
    run(WAITS, Path("/"), *(word.format(root=place.root) for word in words))
    assert not gone(place)


def test_server(place: Place, run: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Whatever works in the data directory counts."""
    run(WAITS, Path(place.data))
    assert not gone(place)
