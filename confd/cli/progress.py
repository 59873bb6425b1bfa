"""A line on stderr that tells how a running job is getting on."""

from __future__ import annotations

import threading
import time
from typing import Any, Final, Self

from confd.cli.connection import Connection
from confd.cli.exits import CommandError
from confd.cli.render import node_name

_QUIET_SECONDS: Final = 1.0
_REFRESH_SECONDS: Final = 0.25


class Progress:
    """Appears when the job has run for a second and vanishes when it ends.

    Asks over a connection of its own, because the other one waits for the result.
    """

    def __init__(self, connection: Connection, job: str, job_id: str) -> None:
        self._connection, self._job, self._job_id = connection, job, job_id
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _show(self) -> None:
        if self._ended.wait(_QUIET_SECONDS):
            return
        from rich.console import Console
        from rich.markup import escape

        console = Console(stderr=True)
        with console.status(self._text({})) as status:
            while not self._ended.wait(_REFRESH_SECONDS):
                status.update(escape(self._text(self._info())))
        self._connection.close()

    def _info(self) -> dict[str, Any]:
        try:
            info: dict[str, Any] = self._connection.call("job_info", {"job_id": self._job_id})
        except CommandError:
            # The other connection says what is wrong, should it last.
            return {}
        return info

    def _text(self, info: dict[str, Any]) -> str:
        seconds = time.monotonic() - self._started
        return f"{self._job} {self._job_id}  {doing(info)}  {seconds:.0f} s"


def doing(info: dict[str, Any]) -> str:
    """Say what a job does at present: its stage, and the command that runs."""
    stage = str(info.get("stage", "submitted"))
    if info.get("progress"):
        return f"{stage}, {info['progress']}"
    running = [command for command in info.get("commands") or () if is_running(command)]
    if not running:
        return stage
    more = f" and {len(running) - 1} more" if len(running) > 1 else ""
    return f"{stage}, {running[0]['name']} on {node_name(running[0])}{more}"


def is_running(command: dict[str, Any]) -> bool:
    """Tell whether a command of a job file was sent and has not ended."""
    return bool(command.get("started")) and not command.get("finished")
