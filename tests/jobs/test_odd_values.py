"""Whatever a caller sends ends in an error that tells him what is wrong, never in a defect of ConfD."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from confd.model.errors import ConfDError, InvalidParameter
from confd.scheduler.registry import Job, load
from confd.services.database.record import Record
from confd.store.sqlite import SqliteStore
from tests.jobs.stage import Stage
from tests.jobs.test_database_settings import site

ODD: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 1, 11, 2**62, 2**70, 1.5, float("nan"), float("inf"),
    "", " ", "x", "11", "[[11]]", "root", "\0", "\n", "=", "a/../b", "\u0661", "x" * 3_000, "x" * 20_000, b"", b"\xff",
    [], [[]], [[11]], [11, [12]], [{}], [{"a": [1]}], [None], [True], [1], [1.5], ["x"], [b"\xff"], ["\0"], [2**70],
    {}, {"a": 1}, {"a": [[]]}, {"a": None}, {"": {}}, {"Global": [["a"]]}, {"Global": [{}]}, {"Global": [None]},
    {"Global": {"NameServers": [[1]]}}, {"Global": {"NameServers": {"a": 1}}}, {"Logging": {"LogRotationTypes": [[]]}},
)  # fmt: skip
FITTING: Final[dict[str, Any]] = {"db_name": "DB1", "username": "ann", "groupname": "exausers", "vname": "V", "nid": 12}
"""What there is on the stage."""
ELSEWHERE: Final = {"master_change", "store_move"}
"""Jobs that need more of a master than the stage has."""

JOBS: Final = list(load().values())


def wrong(job: Job) -> Iterator[tuple[str, Any]]:
    """Give each parameter of a job each odd value."""
    return ((name, value) for name in job.parameters for value in ODD)


def fitting(job: Job) -> dict[str, Any]:
    """Give the mandatory parameters of a job values that fit the stage, or at least their types."""
    fit = {name: value for example in reversed(job.examples) for name, value in example.items()} | FITTING
    return {name: fit[name] for name, known in job.parameters.items() if known.mandatory and name in fit}


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_odd_values_are_read_or_refused(job: Job) -> None:
    """The error is about the parameter and names it."""
    for name, value in wrong(job):
        try:
            job.parameters[name].read(value)
        except InvalidParameter as error:
            assert error.message.startswith(f"{name}: "), (name, value)
        except Exception as defect:
            raise AssertionError(f"{job.name}: {name}={value!r:.80}") from defect


@pytest.fixture
def furnished(stage: Stage, tmp_path: Path) -> Iterator[Stage]:
    """Give a stage with a volume, a stopped database and a history."""
    stage.run("st_volume_create", name="V", type="data", disk="disk1", size="64 MiB", nodes=[11], redundancy=1)
    site(stage, Record())
    stage.store = SqliteStore(tmp_path / "journal")
    yield stage
    stage.store.close()


@pytest.mark.parametrize(
    "job", [job for job in JOBS if job.name not in ELSEWHERE and not job.waits], ids=lambda job: job.name
)
def test_odd_values_are_no_defect_of_the_job(job: Job, furnished: Stage) -> None:
    """A job that gets one odd value among fitting ones ends well, or with an error that is meant for the caller."""
    for name, value in wrong(job):
        given = fitting(job) | {name: value}
        for pair in job.substitutes:
            if name in (pair.name, pair.number):
                given.pop(pair.name if name == pair.number else pair.number, None)
        try:
            furnished.plan(job.name, **given)
        except ConfDError:
            pass
        except Exception as defect:
            raise AssertionError(f"{job.name}: {name}={value!r:.80}") from defect
