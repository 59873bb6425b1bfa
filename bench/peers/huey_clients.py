"""The clients of huey: ``python -m bench.peers.huey_clients FILE CLIENTS SECONDS`` prints tasks per second."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from bench.peers.huey_tasks import open_huey

_PATIENCE: Final = 20.0
_POLL_SECONDS: Final = 0.02
_WARM_UP: Final = 0.5


def huey_rate(database: Path, clients: int, seconds: float) -> float:
    """Run clients in a process of their own; how many tasks per second they got done."""
    command = [sys.executable, "-m", "bench.peers.huey_clients", str(database), str(clients), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 2 * _PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"the clients of huey failed: {done.stderr[-2000:]}")
    return float(done.stdout)


def measure(database: str, clients: int, seconds: float) -> float:
    """Enqueue and wait in as many threads as there are clients."""
    _, nothing = open_huey(database)
    ends: list[float] = []
    began = time.perf_counter() + _WARM_UP
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while time.perf_counter() < began + seconds:
                result = nothing()(blocking=True, timeout=_PATIENCE, backoff=1.0, max_delay=_POLL_SECONDS)
                assert result == 0
                ends.append(time.perf_counter())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    counted = [end for end in ends if end >= began]
    return len(counted) / (max(counted) - began)


if __name__ == "__main__":
    sys.stdout.write(str(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
