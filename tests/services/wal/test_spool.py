"""The program that PostgreSQL calls for each finished WAL file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from confd.services.wal.spool import GAP, generations, has_gap, script, settings, waiting


def _archive(program: Path, file: Path) -> int:
    line = next(line for line in settings(program).splitlines() if line.startswith("archive_command"))
    command = line.partition(" = ")[2][1:-1].replace("''", "'").replace("\\\\", "\\")
    expanded = command.replace("%%", "\0").replace("%p", str(file)).replace("%f", file.name).replace("\0", "%")
    return subprocess.run(["/bin/sh", "-c", expanded], check=False).returncode


def test_files_are_copied_whole_up_to_the_bound(tmp_path: Path) -> None:
    """Whatever the path is called, a file is copied or named as left out; PostgreSQL is never held up."""
    home = tmp_path / "it's 100% of \\"
    spool = home / "wal" / "g"
    spool.mkdir(parents=True)
    program = home / "archive.sh"
    program.write_text(script(spool, 0))
    for number in range(6):
        file = home / f"{number:024X}"
        file.write_bytes(bytes([number]) * 100)
        assert _archive(program, file) == 0
    assert generations(home) == [spool]
    assert waiting(spool) == [f"{number:024X}" for number in range(4)]
    assert (spool / f"{3:024X}").read_bytes() == bytes([3]) * 100
    assert has_gap(home)
    assert (home / "wal" / GAP).read_text().split() == [f"{number:024X}" for number in (4, 5)]


def test_a_copy_that_fails_is_told(tmp_path: Path) -> None:
    """Without its directory nothing is archived, and PostgreSQL keeps the file."""
    spool = tmp_path / "wal" / "g"
    spool.mkdir(parents=True)
    program, file = tmp_path / "archive.sh", tmp_path / "segment"
    program.write_text(script(spool, 1 << 30))
    file.write_bytes(b"x")
    shutil.rmtree(spool)
    assert _archive(program, file) != 0
    assert waiting(spool) == []
    assert generations(tmp_path) == []
