"""How long backups and restores take beside PostgreSQL's own tools on the same disk."""

from __future__ import annotations

import os
import pwd
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import psycopg

from bench.clusters import plain_cluster
from bench.settings import Settings
from bench.table import Report, Row, at_most, compared, spread
from tests.cluster.harness import SYS_PASSWORD, Cluster, until

_NAME: Final = "bench"
_PORT: Final = 8563
_SCALE: Final = 30
_TRANSACTIONS: Final = 5_000
_LEVEL_1_SECONDS: Final = 1.5


@dataclass
class Hand:
    """PostgreSQL's own tools, as an administrator runs them on the node."""

    tools: Path
    sockets: str
    user: str
    place: Path

    def run(self, tool: str, *words: str) -> None:
        """Run a tool as the server's user."""
        root = os.getuid() == 0
        subprocess.run(
            [self.tools / tool, *words], check=True, capture_output=True, cwd=self.place,
            user=self.user if root else None, group=pwd.getpwnam(self.user).pw_gid if root else None,
        )  # fmt: skip

    def backup(self, name: str, base: str | None = None) -> float:
        """Take a plain backup into a directory; the seconds."""
        shutil.rmtree(self.place / name, ignore_errors=True)
        more = [f"--incremental={self.place / base}/backup_manifest"] if base else []
        began = time.perf_counter()
        self.run("pg_basebackup", "-D", str(self.place / name), "-c", "fast", "-h", self.sockets, "-p", str(_PORT),
                 "-U", "exa_admin", "-w", *more)  # fmt: skip
        return time.perf_counter() - began

    def restore(self) -> float:
        """Combine a level 0 and a level 1 and start a server on the result; the seconds until it takes connections."""
        shutil.rmtree(self.place / "out", ignore_errors=True)
        began = time.perf_counter()
        self.run("pg_combinebackup", str(self.place / "full"), str(self.place / "one"), "-o", str(self.place / "out"))
        how = f"-c listen_addresses= -c unix_socket_directories={self.place} -c hba_file={self.place}/hba"
        (self.place / "hba").write_text("local all all trust\n")
        self.run("pg_ctl", "-D", str(self.place / "out"), "-l", str(self.place / "log"), "-w", "-o", how, "start")
        psycopg.connect(host=str(self.place), user="exa_admin", dbname="postgres", port=5432).close()
        seconds = time.perf_counter() - began
        self.run("pg_ctl", "-D", str(self.place / "out"), "-m", "fast", "-w", "stop")
        return seconds


def backups(settings: Settings) -> Report:
    """Take and restore backups of a database of 500 MB, and do the same by hand."""
    fulls: list[float] = []
    plains: list[float] = []
    ones: list[float] = []
    restores: list[float] = []
    hands: list[float] = []
    with plain_cluster() as cluster:
        _make(cluster)
        hand = _hand(cluster)
        for _ in range(settings.runs):
            plains.append(hand.backup("full"))
            fulls.append(_take(cluster, 0))
            _transactions(cluster)
            hand.backup("one", "full")
            ones.append(_take(cluster, 1))
            newest = max(cluster.run("db_backup_list", db_name=_NAME), key=lambda one: one["bid"])
            cluster.run("db_stop", db_name=_NAME)
            hands.append(hand.restore())
            began = time.perf_counter()
            cluster.run("db_restore", db_name=_NAME, backup_id=newest["id"], restore_type="blocking")
            restores.append(time.perf_counter() - began)
        size = cluster.run("db_backup_list", db_name=_NAME)[0]["usage"]
        shutil.rmtree(hand.place)
    rows: list[Row] = [
        compared("backup level 0, 500 MB, compressed", fulls, plains, ("≤ 1.20", lambda ratio: ratio <= 1.2),
                 peer_name="pg_basebackup", unit="s", digits=2),
        at_most("backup level 1 after 5,000 transactions", statistics.median(ones), _LEVEL_1_SECONDS, "s"),
        compared("restore of level 0 + 1 to connectible", restores, hands, ("≤ 2.00", lambda ratio: ratio <= 2.0),
                 peer_name="by hand", unit="s", digits=2),
    ]  # fmt: skip
    note = (
        f"backup: tables like those of pgbench -s {_SCALE}; from the job to the end of the operation, to an archive "
        f"volume with one copy on the same disk ({size} for level 0); by hand means pg_basebackup -D into a directory, "
        f"and pg_combinebackup, pg_ctl start; {settings.runs} rounds (level 0 {spread(fulls, 2)} s, level 1 "
        f"{spread(ones, 2)} s, restore {spread(restores, 2)} s)."
    )
    return Report(rows, [note])


def _make(cluster: Cluster) -> None:
    run = cluster.run
    run("st_volume_create", name="Bench", type="data", disk="disk1", size="2 GiB", nodes=[11], redundancy=1)
    run("st_volume_create", name="Archive", type="archive", disk="disk1", size="3 GiB", nodes=[11], redundancy=1)
    run("db_create", db_name=_NAME, version="18", data_volume_name="Bench", mem_size="1 GiB", nodes=[11],
        num_active_nodes=1, port=_PORT, enable_auditing=False)  # fmt: skip
    run("db_start", db_name=_NAME)
    with _connect(cluster) as connection:
        for statement in (
            "CREATE TABLE branches (bid int PRIMARY KEY, balance int, filler char(88))",
            f"INSERT INTO branches SELECT i, 0, '' FROM generate_series(1, {_SCALE}) i",
            "CREATE TABLE history (bid int, aid int, delta int, at timestamp, filler char(22))",
            "CREATE TABLE accounts (aid int, bid int, balance int, filler char(84))",
            f"INSERT INTO accounts SELECT i, (i - 1) / 100000 + 1, 0, '' FROM generate_series(1, {_SCALE * 100_000}) i",
            "ALTER TABLE accounts ADD PRIMARY KEY (aid)",
            "VACUUM ANALYZE",
            "CHECKPOINT",
        ):
            connection.execute(statement)


def _connect(cluster: Cluster) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=cluster.addresses[11], port=_PORT, user="sys", password=SYS_PASSWORD, dbname=_NAME, autocommit=True
    )


def _transactions(cluster: Cluster) -> None:
    with _connect(cluster) as connection:
        connection.execute("SET synchronous_commit = off")
        for number in range(_TRANSACTIONS):
            account = number * 7919 % (_SCALE * 100_000) + 1
            with connection.transaction():
                connection.execute("UPDATE accounts SET balance = balance + 1 WHERE aid = %s", (account,))
                connection.execute("UPDATE branches SET balance = balance + 1 WHERE bid = %s", (number % _SCALE + 1,))
                connection.execute("INSERT INTO history VALUES (1, %s, 1, now(), '')", (account,))


def _take(cluster: Cluster, level: int) -> float:
    began = time.perf_counter()
    cluster.run("db_backup_start", db_name=_NAME, backup_volume_name="Archive", level=level)
    info = until(lambda: (now := cluster.run("db_info", db_name=_NAME))["operation"] == "None" and now, "it ends")
    assert info["info"] == "", info["info"]
    return time.perf_counter() - began


def _hand(cluster: Cluster) -> Hand:
    """Find the server's tools, user and sockets by its process; make a directory of its own on the same disk."""
    words = [process for process in cluster.processes() if "/bin/postgres" in " ".join(process.cmdline())]
    server: psutil.Process = words[0]
    config = next(word for word in server.cmdline() if "config_file" in word).partition("=")[2].partition("=")[2]
    settings = dict(line.split(" = ", 1) for line in Path(config).read_text().splitlines() if " = " in line)
    place = Path(settings["data_directory"].strip("'")).parent / "hand"
    place.mkdir(mode=0o700)
    user = server.username()
    if os.getuid() == 0:
        shutil.chown(place, user)
    return Hand(Path(server.cmdline()[0]).parent, settings["unix_socket_directories"].strip("'"), user, place)
