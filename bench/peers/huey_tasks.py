"""huey over SQLite with fsync: a consumer process (``python -m bench.peers.huey_tasks FILE``), and its clients' side."""

from __future__ import annotations

import sys
from typing import Any, Final

from huey import SqliteHuey

from bench.peers.serving import end_with_parent

WORKERS: Final = 4
_POLL_SECONDS: Final = 0.002
_BUSY_SECONDS: Final = 60


def open_huey(path: str) -> tuple[Any, Any]:
    """Open the queue; it and its one task, which does nothing."""
    queue = SqliteHuey("bench", filename=path, fsync=True, timeout=_BUSY_SECONDS)

    return queue, queue.task(name="nothing")(_nothing)


def _nothing() -> int:
    return 0


def main() -> None:
    """Run tasks until the process is stopped."""
    queue, _ = open_huey(sys.argv[1])
    consumer = queue.create_consumer(
        workers=int(sys.argv[2]) if len(sys.argv) > 2 else WORKERS, periodic=False,
        initial_delay=_POLL_SECONDS, max_delay=_POLL_SECONDS, backoff=1.0,
    )  # fmt: skip
    sys.stdout.write("0\n")
    sys.stdout.flush()
    consumer.run()


if __name__ == "__main__":
    end_with_parent()
    main()
