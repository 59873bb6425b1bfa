"""Calls to the daemon of a node of a play, over its unix socket; the caller acts as root there."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.model.errors import Internal, NodeOffline, error_from
from confd.model.states import NOT_READY

_LOOK: Final = 2.0
_LONG: Final = 30.0


def is_ready(path: Path) -> bool:
    """Tell whether the daemon serves calls."""
    return _look(path)[0] == http.client.OK


def takes_jobs(path: Path) -> bool:
    """Tell whether the daemon takes jobs by its socket, be its port for clients open or not."""
    return is_ready(path) or bool(trouble(path))


def trouble(path: Path) -> str:
    """Return why a daemon that is up does not serve clients; empty when it does, or has not said yet."""
    status, text = _look(path)
    return text.removeprefix(NOT_READY).removeprefix(": ") if status == http.client.SERVICE_UNAVAILABLE else ""


def _look(path: Path) -> tuple[int, str]:
    http_ = _SocketHTTP(path, _LOOK)
    try:
        http_.request("GET", "/is_master")
        answer = http_.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        http_.close()


def run_job(path: Path, name: str, params: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
    """Run a job and return its result.

    :raises NodeOffline: no daemon answers.
    :raises ConfDError: the job failed.
    """
    call = {"method": "job_exec", "job": name, "params": {"params": params or {}}}
    http_ = _SocketHTTP(path, timeout)
    try:
        http_.request("POST", "/jrpc", msgspec.json.encode(call), {"Content-Type": "application/json"})
        body = http_.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise NodeOffline(f"the daemon at {path} does not answer ({error}); c4 ps shows what runs") from None
    finally:
        http_.close()
    return _output(name, body)


def start_job(path: Path, name: str, params: dict[str, Any]) -> str:
    """Submit a job and return its id.

    :raises NodeOffline: no daemon answers.
    :raises ConfDError: it was refused.
    """
    body = _call(path, {"method": "job_start", "job": name, "params": {"params": params}}, _LONG)
    answer = msgspec.json.decode(body)
    if isinstance(answer, dict):
        _output(name, body)
    return str(answer)


def job_ended(path: Path, name: str, job_id: str) -> tuple[bool, Any]:
    """Return whether a job has ended, and its result then; it has not when no daemon answers now.

    :raises ConfDError: the job failed.
    """
    try:
        ended = msgspec.json.decode(_call(path, {"method": "job_finished", "job_id": job_id}, _LONG))
        if ended is not True:
            return False, None
        body = _call(path, {"method": "job_result", "job_id": job_id}, _LONG)
    except NodeOffline:
        return False, None
    return True, _output(name, body)


def _call(path: Path, call: dict[str, Any], timeout: float) -> bytes:
    http_ = _SocketHTTP(path, timeout)
    try:
        http_.request("POST", "/jrpc", msgspec.json.encode(call), {"Content-Type": "application/json"})
        return http_.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise NodeOffline(f"the daemon at {path} does not answer ({error}); c4 ps shows what runs") from None
    finally:
        http_.close()


def _output(name: str, body: bytes) -> Any:
    try:
        answer = msgspec.json.decode(body)
        code = answer["result_code"]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise Internal(f"{name}: the daemon answered {body[:200].decode(errors='replace')}") from None
    if code:
        raise error_from(code, f"{name} failed: {answer['result_desc']} (job {answer['result_jobid']})")
    return answer.get("result_output")


class _SocketHTTP(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
