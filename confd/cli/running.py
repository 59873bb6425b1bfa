"""Running one job: submit it, show how it goes when a person watches, hand back its result."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from confd.cli.connection import Connection
from confd.cli.exits import CommandError, Exit, Unreachable
from confd.cli.values import guess

_RECONNECT_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 0.3

Envelope = dict[str, Any]


def run_job(connection: Connection, job: str, params: Mapping[str, object], *, dry_run: bool = False) -> Envelope:
    """Run a job and wait for its result; Ctrl-C leaves it running.

    :raises CommandError: no result could be had; the message says what is known of the job.
    """
    options: dict[str, object] = {"params": typed(params)}
    if dry_run:
        options["dry_run"] = True
    if dry_run or not _watched():
        return _plain(connection, job, options)
    job_id = connection.call("job_start", job, options)
    # Without a master there is an envelope at once.
    return job_id if isinstance(job_id, dict) else follow(connection, job, job_id)


def follow(connection: Connection, job: str, job_id: str) -> Envelope:
    """Show a running job to the person who watches until its result is there."""
    from confd.cli.progress import Progress

    try:
        with Progress(connection.another(), job, job_id):
            return result_of(connection, job_id)
    except KeyboardInterrupt:
        text = f"\njob {job_id} goes on; look at it with: confd_client job watch {job_id}"
        raise CommandError(text, Exit.INTERRUPTED) from None


def result_of(connection: Connection, job_id: str) -> Envelope:
    """Wait for a job's result, also over a restart of the daemon."""
    broken_at: float | None = None
    while True:
        try:
            envelope: Envelope = connection.call("job_result", job_id)
            return envelope
        except Unreachable as error:
            broken_at = broken_at or time.monotonic()
            if time.monotonic() - broken_at > _RECONNECT_SECONDS:
                text = f"{error.message}\nWhat became of the job shows: confd_client job show {job_id}"
                raise Unreachable(text) from None
            time.sleep(_RETRY_SECONDS)


def typed(params: Mapping[str, object]) -> dict[str, object]:
    """Guess numbers and truth values inside mappings: no declared type reaches there."""
    return {name: _guess_in_mappings(value) for name, value in params.items()}


def _guess_in_mappings(value: object) -> object:
    if isinstance(value, dict):
        return guess(value)
    return [_guess_in_mappings(item) for item in value] if isinstance(value, list) else value


def _plain(connection: Connection, job: str, options: Mapping[str, object]) -> Envelope:
    try:
        envelope: Envelope = connection.call("job_exec", job, options)
    except KeyboardInterrupt:
        raise CommandError("the job goes on; find it with: confd_client job list", Exit.INTERRUPTED) from None
    return envelope


def _watched() -> bool:
    return sys.stdout.isatty() and sys.stderr.isatty()
