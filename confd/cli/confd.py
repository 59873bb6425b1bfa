"""``confd``: run the daemon of one node."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import click
import uvloop

from confd import __version__

if TYPE_CHECKING:
    from confd.daemon.node import Daemon

_M_ARENA_MAX: Final = -8
_TAKE_OVER_SECONDS: Final = 120.0


@click.command()
@click.option("--root", type=click.Path(path_type=Path), default=Path("/exa"), envvar="EXA_ROOT", show_default=True,
              help="Node root (EXA_ROOT): everything the node writes is below it.")  # fmt: skip
@click.option("--log-level", default="INFO", show_default=True, help="Least level that is logged.")
@click.option("--take-over", is_flag=True,
              help="Make this node the master because the master is lost; only with the embedded store.")  # fmt: skip
@click.version_option(__version__, prog_name="confd")
def main(root: Path, log_level: str, take_over: bool) -> None:
    """Run the ConfD daemon of one node in the foreground.

    Nodes are made by ``c4 host play``; it also starts their daemons.
    """
    # What is imported stays: looking through it again and again would take a tenth of the start.
    gc.disable()
    # structlog would load rich to colour a terminal; the daemon writes a file.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from confd.daemon import logs
    from confd.daemon.node import Daemon
    from confd.daemon.ordering import write_pid
    from confd.daemon.switching import RESTART
    from confd.model import failpoints
    from confd.model.errors import ConfDError
    from confd.scheduler import registry

    registry.load()

    if not root.is_dir():
        _fail(f"{root} does not exist; make nodes with c4 host play")
    if take_over and _order_take_over(root):
        return
    lock = _only_one(root)
    _save_memory()
    # Taken out, so that keepers and workers do not obey as well.
    orders = os.environ.pop(failpoints.VARIABLE, "")
    logs.set_up(root / "logs/logd/ConfD.log", log_level.upper())
    try:
        failpoints.obey(orders)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(_run(lambda: Daemon(root, take_over), root, write_pid))
    except (ConfDError, ValueError, OSError) as error:
        _fail(str(error))
    lock.close()
    if status == RESTART:
        words = [word for word in sys.orig_argv[1:] if word != "--take-over"]
        os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - this very program
    # Threads that wait for long commands must not keep the process.
    sys.stdout.flush()
    os._exit(status)


def _order_take_over(root: Path) -> bool:
    """Have the daemon that runs here take over, and say what came of it; False when none runs: it starts so then."""
    from confd.daemon.ordering import TAKE_OVER, answer_file, pid_file

    with contextlib.suppress(OSError, ValueError), (root / "spool/confd.lock").open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            answer = answer_file(root)
            answer.unlink(missing_ok=True)
            os.kill(int(pid_file(root).read_text()), TAKE_OVER)
            _report(answer)
            return True
    return False


def _report(answer: Path) -> None:
    deadline = time.monotonic() + _TAKE_OVER_SECONDS
    while not answer.exists():
        if time.monotonic() > deadline:
            _fail("the daemon does not answer; see its log")
        time.sleep(0.05)
    told = json.loads(answer.read_text())
    if not told["done"]:
        _fail(told["text"])
    print(told["text"])


async def _run(daemon: Callable[[], Daemon], root: Path, write_pid: object) -> int:
    node = daemon()
    assert callable(write_pid)
    write_pid(root)
    # What was loaded at start stays for good: keep it out of every later collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()
    status: int = await node.run()
    if node.farewell:
        print(f"confd: {node.farewell}", file=sys.stderr)
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
