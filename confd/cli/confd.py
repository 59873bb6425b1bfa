"""``confd``: run the daemon of one node."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import os
import sys
from pathlib import Path
from typing import IO, Final

import click
import uvloop

from confd import __version__

_M_ARENA_MAX: Final = -8


@click.command()
@click.option("--root", type=click.Path(path_type=Path), default=Path("/exa"), envvar="EXA_ROOT", show_default=True,
              help="Node root (EXA_ROOT): everything the node writes is below it.")  # fmt: skip
@click.option("--log-level", default="INFO", show_default=True, help="Least level that is logged.")
@click.version_option(__version__, prog_name="confd")
def main(root: Path, log_level: str) -> None:
    """Run the ConfD daemon of one node in the foreground.

    Nodes are made by ``c4 host play``; it also starts their daemons.
    """
    # structlog would load rich to colour a terminal; the daemon writes a file.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from confd.daemon import logs
    from confd.daemon.node import Daemon, write_pid
    from confd.scheduler import registry

    registry.load()

    if not root.is_dir():
        _fail(f"{root} does not exist; make nodes with c4 host play")
    lock = _only_one(root)
    _save_memory()
    logs.set_up(root / "logs/logd/ConfD.log", log_level.upper())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(_run(Daemon, root, write_pid))
    except (ValueError, OSError) as error:
        _fail(str(error))
    lock.close()
    # Threads that wait for long commands must not keep the process.
    sys.stdout.flush()
    os._exit(status)


async def _run(daemon: type, root: Path, write_pid: object) -> int:
    node = daemon(root)
    assert callable(write_pid)
    write_pid(root)
    # What was loaded at start stays for good: keep it out of every later collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    status: int = await node.run()
    return status


def _save_memory() -> None:
    """Have all threads share two pools of free memory: many threads with one each keep much for nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _only_one(root: Path) -> IO[str]:
    path = root / "spool/confd.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        _fail(f"a daemon runs already on {root}")
    return lock


def _fail(message: str) -> None:
    print(f"confd: {message}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
