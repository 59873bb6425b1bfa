"""Following jobs by their stage changes (``subscribe``) and their job files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from confd.cli.connection import Connection
from confd.cli.progress import is_running
from confd.cli.render import node_name

_ALL_SECONDS: Final = 30.0
_JOB_SECONDS: Final = 0.5

Write = Callable[[str], None]


def watch_all(connection: Connection, write: Write) -> None:
    """Write a line for each stage that any job reaches, until interrupted."""
    cursor: int | None = None
    while True:
        start = {} if cursor is None else {"after": cursor}
        answer = connection.call("subscribe", {**start, "timeout": _ALL_SECONDS})
        cursor = answer["cursor"]
        for event in answer["events"]:
            moment = datetime.fromtimestamp(event["at"], UTC)
            write(f"{moment:%H:%M:%S}  {event['job_id']:<8}  {event['stage']:<10}  {event['job_name']}\n")


def watch_job(connection: Connection, job_id: str, write: Write) -> dict[str, Any]:
    """Write what is new in a job file until the job has ended; return its result."""
    seen: set[str] = set()
    cursor = 0
    while True:
        info = connection.call("job_info", {"job_id": job_id})
        for line in _lines(info):
            if line not in seen:
                seen.add(line)
                write(f"{line}\n")
        if info["result"]:
            result: dict[str, Any] = info["result"]
            return result
        cursor = connection.call("subscribe", {"after": cursor, "jobs": [job_id], "timeout": _JOB_SECONDS})["cursor"]


def _lines(info: dict[str, Any]) -> Iterator[str]:
    """Say what a job file holds so far, in order of time."""
    dated = [(str(at), f"{stage} {info['job_name']}") for stage, at in info["stages"].items()]
    for command in info.get("commands") or ():
        if not command.get("started"):
            continue
        name = f"{command['name']} on {node_name(command)}"
        dated.append((str(command["started"]), f"  {name} started"))
        if not is_running(command):
            dated.append((str(command["finished"]), f"  {name} {_end(command)}"))
    for at, text in sorted(dated, key=lambda line: line[0]):
        yield f"{_clock(at)}  {text}"


def _end(command: dict[str, Any]) -> str:
    return f"failed: {command['error']}" if command.get("error") else "done"


def _clock(at: str) -> str:
    return at.partition("T")[2].rstrip("Z") or at
