"""From one major version to the next, with real data of PostgreSQL 15."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable

import pytest

from confd.model.errors import NodeError, Unsupported, WrongState
from confd.services.database.engine import installation, upgrading
from confd.services.database.engine.data import read_content
from confd.services.database.engine.layout import data_place
from confd.services.database.instance import operations as instance
from confd.services.database.keeper.processes import processes_in
from confd.services.database.record import Wanted, read_record
from tests.servers import POSTGRESQL, require
from tests.services.database.rig import NAME, Rig
from tests.services.database.waiting import until


class Killer(threading.Thread):
    """Kills whatever an upgrade runs on the copy of a node's data, until it is told that this was enough."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self._place = data_place(rig.hosts[11], rig.conf_now.require_database(NAME)).aside
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.wait(0.01):
            for pid in processes_in(self._place) if (self._place / "data/PG_VERSION").exists() else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def old(make_rig: Callable[..., Rig]) -> Rig:
    """Two nodes with a stopped database of PostgreSQL 15 that has a table and a user."""
    require(POSTGRESQL)
    rig = make_rig(11, 12)
    rig.volume(redundancy=2)
    rig.database(version="15")
    supervision = rig.supervise()
    rig.define()
    supervision.want(NAME, Wanted.RUNNING)
    rig.sql(11, "CREATE TABLE t AS SELECT i, 'ä' || i AS s FROM generate_series(1, 1000) AS i")
    rig.sql(11, "CREATE ROLE ann LOGIN PASSWORD 'geheim'")
    supervision.want(NAME, Wanted.STOPPED)
    return rig


def test_data_come_along(old: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start has all rows, users and passwords in the new version; standbys follow; old data go then."""
    supervision, said = old.supervisions[0], []
    before = read_record(old.cluster, NAME)
    old.database(version="18")
    with monkeypatch.context() as without, pytest.raises(Unsupported, match="PostgreSQL 15"):
        without.setattr(installation, "_USUAL_PLACE", old.base)
        upgrading.check_version.function(old.hosts[11], NAME, "18")
    assert "from PostgreSQL 15 to 18" in upgrading.check_version.function(old.hosts[11], NAME, "18")
    supervision.want(NAME, Wanted.RUNNING, say=said.append)
    assert said[0] == "n11: bring the data to the version that is to run"
    assert old.sql(11, "SHOW server_version_num")[0][0].startswith("18")
    assert old.sql(11, "SELECT count(*), max(s) FROM t") == [(1000, "ä999")]
    until(lambda: old.sql(12, "SELECT count(*) FROM t") == [(1000,)])
    assert old.sql(12, "SELECT 1", user="ann") == [(1,)]
    assert not (old.data(11).parent / "pgdata.old").exists()
    now = read_record(old.cluster, NAME)
    assert before
    assert now
    assert now.generation != before.generation
    assert now.system_id != before.system_id
    supervision.want(NAME, Wanted.STOPPED)
    with pytest.raises(WrongState, match="create_new_db"):
        upgrading.check_version.function(old.hosts[11], NAME, "15")


def test_killed_in_the_middle(old: Rig) -> None:
    """Killing pg_upgrade leaves the old data as they were; the next try works; so does going back before its use."""
    host, before = old.hosts[11], read_content(old.data(11))
    old.database(version="18")
    run = upgrading.upgrade.function
    killer = Killer(old)
    killer.start()
    try:
        with pytest.raises(NodeError):
            run(host, NAME, "next")
    finally:
        killer.enough.set()
        killer.join()
    assert read_content(old.data(11)) == before
    run(host, NAME, "next")
    run(host, NAME, "next")
    upgraded = read_content(old.data(11))
    assert upgraded
    assert (upgraded.major, upgraded.marker.generation) == (18, "next")
    old.database(version="15")
    assert "goes back" in upgrading.check_version.function(host, NAME, "15")
    run(host, NAME, "back")
    back = read_content(old.data(11))
    assert back
    assert (back.major, back.marker.generation, back.system_id) == (15, "back", before.system_id)
    # A crash between the two renames.
    old.data(11).rename(old.data(11).with_name("pgdata.old"))
    assert instance.observe.function(host, NAME).generation == "back"
