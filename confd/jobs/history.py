"""What was done in the cluster: the history of jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from confd.jobs.types import UserName
from confd.model.envelope import Outcome
from confd.model.errors import InvalidParameter, PermissionDenied
from confd.model.states import Stage
from confd.scheduler.context import Context
from confd.scheduler.parameters import Live, Rule
from confd.scheduler.registry import READ, Allow, job
from confd.store.protocol import JobQuery, JobRow

_GROUPS: Final = ("root", "exaadm", "exadbadm", "exastoradm", "exabfsadm", "exasaasadm", "exausers")
_FORM: Final = "YYYY-MM-DD, YYYY-MM-DD hh:mm or YYYY-MM-DD hh:mm:ss (UTC)"
_SHOWN: Final = "%Y-%m-%d %H:%M:%S"


def read_time(text: str) -> float:
    """Read a time in UTC as seconds.

    :raises InvalidParameter: says how to write it.
    """
    try:
        return datetime.fromisoformat(text.strip()).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InvalidParameter(f"{text!r} is not a time: give {_FORM}") from None


JobNames = Annotated[list[str], Rule(live=Live.JOB)]
Time = Annotated[str, Rule(check=read_time, form=_FORM)]
Limit = Annotated[int, Rule(minimum=1, maximum=10_000)]


@job(READ, allow=Allow(users=("root",), groups=_GROUPS), own=True)
def job_history(
    ctx: Context,
    *,
    names: JobNames | None = None,
    user: UserName | None = None,
    stage: Stage | None = None,
    since: Time | None = None,
    until: Time | None = None,
    limit: Limit = 100,
) -> list[dict[str, Any]]:
    """List jobs of the history, newest first; root and members of exaadm see everybody's, others their own.

    :param names: Only jobs with these names.
    :param user: Only jobs of this user.
    :param stage: Only jobs in this stage.
    :param since: Only jobs submitted at this time or later.
    :param until: Only jobs submitted before this time.
    :param limit: How many jobs at most.

    Examples:
    {}
    {names: [db_start, db_stop], since: '2026-01-31 12:00', limit: 20}
    """
    if not ctx.caller.administrator:
        if user not in (None, ctx.caller.name):
            raise PermissionDenied(f"user {ctx.caller.name!r} sees his own jobs only; leave user out")
        user = ctx.caller.name
    query = JobQuery(
        names=tuple(names or ()),
        user=user,
        stage=None if stage is None else str(stage),
        since=None if since is None else read_time(since),
        until=None if until is None else read_time(until),
        limit=limit,
    )
    return [_line(row) for row in ctx.store.jobs(query)]


def _line(row: JobRow) -> dict[str, Any]:
    line = {
        "job_id": row.id,
        "job_name": row.name,
        "intent": row.intent,
        "user": row.user,
        "stage": row.stage,
        "submitted": _shown(row.submitted),
        "ended": None if row.ended is None else _shown(row.ended),
        "result_code": row.code,
        "result_name": None if row.code is None else Outcome(code=row.code).name,
        "result_revision": row.revision,
    }
    return {key: value for key, value in line.items() if value is not None}


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(_SHOWN)
