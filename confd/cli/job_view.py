"""``confd_client job``: the history of jobs, one job file, a job as it goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from confd.cli.connection import Connection
from confd.cli.exits import CommandError, Exit
from confd.cli.place import Place, connect
from confd.cli.render import render_job_file, render_json, render_result
from confd.cli.table import table
from confd.cli.watching import watch_all, watch_job
from confd.model.states import Intent

F = TypeVar("F", bound=Callable[..., Any])

_HEAD = ("ID", "JOB", "USER", "STAGE", "RESULT", "REVISION", "SUBMITTED (UTC)", "ENDED")


def run_view(argv: Sequence[str]) -> int:
    """Run a command line that begins after the word ``job``; return the exit status."""
    try:
        status = _job.main(list(argv), "confd_client job", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        raise CommandError(error.format_message(), Exit.USAGE) from None
    except click.ClickException as error:
        raise CommandError(error.format_message(), Exit.USAGE) from None
    except click.exceptions.Abort:
        return Exit.INTERRUPTED
    return status if isinstance(status, int) else Exit.OK


def _on_cluster(command: F) -> F:
    for option in (
        click.option("--insecure", is_flag=True, help="Do not check its certificate."),
        click.option("--ca", metavar="FILE", help="Certificate or authority that its certificate must fit."),
        click.option("--user", "login", metavar="NAME", help="Log in as this user with --url; default admin."),
        click.option("--url", metavar="URL", help="Cluster to talk to; this node without it."),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def _job() -> None:
    """Look at jobs."""


@_job.command("list")
@click.option("--limit", "-n", type=int, default=20, show_default=True, help="How many at most.")
@click.option("--name", multiple=True, help="Only jobs of this name; may be repeated.")
@click.option("--of", "user", metavar="USER", help="Only jobs of this user. Without --url also --user.")
@click.option("--stage", help="Only jobs in this stage.")
@click.option("--since", metavar="TIME", help="Only jobs submitted since, YYYY-MM-DD [hh:mm[:ss]] in UTC.")
@click.option("--until", metavar="TIME", help="Only jobs submitted before.")
@click.option("--json", "-j", "as_json", is_flag=True, help="Print JSON.")
@_on_cluster
def _list(
    limit: int, name: tuple[str, ...], user: str | None, stage: str | None, since: str | None, until: str | None,
    as_json: bool, url: str | None, login: str | None, ca: str | None, insecure: bool,
) -> int:  # fmt: skip
    """List jobs of the history, newest first."""
    if url is None and user is None:
        user, login = login, None
    wanted = {"names": list(name), "user": user, "stage": stage, "since": since, "until": until, "limit": limit}
    params = {key: value for key, value in wanted.items() if value not in (None, [])}
    envelope = connect(Place(url, login, ca, insecure)).call("job_exec", "job_history", {"params": params})
    shown = render_result(envelope, as_json=as_json)
    if shown.ok and not as_json:
        _write(_table(envelope.get("result_output") or []))
        return Exit.OK
    _write(shown.stdout)
    sys.stderr.write(shown.stderr)
    return Exit.OK if shown.ok else Exit.FAILED


@_job.command("show")
@click.argument("job_id", metavar="ID")
@click.option("--json", "-j", "as_json", is_flag=True, help="Print JSON.")
@_on_cluster
def _show(job_id: str, as_json: bool, url: str | None, login: str | None, ca: str | None, insecure: bool) -> int:
    """Show everything recorded about a job."""
    info = job_info(connect(Place(url, login, ca, insecure)), job_id)
    _write(render_json(info) if as_json else render_job_file(info))
    return Exit.OK


@_job.command("watch")
@click.argument("job_id", metavar="ID", required=False)
@_on_cluster
def _watch(job_id: str | None, url: str | None, login: str | None, ca: str | None, insecure: bool) -> int:
    """Follow a job, or all jobs.

    With ID the command ends as the job does, without it at Ctrl-C.
    """
    connection = connect(Place(url, login, ca, insecure))
    if job_id is None:
        watch_all(connection, _write)
        return Exit.OK
    job_info(connection, job_id)
    shown = render_result(watch_job(connection, job_id, _write))
    _write(shown.stdout)
    sys.stderr.write(shown.stderr)
    return Exit.OK if shown.ok else Exit.FAILED


def job_info(connection: Connection, job_id: str) -> dict[str, Any]:
    """Return a job file.

    :raises CommandError: no such job, or not the caller's.
    """
    info: dict[str, Any] = connection.call("job_info", {"job_id": job_id})
    if "stage" not in info:
        raise CommandError(str(info.get("result_desc", f"no job {job_id}")), Exit.FAILED)
    return info


def _table(jobs: Sequence[dict[str, Any]]) -> str:
    if not jobs:
        return "No jobs found.\n"
    return table(_HEAD, map(_row, jobs))


def _row(job: dict[str, Any]) -> tuple[object, ...]:
    columns = ("job_id", "job_name", "user", "stage", "result_name")
    # A read job has the revision that it saw there, which nobody looks for.
    revision = job.get("result_revision") if job.get("intent") == Intent.MODIFY else None
    return (*(job.get(column) for column in columns), revision, job.get("submitted"), _ended(job))


def _ended(job: dict[str, Any]) -> str | None:
    """Give the time of the end, and the day only when it is another one."""
    if not (ended := job.get("ended")):
        return None
    start, end = (datetime.fromisoformat(str(moment)) for moment in (job["submitted"], ended))
    return f"{end:%H:%M:%S}" if start.date() == end.date() else str(ended)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
