"""A database of a real cluster that is saved and restored: its volumes, statements, backups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg

from tests.cluster.harness import SYS_PASSWORD, Cluster, until


class Saved:
    """One database with the volumes that were made for it; jobs run on its cluster."""

    def __init__(self, cluster: Cluster, name: str, port: int, nodes: Sequence[int], archive: str) -> None:
        self.cluster, self.name, self.port, self.nodes, self.archive = cluster, name, port, nodes, archive
        self.run, self.try_run = cluster.run, cluster.try_run

    def sql(self, statement: str) -> Any:
        """Run a statement on the primary; the first row."""
        hosts = ",".join(self.cluster.addresses[node] for node in self.nodes)
        with psycopg.connect(
            host=hosts, port=self.port, user="sys", password=SYS_PASSWORD, dbname=self.name, autocommit=True,
            target_session_attrs="read-write", connect_timeout=10,
        ) as connection:  # fmt: skip
            cursor = connection.execute(statement)
            return cursor.fetchone() if cursor.description else None

    def ended(self) -> dict[str, Any]:
        """Wait until no operation runs; what db_info says."""

        def idle() -> dict[str, Any] | None:
            info: dict[str, Any] = self.run("db_info", db_name=self.name)
            return info if info["operation"] == "None" else None

        found: dict[str, Any] = until(idle, "the operation ends")
        return found

    def take(self, level: int, node: int = 11, **more: Any) -> dict[str, Any]:
        """Take a backup and return it as it is listed."""
        known = set(self.listed())
        self.run("db_backup_start", node, db_name=self.name, backup_volume_name=self.archive, level=level, **more)
        info = self.ended()
        assert info["info"] == ""
        (new,) = [one for one in self.run("db_backup_list", db_name=self.name) if one["id"] not in known]
        assert new["usable"], info
        return dict(new)

    def listed(self, job: str = "db_backup_list") -> list[str]:
        """Return the ids that are listed."""
        return [one["id"] for one in self.run(job, db_name=self.name)]

    def result(self, client: Any, job: str) -> dict[str, Any]:
        """Wait for the end of a job, also while the daemon that is asked is started again; its envelope."""

        def done() -> Any:
            with contextlib.suppress(OSError):
                return client.job_finished(job) and client.job_result(job)

        found: dict[str, Any] = until(done, f"job {job} ends")
        return found


@contextlib.contextmanager
def saved(
    cluster: Cluster, name: str, port: int, volumes: Mapping[str, Mapping[str, Any]], nodes: Sequence[int], **more: Any
) -> Iterator[Saved]:
    """Make volumes and a running database for a block; all daemons run at its end.

    :param volumes: what differs from 256 MiB with one copy, by name; the first one takes the data, the last backups.
    """
    given = {"disk": "disk1", "size": "256 MiB", "redundancy": 1, "type": "data"}
    for volume, settings in volumes.items():
        cluster.run("st_volume_create", name=volume, **(given | dict(settings)))
    data, archive = next(iter(volumes)), next(reversed(volumes))
    wanted = {"mem_size": f"{256 * len(nodes)} MiB", "num_active_nodes": len(nodes), "version": "18"}
    cluster.run("db_create", db_name=name, data_volume_name=data, nodes=list(nodes), port=port, **(wanted | more))
    cluster.run("db_start", db_name=name)
    yield Saved(cluster, name, port, nodes, archive)
    cluster.start()
    with contextlib.suppress(AssertionError):
        cluster.run("db_stop", db_name=name)
    cluster.run("db_delete", db_name=name)
    for volume in volumes:
        cluster.run("st_volume_delete", vname=volume)
