"""Restores whose daemons and programs are killed while the data comes from the volume."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster import saving
from tests.cluster.harness import Cluster, until
from tests.cluster.saving import Saved
from tests.torture import TORTURE


@pytest.fixture(scope="module")
def fetched(plain: Cluster) -> Iterator[Saved]:
    """Give a database on n12 whose backups have two copies on n11 and n13, and a backup with 200,000 rows."""
    volumes = {
        "Data": {"nodes": [12]},
        "Arc": {"type": "archive", "nodes": [11, 13], "num_master_nodes": 1, "redundancy": 2},
    }
    with saving.saved(plain, "fetched", 9963, volumes, [12]) as made:
        made.sql("CREATE TABLE t AS SELECT md5(i::text) FROM generate_series(1, 200000) AS i")
        made.take(0)
        yield made


def place_of(fetched: Saved) -> Path:
    """Return the directory of the data."""
    (data,) = fetched.cluster.root(12).glob("data/storage/*/segments/*/pgdata")
    return data


def unpacking(data: Path) -> int:
    """Return the program that unpacks the backup, 0 while there is none."""
    try:
        pid = int(json.loads((data.parent / "busy").read_text())[2])
        return pid if pid and psutil.Process(pid).name() == "tar" else 0
    except (ValueError, psutil.Error):
        return 0


@contextlib.contextmanager
def halted(fetched: Saved) -> Iterator[tuple[str, int]]:
    """Begin a restore and halt it in the middle; the job, and the program that unpacks."""
    fetched.sql("CREATE TABLE later AS SELECT 1 AS i")
    (backup,) = fetched.listed()
    fetched.run("db_stop", db_name=fetched.name)
    data = place_of(fetched)
    params = {"db_name": fetched.name, "backup_id": backup, "restore_type": "blocking"}
    client: Any = fetched.cluster.client(13)
    job = client.job_start("db_restore", {"params": params})
    program = until(lambda: unpacking(data), "the restore fetches")
    os.kill(program, signal.SIGSTOP)
    try:
        until(lambda: psutil.Process(program).status() == psutil.STATUS_STOPPED, "it is halted")
        yield job, program
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(program, signal.SIGCONT)


DEATHS = [((11, 12), True, None), ((), True, False)]
MORE = [((12,), False, None), ((11,), False, None), ((13,), False, True)]


@pytest.mark.parametrize(("victims", "programs", "restored"), [*DEATHS, *(MORE if TORTURE else [])])
def test_death_in_mid_fetch(fetched: Saved, victims: tuple[int, ...], programs: bool, restored: bool | None) -> None:
    """Whatever dies, the present data stays whole until the end: the restore goes on, or the database is as it was.

    A copy of the backup that goes away is replaced by the other one; a program that dies ends the restore.
    """
    data = place_of(fetched)
    with halted(fetched) as (job, program):
        for node in victims:
            fetched.cluster.kill(node)
        if programs:
            os.kill(program, signal.SIGKILL)
        assert (data / "PG_VERSION").exists()
    fetched.cluster.start()
    result = fetched.result(fetched.cluster.client(13), job)
    assert restored in (None, result["result_code"] == 0), result
    fetched.ended()
    if result["result_code"]:
        assert fetched.run("db_state", db_name=fetched.name) == "setup", result
        fetched.run("db_start", db_name=fetched.name)
    assert fetched.sql("SELECT count(*) FROM t") == (200000,)
    assert fetched.sql("SELECT to_regclass('later') IS NULL") == (result["result_code"] == 0,), result
    until(lambda: not list(data.parent.glob("pgdata.*")), "nothing is left of what was fetched")
    assert not psutil.pid_exists(program)
    fetched.sql("DROP TABLE IF EXISTS later")
