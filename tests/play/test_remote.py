"""Plays on other machines, over SSH: each machine is an address with a place of its own and a real sshd."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.documented import blocks, with_places
from tests.play.sshd import Sshd, sshd
from tests.servers import ETCD, require
from tests.torture import long

# Each of the many commands starts a Python on two machines that are this one.
pytestmark = pytest.mark.timeout(300)

NET = f"127.{random.randrange(10, 250)}.{random.randrange(250)}"
HOSTS = [f"{NET}.{last}" for last in (11, 12)]
C4 = f"{sys.executable} -m confd.cli.c4"


class Control:
    """The machine on which c4 is typed."""

    def __init__(self, place: Path, server: Sshd) -> None:
        self.home, self.server = place / "control", server
        self.home.mkdir(mode=0o711)
        self.user_home = place / "user"
        self.user_home.mkdir()
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("CCC_", "SSH_"))}
        self._environment = clean | {"CCC_HOME": str(self.home), "HOME": str(self.user_home)}

    def trust(self, text: str) -> None:
        """Know host keys."""
        (self.home / "known_hosts").write_text(text)

    def c4(self, *words: str, status: int = 0, home: Path | None = None) -> str:
        """Run c4, expect its status, return what it printed."""
        environment = self._environment | ({"CCC_HOME": str(home)} if home else {})
        ended = subprocess.run(
            [sys.executable, "-m", "confd.cli.c4", *words], capture_output=True, text=True, check=False, timeout=110,
            env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert ended.returncode == status, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def play(self, *words: str, status: int = 0, hosts: list[str] | None = None) -> str:
        """Make a play on machines, as written in docs/operations.md."""
        server = self.server
        (block,) = blocks("Nodes on several machines")
        here = {
            "10.0.0.11 10.0.0.12 10.0.0.13": " ".join(hosts or HOSTS), "root": server.user,
            "~/.ssh/id_ed25519": str(server.user_key), "/opt/openconfd/bin/c4": C4,
        }  # fmt: skip
        ((_, *written),) = with_places(block, here)
        return self.c4(
            *written, f"CCC_HOST_SSH_PORT={server.port}", "CCC_PLAY_WITH_DB=false", "CCC_PLAY_ADMIN_PASSWORD=given",
            *words, status=status,
        )  # fmt: skip

    def left(self) -> list[str]:
        """Return what of plays is on any machine."""
        places = [self.home, *(self.server.home(host) for host in HOSTS)]
        return [str(path) for place in places for path in place.glob("[0-9]*_*")]


@pytest.fixture
def control() -> Iterator[Control]:
    """Give a machine to type on, and three others; nothing of them is left."""
    place = Path(tempfile.mkdtemp(prefix="c4-ssh-"))
    place.chmod(0o711)
    with socket.socket() as probe:
        probe.bind((HOSTS[0], 0))
        port = probe.getsockname()[1]
    try:
        with sshd(place, port, HOSTS) as server:
            made = Control(place, server)
            made.trust("".join(server.known(host) for host in HOSTS))
            yield made
            for host in HOSTS if made.left() else ():
                for line in made.c4("ps", home=server.home(host)).splitlines()[1:]:
                    made.c4("rm", "-t", line.split()[0], home=server.home(host))
    finally:
        shutil.rmtree(place)


@long
def test_life_of_a_play_on_two_machines(control: Control) -> None:
    """It is made, looked at, entered, stopped, started and deleted like one on this machine."""
    said = control.play()
    assert f"https://{HOSTS[0]}:20003  user admin" in said
    rows = [line.split() for line in control.c4("ps").splitlines()[1:]]
    assert [(row[2], row[6], row[8], row[9]) for row in rows] == [
        (str(node), host, "c", "running") for node, host in zip((11, 12), HOSTS, strict=True)
    ]
    # Each machine knows its own part under the same id.
    [part] = control.server.home(HOSTS[1]).glob("[0-9]*_*")
    assert part.name.endswith(rows[0][1])
    assert (part / "n12/etc/EXAConf").exists()
    listed = control.c4("connect", "-t", "1.12/cos", "--", "confd_client -j node_list")
    assert sorted(json.loads(listed)) == ["11", "12"]
    control.c4("connect", "-t", "1.11/cos", "--", "exit 7", status=7)
    assert "n12 of play 1 is stopped" in control.c4("stop", "-t", "1.12")
    assert [line.split()[9] for line in control.c4("ps").splitlines()[1:]] == ["running", "stopped"]
    said = control.c4("start", "-t", "1.12")
    assert f"waiting for n12 ({HOSTS[1]})" in said
    assert "started n12" in said
    assert "n12 of play 1 runs already" in control.c4("start", "-t", "1.12")
    # The store of the cluster is that of its machines: this one has nothing of it.
    said = control.c4("store", "compact", "-t", "1.12", status=1)
    assert f"{HOSTS[1]}: n12 uses the embedded store, where nothing is to be freed" in said
    said = control.c4("store", "etcd", "-t", "1", "--binary", "/nowhere/etcd", status=1)
    assert "/nowhere/etcd does not run" in said
    said = control.c4("store", "sqlite", "-t", "1", status=1)
    assert "the store is sqlite already" in said
    said = control.c4("store", "recover", "-t", "1.12", "--yes-others-are-down", status=1)
    assert f"{HOSTS[1]}: n11 is master and answers" in said
    control.c4("stop", "-t", "1")
    assert {line.split()[9] for line in control.c4("ps").splitlines()[1:]} == {"stopped"}
    assert "started n11, n12" in control.c4("start", "-t", "1")
    control.c4("rm", "-t", "1")
    assert control.left() == []


@long
def test_the_store_of_a_play_on_two_machines(control: Control) -> None:
    """It moves to etcd and back, and is compacted, from the machine on which c4 is typed."""
    require(ETCD)
    control.play()
    assert "the store is etcd now" in control.c4("store", "etcd", "-t", "1")
    assert "etcd takes changes again" in control.c4("store", "compact", "-t", "1")
    assert "the store is sqlite now" in control.c4("store", "sqlite", "-t", "1")


def test_a_step_that_fails_is_undone_everywhere(control: Control) -> None:
    """Also when it fails on the last machine, after others have made their nodes."""
    broken = control.server.home(HOSTS[1]) / "postgresql"
    broken.write_text("in the way")
    said = control.play(status=1)
    assert HOSTS[1] in said
    assert "nothing is left of it on any machine" in said
    assert control.left() == []


def test_machines_are_checked_before_anything_is_made(control: Control) -> None:
    """Taken ports, addresses of other machines, missing software and refused logins are named with the machine."""
    with socket.socket() as taken:
        taken.bind((HOSTS[1], 20003))
        taken.listen()
        said = control.play(status=1)
        assert f"{HOSTS[1]}: the ConfD port 20003" in said
    one = HOSTS[:1]
    said = control.play("CCC_HOST_C4=/no/such/c4", status=1, hosts=one)
    assert "OpenConfD 0.1.0 is not installed there" in said
    assert "pip install openconfd==0.1.0" in said
    said = control.play(f"CCC_HOST_C4={sys.executable} -m platform", status=1, hosts=one)
    assert f"{HOSTS[0]}: CCC_HOST_C4 is no c4" in said
    said = control.play("CCC_HOST_IMAGE_USER=nobody", status=1, hosts=one)
    assert "the login of user nobody is refused" in said
    said = control.play(f"CCC_HOST_KEY_PAIR_FILE={control.server.place / 'log'}", status=2, hosts=one)
    assert "is no key that can be used" in said
    said = control.play("CCC_HOST_SSH_PORT=1", status=1, hosts=one)
    assert "no SSH at port 1" in said
    assert control.left() == []


def test_host_keys(control: Control) -> None:
    """An unknown one is refused without a person, with what to do; a changed one always."""
    control.trust("")
    said = control.play(status=1, hosts=HOSTS[:1])
    assert f"the host key of {HOSTS[0]} is not known (SHA256:" in said
    assert f"ssh-keyscan -p {control.server.port} {HOSTS[0]} >> {control.home}/known_hosts" in said
    other = control.server.place / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    strange = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    control.trust(f"[{HOSTS[0]}]:{control.server.port} {strange}\n")
    said = control.play(status=1)
    assert "has changed" in said
    assert "ssh-keygen -R" in said
    assert control.left() == []
