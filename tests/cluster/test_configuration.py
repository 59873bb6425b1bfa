"""EXAConf of a running cluster: the file on every node, edits by hand, history, a full disk."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.harness import Cluster, cluster, free_port, until
from tests.torture import long


def exaconf(cluster: Cluster, *words: str, node: int = 11) -> subprocess.CompletedProcess[str]:
    """Run exaconf on a node."""
    identity = json.loads((cluster.root(node) / "etc/node.json").read_text())
    env = cluster.env | {"CONFD_SOCKET": f"{identity['runtime']}/confd.sock", "EXA_ROOT": str(cluster.root(node))}
    command = [sys.executable, "-m", "confd.cli.exaconf", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def edit(path: Path, old: str, new: str) -> None:
    """Edit EXAConf as an administrator would, and mark it for commit."""
    lines = [("    Checksum = COMMIT" if "Checksum =" in line else line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines).replace(old, new) + "\n")


def test_the_file_is_private_and_whole(plain: Cluster) -> None:
    """EXAConf has mode 600 on every node, and the same content with a valid checksum."""
    for node in plain.addresses:
        path = plain.root(node) / "etc/EXAConf"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        done = exaconf(plain, "validate", node=node)
        assert done.returncode == 0, done.stderr
    plain.wait_same()


def test_an_edited_file_is_committed(plain: Cluster) -> None:
    """exaconf commit takes in a file edited on any node, and all nodes hold it."""
    path = plain.root(12) / "etc/EXAConf"
    edit(path, "Timezone = Europe/Berlin", "Timezone = Europe/Lisbon")
    done = exaconf(plain, "commit", node=12)
    assert done.returncode == 0, done.stdout + done.stderr
    plain.wait_same()
    noted = path.with_name("EXAConf.commited.manually").read_text()
    assert noted.startswith(f"'/exa/etc/EXAConf' : revision {plain.run('settings_list')['Global']['Revision']} : ")
    assert "Timezone = Europe/Lisbon" in (plain.root(13) / "etc/EXAConf").read_text()
    assert plain.run("settings_list", sections={"Global": ["Timezone"]}) == {"Global": {"Timezone": "Europe/Lisbon"}}


def test_an_edit_without_mark_is_refused(plain: Cluster) -> None:
    """A file that does not match its checksum is refused with the error users know."""
    path = plain.root(11) / "etc/EXAConf"
    text = path.read_text()
    path.write_text(text.replace("SSHPort = ", "SSHPort = 2"))
    done = exaconf(plain, "commit")
    assert done.returncode == 1
    assert "Integrity check failed!" in done.stdout + done.stderr
    path.write_text(text)


def test_garbage_is_refused_and_kept_aside(plain: Cluster, name: str) -> None:
    """A file edited to garbage is no commit; the next revision replaces it and keeps what was there."""
    plain.run("group_create", groupname=f"{name}a", groupid=61_000)
    path = plain.root(12) / "etc/EXAConf"
    path.write_text("[Global\n}{ Checksum = COMMIT\n")
    assert exaconf(plain, "validate", node=12).returncode == 1
    assert exaconf(plain, "commit", node=12).returncode == 1
    plain.run("group_create", groupname=f"{name}b", groupid=61_001)
    plain.wait_same()
    assert "}{" in path.with_name("EXAConf.edited").read_text()


def test_history_and_rollback(plain: Cluster, name: str) -> None:
    """The log names every revision, a diff shows it, and a rollback brings it back."""
    plain.run("group_create", groupname=name, groupid=61_010)
    log = exaconf(plain, "log").stdout
    assert f"Groups : {name}" in log
    newest = int(log.splitlines()[1].split()[0])
    assert f"[[{name}]]" in exaconf(plain, "diff", str(newest - 1), str(newest)).stdout
    assert exaconf(plain, "rollback", str(newest - 1)).returncode == 0
    assert plain.try_run("group_info", groupname=name)["result_name"] == "NOT_FOUND"
    plain.wait_same()


@long
def test_a_port_that_somebody_took_can_be_given_up() -> None:
    """A node whose port is taken says so and takes jobs by its socket; with another port it goes on by itself."""
    with cluster("CCC_PLAY_WITH_DB=false", nodes=1) as made:
        port = free_port(made.addresses[11])
        assert made.confd_client("general_settings", f"changes: {{Global: {{XMLRPCPort: {port}}}}}").returncode == 0
        with socket.create_server((made.addresses[11], port)):
            made.c4("stop", "-t", "1")
            holder = f"XMLRPCPort: port {port} on {made.addresses[11]} is taken by process {os.getpid()} ("
            starting = subprocess.Popen(
                [sys.executable, "-m", "confd.cli.c4", "start", "-t", "1"],
                env=made.env,
                stdout=subprocess.PIPE,
                text=True,
            )
            with starting, ThreadPoolExecutor(1) as pool:
                assert starting.stdout
                # It says so at once, while it waits on.
                heard = pool.submit(starting.stdout.readline).result(60)
                assert f"waiting for n11, which runs, but serves no clients: [Global] {holder}" in heard
                assert f"n11 serves no clients: [Global] {holder}" in made.c4("ps")
                said = made.c4("wait", "-t", "1", "--timeout", "1", check=False)
                assert f"n11 runs, but serves no clients: [Global] {holder}" in said
                assert holder in " ".join(made.confd_client("node_info", "nid: 11").stdout.split())
                assert starting.poll() is None
                done = made.confd_client("general_settings", "changes: {Global: {XMLRPCPort: 20003}}")
                assert done.returncode == 0, done.stdout + done.stderr
                assert starting.stdout.read() == "play 1: started n11\n"
        assert made.run("settings_list", sections={"Global": ["XMLRPCPort"]}) == {"Global": {"XMLRPCPort": 20003}}


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Give a file system that can be made smaller."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = Path(tempfile.mkdtemp(prefix="confd-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3g,mode=755", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)
    place.rmdir()


def test_a_full_disk_refuses_changes_and_loses_nothing(small_disk: Path) -> None:
    """On a full disk modify jobs are refused with what is missing, reads work, and room lets all go on."""
    with cluster("CCC_PLAY_WITH_DB=false", nodes=1, ccc_home=small_disk / "ccc") as made:
        made.run("group_create", groupname="before", groupid=62_000)
        _leave(small_disk, 2 * 1024 * 1024)
        # What was found free a moment ago is believed for half a second.
        until(lambda: made.try_run("group_delete", groupname="none")["result_name"] == "LIMIT_EXCEEDED", "it is full")
        answer = made.try_run("group_create", groupname="refused", groupid=62_001)
        assert answer["result_name"] == "LIMIT_EXCEEDED"
        assert "free" in answer["result_desc"]
        assert "before" in made.run("group_list")
        _leave(small_disk, 200 * 1024 * 1024)
        made.run("group_create", groupname="after", groupid=62_002)
        made.kill(11)
        made.start()
        groups = made.run("group_list")
        assert "before" in groups
        assert "after" in groups
        assert "refused" not in groups


def _leave(disk: Path, free: int) -> None:
    """Have a file system end so many bytes behind what it holds."""
    now = os.statvfs(disk)
    used = (now.f_blocks - now.f_bfree) * now.f_frsize
    subprocess.run(["mount", "-o", f"remount,size={used + free}", disk], check=True)
