"""The history of jobs."""

from __future__ import annotations

import pytest

from confd.jobs.history import read_time
from confd.model.errors import InvalidParameter, PermissionDenied
from confd.store.protocol import JobQuery, JobRow
from tests.jobs.stage import Stage


class Journal:
    """Answers with two jobs and remembers what it was asked."""

    def jobs(self, query: JobQuery) -> list[JobRow]:
        """Return a failed and a running job."""
        self.asked = query
        return [
            JobRow("11.8", "db_start", "modify", "ann", "scheduled", 1_767_225_660.0, None, None, None),
            JobRow("11.7", "user_create", "modify", "root", "committed", 1_767_225_600.0, 1_767_225_601.0, 302, None),
        ]


@pytest.fixture
def journal(stage: Stage) -> Journal:
    """The journal of the stage."""
    stage.store = Journal()
    return stage.store


def test_lines_say_what_happened(stage: Stage, journal: Journal) -> None:
    """A job is a line with its times in UTC, and the name of its result once it has one."""
    assert stage.run("job_history").result == [
        {
            "job_id": "11.8", "job_name": "db_start", "intent": "modify", "user": "ann", "stage": "scheduled",
            "submitted": "2026-01-01 00:01:00",
        },
        {
            "job_id": "11.7", "job_name": "user_create", "intent": "modify", "user": "root", "stage": "committed",
            "submitted": "2026-01-01 00:00:00", "ended": "2026-01-01 00:00:01", "result_code": 302,
            "result_name": "ALREADY_EXISTS",
        },
    ]  # fmt: skip
    assert journal.asked == JobQuery()


def test_filters_are_handed_on(stage: Stage, journal: Journal) -> None:
    """All filters reach the journal in its own terms."""
    stage.run(
        "job_history", names=["db_start"], user="ann", stage="finished", since="2026-01-01", until="2026-01-02 12:00",
        limit=5,
    )  # fmt: skip
    assert journal.asked == JobQuery(("db_start",), "ann", None, "finished", 1_767_225_600.0, 1_767_355_200.0, 5)


def test_users_see_their_own_jobs(stage: Stage, journal: Journal) -> None:
    """Who is no administrator sees his own jobs only."""
    stage.run("job_history", by="ann")
    assert journal.asked.user == "ann"
    with pytest.raises(PermissionDenied, match="his own jobs only"):
        stage.run("job_history", by="ann", user="root")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"since": "yesterday"}, "since: 'yesterday' is not a time"),
        ({"limit": 0}, "minimum"),
        ({"stage": "x"}, "one of"),
    ],
)
def test_bad_filters(stage: Stage, journal: Journal, given: dict[str, object], message: str) -> None:
    """Filters are checked."""
    with pytest.raises(InvalidParameter, match=message):
        stage.run("job_history", **given)


def test_times_are_utc() -> None:
    """A time without zone is UTC."""
    assert read_time("1970-01-01 00:00:10") == 10.0
