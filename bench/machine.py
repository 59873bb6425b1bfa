"""The machine that the figures belong to."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.table import percentile

_PAGE: Final = b"\0" * 4096
_MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})


def fdatasync(directory: Path, count: int) -> list[float]:
    """Append a page and sync it, again and again; seconds of each sync."""
    taken = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(count):
            file.write(_PAGE)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return taken


@dataclass(frozen=True)
class Machine:
    """Facts that figures depend on."""

    cores: int
    processor: str
    memory: float
    kernel: str
    python: str
    disk: str
    sync_p50: float
    sync_p99: float
    load: float

    @property
    def lines(self) -> list[str]:
        """The facts as lines of text."""
        return [
            f"{self.cores} cores ({self.processor}), {self.memory:.1f} GiB memory, Linux {self.kernel}, {self.python}",
            (
                f"disk: {self.disk}; append of 4 KiB and fdatasync: p50 {1e3 * self.sync_p50:.2f} ms, "
                f"p99 {1e3 * self.sync_p99:.2f} ms"
            ),
            f"load average when the benchmark began: {self.load:.2f}",
        ]


def look() -> Machine:
    """Describe this machine and the disk that clusters are made on."""
    directory = Path(tempfile.gettempdir())
    taken = fdatasync(directory, 300)
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(Path("/proc/cpuinfo").read_text().splitlines()),
        memory=psutil.virtual_memory().total / 2**30,
        kernel=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        disk=_disk(directory),
        sync_p50=statistics.median(taken),
        sync_p99=percentile(taken, 0.99),
        load=os.getloadavg()[0],
    )


def _processor(lines: Iterable[str]) -> str:
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.machine())


def _disk(directory: Path) -> str:
    command = ["findmnt", "--noheadings", "--output", "FSTYPE,SOURCE", "--target", str(directory)]
    words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    if not words:
        return f"of {directory}"
    if words[0] in _MEMORY_FILE_SYSTEMS:
        return f"{words[0]}: NO DISK, syncs are not real; set TMPDIR to a directory on a disk"
    return " on ".join(words)
