"""The log of a daemon: one event per line, daily rotation, ten files kept."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path
from typing import Final

import structlog

_KEPT: Final = 10


def set_up(path: Path, level: str = "INFO") -> None:
    """Send all events to a file, mode 600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    handler = logging.handlers.TimedRotatingFileHandler(path, when="midnight", backupCount=_KEPT, utc=True)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("aiohttp").setLevel("WARNING")
    logging.getLogger("asyncio").setLevel("WARNING")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
