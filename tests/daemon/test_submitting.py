"""Jobs of the master's own services are jobs like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from confd.cluster.counter import Counter
from confd.daemon.submitting import Submitting
from confd.model.errors import NoMaster, UnknownJob
from confd.scheduler import registry
from confd.scheduler.context import Context
from confd.scheduler.registry import MODIFY, Allow, job
from tests.scheduler.world import PATIENCE, Master, World, make


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Give a cluster without a network, and one job."""
    monkeypatch.setattr(registry, "_JOBS", {})

    @job(MODIFY, allow=Allow(users=("root",)))
    def make_it(ctx: Context, name: str) -> None:
        """Make a file.

        :param name: Its name.
        """
        ctx.run(make.on(12, name=name))

    made = World(tmp_path)
    yield made
    made.close()


def submitting(world: World, master: Master) -> Submitting:
    """Give what services of a master submit with."""
    return Submitting(11, Counter(world.root / "next.id"), master.scheduler)


def test_a_service_submits_as_the_system(world: World) -> None:
    """The job has an id of the node's counter, runs as root, and is in the history; a refused one is, too."""
    master = world.master()
    jobs = submitting(world, master)
    done = jobs.submit("make_it", {"name": "a"})
    assert done.outcome.result(PATIENCE).code == 0
    file = master.scheduler.file(done.job_id)
    assert file is not None
    assert (done.job_id, file.submitted.user) == ("11.1", "root")
    assert file.submitted.request["protocol"] == "internal"
    refused = jobs.submit("no_such_job", {})
    assert refused.outcome.result(PATIENCE).code == UnknownJob.code
    assert refused.job_id == "11.2"


def test_a_master_that_goes_down_takes_none(world: World) -> None:
    """After the end of mastership nothing is submitted, and the service is told."""
    master = world.master()
    jobs = submitting(world, master)
    master.scheduler.close()
    with pytest.raises(NoMaster, match="was not submitted"):
        jobs.submit("make_it", {"name": "a"})
