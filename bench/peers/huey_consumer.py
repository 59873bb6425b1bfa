"""The consumer of huey: ``python -m bench.peers.huey_consumer FILE [WORKERS]``; prints 0 when it is ready."""

from __future__ import annotations

import sys
from typing import Final

from bench.peers.huey_tasks import open_huey
from bench.peers.serving import end_with_parent

WORKERS: Final = 8
_POLL_SECONDS: Final = 0.005


def main() -> None:
    """Run tasks until the process is stopped."""
    queue, _ = open_huey(sys.argv[1])
    consumer = queue.create_consumer(
        workers=int(sys.argv[2]) if len(sys.argv) > 2 else WORKERS,
        periodic=False,
        initial_delay=_POLL_SECONDS,
        max_delay=_POLL_SECONDS,
        backoff=1.0,
    )
    sys.stdout.write("0\n")
    sys.stdout.flush()
    consumer.run()


if __name__ == "__main__":
    end_with_parent()
    main()
