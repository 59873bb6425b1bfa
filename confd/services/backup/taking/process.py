"""What a backup's worker is started as: ``python -m confd.services.backup.taking.process``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the worker that the command line describes."""
    # structlog would load rich to colour a terminal; that takes longer than everything else that a worker needs.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from confd.services.backup.taking import worker

    worker.main()


if __name__ == "__main__":
    main()
