"""A file takes another one's place in one piece, on any file system."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from confd.cluster import exchanging
from confd.cluster.exchanging import exchange, put_in_place
from confd.cluster.identity import replace_private


def test_names_are_exchanged(tmp_path: Path) -> None:
    """Of files and of directories; without both nothing happens."""
    one, other, missing = (tmp_path / name for name in ("one", "other", "missing"))
    one.write_text("1")
    other.mkdir()
    exchange(one, other)
    assert one.is_dir()
    assert other.read_text() == "1"
    with pytest.raises(FileNotFoundError, match="missing"):
        exchange(other, missing)
    assert other.read_text() == "1"


@pytest.mark.parametrize("able", [True, False])
def test_a_file_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, able: bool) -> None:
    """Whether there was one or not, also where names cannot be exchanged; nothing else is left."""
    if not able:
        monkeypatch.setattr(exchanging, "exchange", _unable)
    path = tmp_path / "file"
    for text in ("first", "second"):
        fresh = tmp_path / "fresh"
        fresh.write_text(text)
        put_in_place(fresh, path)
        assert path.read_text() == text
        assert list(tmp_path.iterdir()) == [path]


def test_readers_see_the_old_or_the_new_one(tmp_path: Path) -> None:
    """Never none, never a part."""
    path, seen, over = tmp_path / "file", set[bytes](), threading.Event()
    contents = [bytes([letter]) * 10_000 for letter in b"ab"]
    replace_private(path, contents[0])

    def read() -> None:
        while not over.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(1, 500):
        replace_private(path, contents[turn % 2])
    over.set()
    reader.join()
    assert seen
    assert seen <= set(contents)
    assert path.stat().st_mode & 0o777 == 0o600


def _unable(one: Path, other: Path) -> None:
    raise OSError(errno.EINVAL, "cannot be done here")
