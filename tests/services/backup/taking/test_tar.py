"""Watching a tar go by, and reading back what was written."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from confd.model.errors import StorageCorrupted
from confd.services.backup.order import Link
from confd.services.backup.restoring.reading import unpacked
from confd.services.backup.taking.tar import TarWatch
from tests.services.backup.directory import DirectoryTarget


@given(st.lists(st.binary(max_size=2000), max_size=5), st.binary(max_size=3000), st.integers(1, 1500))
def test_a_file_is_kept_whatever_the_pieces(others: list[bytes], wanted: bytes, piece: int) -> None:
    """All names go by in order, the wanted file is kept whole, the end is seen."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for number, content in enumerate([*others, wanted]):
            name = f"base/{number}" if number < len(others) else "backup_manifest"
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    names: list[str] = []
    watch = TarWatch("backup_manifest", names.append)
    data = raw.getvalue()
    for at in range(0, len(data), piece):
        watch.feed(data[at : at + piece])
    assert (bytes(watch.content), watch.found, watch.ended) == (wanted, True, True)
    assert names == [*(f"base/{number}" for number in range(len(others))), "backup_manifest"]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    """A stream of zeros, far larger than its file, comes in bounded pieces; one wrong byte anywhere is an error."""
    plain = bytes(5 << 20)
    packed = zstd.compress(plain)
    link = Link("f", len(packed), hashlib.sha256(packed).hexdigest(), len(plain))
    target = DirectoryTarget(tmp_path)
    with target.create("f") as writer:
        writer.write(packed)
        writer.commit()
    pieces = list(unpacked(target, link))
    assert b"".join(pieces) == plain
    assert max(map(len, pieces)) <= 1 << 20
    place = tmp_path / "files" / "f"
    for at in range(0, len(packed), 7):
        wrong = bytearray(packed)
        wrong[at] ^= 1
        place.write_bytes(wrong)
        with pytest.raises(StorageCorrupted, match="f is damaged"):
            list(unpacked(target, link))
    place.write_bytes(packed[:-1])
    with pytest.raises(StorageCorrupted):
        list(unpacked(target, link))
