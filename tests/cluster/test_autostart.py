"""Which databases come back with the cluster."""

from __future__ import annotations

from tests.cluster.harness import Cluster, until
from tests.cluster.test_database import postgres_processes
from tests.torture import long


@long
def test_only_databases_with_auto_start_come_back(with_database: Cluster) -> None:
    """After c4 stop and c4 start a database runs again if it ran and starts with the cluster, else it is in setup."""
    run = with_database.run
    for auto_start, state in ((False, "setup"), (True, "running")):
        if run("db_state", db_name="Exasol") != "setup":
            run("db_stop", db_name="Exasol")
        run("db_configure", db_name="Exasol", auto_start=auto_start)
        run("db_start", db_name="Exasol")
        with_database.c4("stop", "-t", "1")
        assert postgres_processes(with_database) == []
        with_database.start()
        until(lambda state=state: run("db_state", db_name="Exasol") == state, f"the database is {state}")
        assert bool(postgres_processes(with_database)) == auto_start
