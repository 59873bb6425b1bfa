"""The processes of a play: starting daemons, finding them, stopping everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from confd.cluster.processtable import command_line, processes_of_machine
from confd.model.errors import TimedOut
from confd.play.record import Play, PlayNode
from confd.services.database.keeper.processes import send, start_time, wait_gone
from confd.services.etcd.plan import DATA as ETCD
from confd.services.etcd.process import server_of

_OWN_VARIABLES: Final = ("CCC_", "EXA_ROOT", "CONFD_SOCKET")
_OUTPUT: Final = "logs/logd/confd.out"
_LOG: Final = "logs/logd/ConfD.log"
_LAST_LINES: Final = 15
_DAEMON_PATIENCE: Final = 20.0
# A keeper gives its server a minute to write a checkpoint before it uses force.
_KEEPER_PATIENCE: Final = 75.0
# The last members wait in vain for others to lead after them; a kill harms none, everything is on disk.
_ETCD_PATIENCE: Final = 1.0


def program() -> list[str]:
    """Return the words that begin a command line of the daemon."""
    script = Path(sys.executable).with_name("confd")
    return [sys.executable, str(script)] if script.exists() else [sys.executable, "-P", "-m", "confd.cli.confd"]


def start(node: PlayNode) -> subprocess.Popen[bytes]:
    """Start the daemon of a node in the background."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
    path = node.root / _OUTPUT
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
        return subprocess.Popen(
            [*program(), "--root", str(node.root)], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            cwd="/", env=environment, start_new_session=True,
        )  # fmt: skip


def daemon(node: PlayNode) -> int | None:
    """Return the process id of a node's daemon, None when it does not run."""
    try:
        pid = int((node.root / "spool/confd.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if _is_daemon(pid, node.root) else None


def running_since(pid: int) -> float | None:
    """Return when a process began, seconds of CLOCK_BOOTTIME; None when it is gone."""
    ticks = start_time(pid)
    return None if ticks is None else ticks / os.sysconf("SC_CLK_TCK")


def last_words(node: PlayNode) -> str:
    """Return the last lines that a daemon wrote, what it printed after what it logged."""
    lines: list[str] = []
    for name in (_LOG, _OUTPUT):
        path = node.root / name
        if path.exists():
            lines += path.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:])


def stop(nodes: Iterable[PlayNode]) -> None:
    """Stop daemons, then keepers and with them database servers, then etcd, then whatever else is left.

    Daemons first: a supervisor would start again what stops.

    :raises TimedOut: something does not end even when killed.
    """
    known = list(nodes)
    _end([pid for node in known if (pid := daemon(node)) is not None], signal.SIGTERM, _DAEMON_PATIENCE)
    _end([pid for node in known for pid in keepers(node)], signal.SIGTERM, _KEEPER_PATIENCE)
    _end([pid for node in known if (pid := server_of(node.root)) is not None], signal.SIGTERM, _ETCD_PATIENCE)
    left = remains(known)
    _end(left, signal.SIGKILL, _DAEMON_PATIENCE)
    stubborn = remains(known)
    if stubborn:
        raise TimedOut(f"processes {', '.join(map(str, stubborn))} do not end, not even when killed")


def keepers(node: PlayNode) -> list[int]:
    """Return the keepers of database instances that run on a node."""
    found: list[int] = []
    for path in (node.root / "metadata/dwad").glob("*/keeper"):
        try:
            pid, started = json.loads(path.read_text())
        except (OSError, ValueError, TypeError):
            continue
        if started is not None and start_time(pid) == started:
            found.append(pid)
    return found


def remains(nodes: Iterable[PlayNode]) -> list[int]:
    """Return all processes that belong to nodes: daemons, keepers, and what works in their directories."""
    roots = [str(node.root) for node in nodes]
    return [pid for pid in processes_of_machine() if _belongs(pid, roots)]


def running(play: Play) -> bool:
    """Tell whether any daemon of a play runs."""
    return any(daemon(node) is not None for node in play.nodes)


def _belongs(pid: int, roots: list[str]) -> bool:
    words = command_line(pid)
    if "--root" in words[:-1] and words[words.index("--root") + 1] in roots:
        return _alive(pid)
    is_keeper = "confd.services.database.keeper.keeper" in words
    try:
        place = str(Path(f"/proc/{pid}/cwd").readlink())
        program = str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        place = program = ""
    inside = any(word.startswith(f"{root}/") for root in roots for word in (*(words if is_keeper else ()), place))
    is_server = program.endswith("/postgres") or place.endswith(f"/{ETCD}")
    return inside and (is_keeper or is_server) and _alive(pid)


def _is_daemon(pid: int, root: Path) -> bool:
    words = command_line(pid)
    return "--root" in words[:-1] and words[words.index("--root") + 1] == str(root) and _alive(pid)


def _alive(pid: int) -> bool:
    return start_time(pid) is not None


def _end(pids: list[int], number: signal.Signals, patience: float) -> None:
    for pid in pids:
        send(pid, number)
    until = time.monotonic() + patience
    for pid in pids:
        if not _gone(pid, until):
            send(pid, signal.SIGKILL)
            wait_gone(pid, 5.0)


def _gone(pid: int, until: float) -> bool:
    return not _alive(pid) or wait_gone(pid, max(0.0, until - time.monotonic()))
