"""Real plays: daemons in the background, on random loopback addresses."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from confd.cluster.certificates import new_authority, new_member
from confd.cluster.identity import NodeFiles
from confd.model.errors import NodeError
from confd.play import home as place
from confd.play import processes, starting, stopping
from confd.play.firstconf import DEVICE
from confd.play.making import Workshop
from confd.play.parameters import merge
from confd.play.record import PASSWORDS, Play, PlayNode, Progress
from confd.play.settings import settle
from tests.play.killing import killed_at

NET = f"127.{random.randrange(10, 250)}.{random.randrange(250)}"


class Terminal:
    """Runs c4 as a user does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._environment = {name: text for name, text in os.environ.items() if not name.startswith("CCC_")}

    def c4(self, *words: str, status: int = 0, home: Path | None = None) -> str:
        """Run one command, expect its status, return what it printed."""
        ended = subprocess.run(
            [sys.executable, "-m", "confd.cli.c4", *words], capture_output=True, text=True, check=False, timeout=100,
            env=self._environment | {"CCC_HOME": str(home or self.home)}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert ended.returncode == status, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def ps(self) -> list[tuple[str, str, str]]:
        """Node, stage and state of all nodes."""
        rows = [line.split() for line in self.c4("ps").splitlines()[1:]]
        return [(row[2], row[8], row[9]) for row in rows if row[0].isdigit()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A home of plays that the databases' user can reach; nothing of it is left."""
    # Not tmp_path: nobody but its owner gets into that.
    home = Path(tempfile.mkdtemp(prefix="c4-test-"))
    home.chmod(0o711)
    monkeypatch.setenv("CCC_HOME", str(home))
    yield Terminal(home)
    left = place.plays()
    for play in left:
        stopping.remove(play)
    shutil.rmtree(home)


def addresses(*last: int) -> str:
    """The parameter for nodes on addresses of this test run."""
    return "CCC_HOST_ADDRS=" + " ".join(f"{NET}.{number}" for number in last)


def the_play() -> Play:
    """The only play there is."""
    (play,) = place.plays()
    return play


def test_life_of_a_play(terminal: Terminal):
    """A play is made, looked at, entered, stopped, started and deleted, and then nothing of it is left."""
    said = terminal.c4("host", "play", "CCC_PLAY_WITH_DB=false", "CCC_PLAY_ADMIN_PASSWORD=given", addresses(11, 12, 13))
    assert f"https://{NET}.11:20003  user admin" in said
    assert "CCC_PLAY_DB_PASSWORD=" in said
    assert "given" not in said
    play = the_play()
    assert "ADMIN" not in (play.directory / "passwords").read_text()
    assert [path.stat().st_mode & 0o77 for path in play.directory.glob("p*")] == [0, 0]
    assert terminal.ps() == [(node, "c", "running") for node in ("11", "12", "13")]
    command = Path(f"/proc/{processes.daemon(play.nodes[0])}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    assert command.endswith(f"confd --root {play.directory}/n11 ")

    assert terminal.c4("connect", "-t", "1.12/cos", "--", "sh", "-c", "echo $EXA_ROOT") == f"{play.directory}/n12\n"
    listed = terminal.c4("connect", "-i", play.id, "-n", "13", "-s", "cos", "--", "confd_client -j node_list")
    assert sorted(json.loads(listed)) == ["11", "12", "13"]
    terminal.c4("connect", "-t", "1/cos", "--", "exit 7", status=7)

    terminal.c4("stop", "-t", "1")
    assert processes.remains(play.nodes) == []
    # As after a restart of the machine.
    shutil.rmtree(play.nodes[0].runtime.parent)
    assert {state for _, _, state in terminal.ps()} == {"stopped"}
    assert "started n11, n12, n13" in terminal.c4("start", "-t", "1")
    terminal.c4("wait", "1", "--stage", "c", "--timeout", "30")
    others = [processes.daemon(node) for node in play.nodes[:2]]
    assert "n13 of play 1 is stopped; start it with: c4 start -t 1.13" in terminal.c4("stop", "-t", "1.13")
    assert processes.remains(play.nodes[2:]) == []
    assert [processes.daemon(node) for node in play.nodes[:2]] == others
    check_a_node_that_cannot_start(terminal, play.nodes[2])
    assert "started n13" in terminal.c4("start", "-t", "1.13")
    assert "n13 of play 1 runs already" in terminal.c4("start", "-t", "1.13")
    killed = processes.daemon(play.nodes[1])
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    processes.wait_gone(killed, 10)
    assert "started n12" in terminal.c4("start", "-t", "1")
    assert "runs already" in terminal.c4("start", "-t", "1")

    terminal.c4("rm", "-t", "1")
    assert processes.remains(play.nodes) == []
    assert not play.directory.exists()
    assert not play.nodes[0].runtime.parent.exists()


def test_taken_addresses(terminal: Terminal):
    """Taken addresses are refused before anything is made, naming the play, or the process from elsewhere."""
    terminal.c4("host", "play", "CCC_PLAY_WITH_DB=false", addresses(21))
    play = the_play()
    pid = processes.daemon(play.nodes[0])
    said = terminal.c4("host", "play", addresses(20, 21), status=1)
    assert f"{NET}.21 belongs to play 1 ({play.id})" in said
    with tempfile.TemporaryDirectory(prefix="c4-test-") as other:
        Path(other).chmod(0o711)
        said = terminal.c4("host", "play", addresses(21), status=1, home=Path(other))
        assert f"taken by process {pid} (confd --root {play.nodes[0].root})" in said
    assert the_play() == play


def test_daemon_that_dies_while_starting(terminal: Terminal):
    """When a daemon dies at the start, its last words are shown, nothing runs, and the files stay for a look.

    Once it is started c4 says that nobody makes the database that it was to have, and does not wait for that.
    """
    settings = settle(merge({"CCC_HOST_ADDRS": f"{NET}.31 {NET}.32"}))
    assert not killed_at(Workshop(settings).make, lambda path: False)
    play = the_play()
    key = (play.nodes[1].root / "etc/cluster/node.key").read_bytes()
    (play.nodes[1].root / "etc/cluster/node.key").unlink()
    with pytest.raises(NodeError, match=r"the daemon of n12 ended with status 1; it last said\n(.*\n)*.*No such file"):
        starting.start_new(play, print)
    assert processes.remains(play.nodes) == []
    assert the_play().progress is Progress.FAILED
    assert terminal.ps() == [("11", "b1", "failed"), ("12", "b1", "failed")]
    (play.nodes[1].root / "etc/cluster/node.key").write_bytes(key)
    unfinished = "play 1 is unfinished: c4 was ended before it had made database Exasol; make one with jobs"
    said = terminal.c4("start", "-t", "1")
    assert "started n11, n12" in said
    assert unfinished in said
    assert the_play().progress is Progress.READY
    assert unfinished in terminal.c4("ps")
    terminal.c4("wait", "-t", "1", "--stage", "c", "--timeout", "30")
    assert unfinished in terminal.c4("wait", "-t", "1", status=1)


@pytest.mark.parametrize("where", ["n11", "node.key", DEVICE, PASSWORDS])
def test_a_making_that_is_killed_leaves_a_play_that_is_known(terminal: Terminal, where: str):
    """It is shown as failed, with what to do; it is not started, not waited for, and deleted with all that is there."""
    settings = settle(merge({"CCC_HOST_ADDRS": f"{NET}.42"}))
    assert killed_at(Workshop(settings).make, lambda path: where in path.name)
    play = the_play()
    assert play.progress is Progress.MAKING
    if where == PASSWORDS:
        unfinished = "play 1 is unfinished: c4 was ended before it had made all its files; delete the play (c4 rm -t 1)"
        assert unfinished in terminal.c4("ps")
        assert terminal.ps() == [("11", "b1", "failed")]
        assert unfinished in terminal.c4("start", "-t", "1", status=1)
        assert unfinished in terminal.c4("wait", "-t", "1", "--stage", "c", status=1)
        terminal.c4("rm", "-t", "1")
    else:
        stopping.remove(play)
    assert not play.directory.exists()
    assert not play.nodes[0].runtime.parent.exists()


def test_failure_leaves_no_files(terminal: Terminal, monkeypatch: pytest.MonkeyPatch):
    """What cannot be made leaves nothing behind."""
    monkeypatch.setattr("confd.services.storage.devices.add_device.function", lambda host, device: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Workshop(settle(merge({"CCC_HOST_ADDRS": f"{NET}.41"}))).make()
    assert place.plays() == []
    assert not list(terminal.home.glob("1_*"))


def check_a_node_that_cannot_start(terminal: Terminal, node: PlayNode) -> None:
    """With the certificate of another cluster a node does not start and says why; the others are left alone."""
    files = NodeFiles(node.root)
    kept = files.certificate.read_bytes(), files.key.read_bytes()
    stranger = new_member(new_authority("other"), files.load_identity().uuid, [node.address])
    files.certificate.write_bytes(stranger.certificate_pem)
    files.key.write_bytes(stranger.key_pem)
    said = terminal.c4("start", "-t", "1", status=1)
    assert "is not good: it is not of this cluster: another authority has signed it" in said
    assert "n11, n12 of play 1 were left running" in said
    assert [state for _, _, state in terminal.ps()] == ["running", "running", "stopped"]
    files.certificate.write_bytes(kept[0])
    files.key.write_bytes(kept[1])


def test_database(terminal: Terminal):
    """The default database runs, ends with its play, and comes back with it."""
    terminal.c4("host", "play", addresses(51), "CCC_PLAY_DB_PASSWORD=geheim", "CCC_PLAY_DB_MEM_SIZE=256")
    play = the_play()
    where = {"host": f"{NET}.51", "port": 8563, "user": "sys", "password": "geheim", "dbname": "Exasol"}
    with psycopg.connect(**where, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    assert terminal.ps() == [("11", "d", "running")]
    assert len(processes.keepers(play.nodes[0])) == 1
    terminal.c4("stop", "-t", "1")
    assert processes.remains(play.nodes) == []
    terminal.c4("start", "-t", "1")
    terminal.c4("wait", "-t", "1", "--stage", "d", "--timeout", "60")
    with psycopg.connect(**where) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
