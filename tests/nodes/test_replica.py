"""EXAConf on a node follows its journal."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from confd.cluster.following import replica as module
from confd.cluster.following.replica import Replica
from confd.cluster.identity import NodeFiles
from confd.exaconf import Global, Group, Section, parse, to_stored
from confd.exaconf.integrity import Trust, check
from confd.model.secret import Vault
from confd.store.protocol import Kind
from confd.store.records import Finished
from confd.store.sqlite import SqliteStore

PATIENCE = 20.0


class Node:
    """A journal and its replica."""

    def __init__(self, files: NodeFiles, vault: Vault) -> None:
        self.files, self.vault = files, vault
        self.store = SqliteStore(files.journal)
        self.store.lead(1, 11)
        self.changed = threading.Condition()
        self.start()

    def start(self) -> None:
        """Begin to follow."""
        self.replica = Replica(self.store, self.files, self.vault)
        self.replica.watch(self._on_written)

    def _on_written(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def put(self, revision: int, *sections: Section, **removed: Any) -> None:
        """Record a revision."""
        changes = {section.key: to_stored(section, self.vault) for section in sections} | removed
        self.store.append(Kind.FINISHED, "11.1", Finished(0, "", revision=revision, changes=changes)).result()

    def written(self, revision: int) -> str:
        """Wait until a revision is in the file; its text."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.replica.written >= revision, PATIENCE)
        return self.files.exaconf.read_text()

    def close(self) -> None:
        """End."""
        self.replica.close()
        self.store.close()


@pytest.fixture
def node(node_files: Callable[..., NodeFiles], vault: Vault) -> Iterator[Node]:
    """Give a node with an empty journal."""
    made = Node(node_files("n11"), vault)
    yield made
    made.close()


FIRST = Global(cluster_name="first")


def test_a_revision_becomes_the_file(node: Node) -> None:
    """Complete, with a checksum that fits, readable by its owner alone."""
    node.put(1, FIRST, Group(name="exaadm", id=499))
    text = node.written(1)
    document = parse(text)
    assert document.revision == 1
    assert document.sections["Groups : exaadm"] == Group(name="exaadm", id=499)
    assert check(text).trust is Trust.VERIFIED
    assert node.files.exaconf.stat().st_mode & 0o777 == 0o600
    assert list(node.files.exaconf.parent.glob(".EXAConf*")) == []


def test_revisions_follow_each_other(node: Node) -> None:
    """The file holds the newest; some between may be skipped."""
    node.put(1, FIRST)
    for revision in range(2, 40):
        node.put(revision, Group(name=f"g{revision}", id=revision))
    document = parse(node.written(39))
    assert document.revision == 39
    assert len(document.sections) == 39
    node.put(40, **{"Groups : g5": None})
    assert "Groups : g5" not in parse(node.written(40)).sections


def test_readers_see_whole_files(node: Node) -> None:
    """The file is replaced in one piece."""
    node.put(1, FIRST)
    node.written(1)
    stop = threading.Event()
    seen: list[Trust] = []

    def look() -> None:
        while not stop.is_set():
            seen.append(check(node.files.exaconf.read_text()).trust)

    reader = threading.Thread(target=look)
    reader.start()
    for revision in range(2, 60):
        node.put(revision, Group(name=f"g{revision}", id=revision))
        node.written(revision)
    stop.set()
    reader.join()
    assert set(seen) == {Trust.VERIFIED}


def test_an_edited_file_is_kept_beside(node: Node) -> None:
    """Somebody's work is not lost when the next revision replaces it, and stays private."""
    node.put(1, FIRST)
    edited = node.written(1).replace("first", "edited")
    node.files.exaconf.write_text(edited)
    node.files.exaconf.chmod(0o644)
    node.put(2, Group(name="g", id=1))
    assert "edited" not in node.written(2)
    kept = node.files.exaconf.with_name("EXAConf.edited")
    assert kept.read_text() == edited
    assert kept.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_daemon_left_is_deleted(node: Node) -> None:
    """It may be a whole EXAConf."""
    left = node.files.exaconf.with_name(".EXAConf.4711.tmp")
    left.write_text("left")
    node.put(1, FIRST)
    node.written(1)
    node.replica.close()
    node.start()
    assert not left.exists()


@pytest.mark.parametrize("edit", ["by hand", "to commit", "garbage"])
def test_a_file_edited_while_the_daemon_was_down_is_kept_too(node: Node, edit: str) -> None:
    """A restart between editing and committing loses nothing."""
    node.put(1, FIRST)
    text = node.written(1)
    node.replica.close()
    stored = check(text).stored
    content = {
        "by hand": text.replace("first", "edited").encode(),
        "to commit": text.replace("first", "edited").replace(stored, "COMMIT").encode(),
        "garbage": b"\xff\xfe not a file [",
    }[edit]
    node.files.exaconf.write_bytes(content)
    node.start()
    assert node.written(1) == text
    assert node.files.exaconf.with_name("EXAConf.edited").read_bytes() == content


def test_an_older_file_is_replaced_without_a_copy(node: Node) -> None:
    """A power failure may have brought the file before back: nobody edited it."""
    node.put(1, FIRST)
    before = node.written(1)
    node.put(2, Group(name="g", id=1))
    now = node.written(2)
    node.replica.close()
    node.files.exaconf.write_text(before)
    node.start()
    assert node.written(2) == now
    assert not node.files.exaconf.with_name("EXAConf.edited").exists()


def test_a_file_that_cannot_be_written_is_tried_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node stays behind meanwhile, and says so by not confirming the revision."""
    failed = threading.Event()
    real = module.replace_private

    def full(path: Path, content: bytes, **more: Any) -> None:
        failed.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "replace_private", full)
    node.put(1, FIRST)
    assert failed.wait(PATIENCE)
    assert node.replica.written == 0
    assert node.replica.conf.revision == 1
    monkeypatch.setattr(module, "replace_private", real)
    node.put(2, Group(name="g", id=1))
    assert parse(node.written(2)).revision == 2


def test_who_takes_records_in_writes_the_file(node: Node) -> None:
    """The file is there when ``take_in`` returns; what cannot be taken in is said, and changes nothing."""
    node.replica.take_in(lambda: node.put(1, FIRST))
    assert (node.replica.written, parse(node.files.exaconf.read_text()).revision) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        node.replica.take_in(lambda: 1 // 0)
    node.put(2, Group(name="g", id=1))
    assert parse(node.written(2)).revision == 2


@pytest.mark.parametrize("torn", [b"", bytes(4096)])
def test_a_torn_file_is_nobodys_work(node: Node, torn: bytes) -> None:
    """What a power failure left instead of a file that was not on the disk yet is replaced, and not kept."""
    node.put(1, FIRST)
    node.written(1)
    node.replica.close()
    node.files.exaconf.write_bytes(torn)
    node.start()
    assert parse(node.written(1)).revision == 1
    assert not node.files.exaconf.with_name("EXAConf.edited").exists()


def test_the_file_gets_to_the_disk(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon after a revision, at the latest when the daemon ends."""
    synced: list[str] = []
    real = os.fsync

    def noted(file: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        real(file)

    monkeypatch.setattr(module.os, "fsync", noted)
    node.put(1, FIRST)
    node.written(1)
    node.replica.close()
    assert str(node.files.exaconf.resolve()) in synced


def test_a_replica_starts_from_the_journal(node: Node) -> None:
    """Without any new record the file is made anew."""
    node.put(1, FIRST)
    node.written(1)
    node.replica.close()
    node.files.exaconf.unlink()
    node.start()
    assert parse(node.written(1)).revision == 1
    assert node.replica.text() == node.files.exaconf.read_text()
