"""The worker of a backup that is held at its beginning."""

from __future__ import annotations

import os
import signal

import pytest

from confd.model.errors import WrongState
from confd.services.backup.running import _source, look
from confd.services.backup.taking.client import WorkerClient
from confd.services.backup.taking.worker import Task
from confd.services.backup.targets import place_of
from tests.services.backup.conftest import ARCHIVE, Site
from tests.services.backup.holding import held
from tests.services.database.rig import NAME
from tests.services.database.waiting import until


def test_a_held_backup_is_killed_aborted_and_left_alone(site: Site) -> None:
    """However it ends before its time, the reason is said, nothing is listed and all space is free again."""
    before = site.target.free()
    killed, aborted, alone = site.order(), site.order(), site.order()
    client = WorkerClient(site.host, NAME)
    with held(site.rig.base):
        site.attendant.begin(NAME, killed)
        with pytest.raises(WrongState, match="backup"):
            site.attendant.begin(NAME, aborted)
        os.kill(int((client.state / "worker").read_text()), signal.SIGKILL)
        site.ended(killed)
        last = site.supervision.record(NAME).last
        assert last
        assert "interrupted" in last.message
        assert (site.supervision.record(NAME).operation, site.target.files()) == ("", [])

        site.attendant.begin(NAME, aborted)
        site.attendant.abort(NAME, aborted)
        last = site.supervision.record(NAME).last
        assert last
        assert "aborted" in last.message
        assert (site.target.files(), site.target.free()) == ([], before)
        site.attendant.abort(NAME, aborted)
        assert look.function(site.host, NAME, aborted).ended

        source = _source(site.host, NAME, alone)
        client.begin(Task(alone, source, place_of(site.host, ARCHIVE), alone=0.2))
        until((client.state / "result.json").exists)
    seen = look.function(site.host, NAME, alone)
    assert seen.ended
    assert "nobody asked" in seen.ended.message
    assert (site.target.files(), site.target.free()) == ([], before)
    assert site.take().complete
