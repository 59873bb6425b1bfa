"""``make demo``: a cluster of three nodes on this machine, and what one does with it, step by step.

Every line after ``$`` is a command that is run. The cluster stays; the next run goes on with it.
"""

from __future__ import annotations

import os
import pprint
import shlex
import shutil
import ssl
import subprocess
import sys
import time
import xmlrpc.client
from pathlib import Path
from typing import Any, Final

import psycopg

from confd.cli.narration import WIDTH, echo, head, timed
from confd.model.errors import ConfDError, InUse
from confd.play import home, parameters
from confd.play.calls import run_job
from confd.play.holders import check_free
from confd.play.record import PASSWORDS, Play, Progress
from confd.play.settings import settle

_JOINT: Final = " \\"
_MARKER: Final = "demo"
_SHOP: Final = "Shop"
_SHOP_PORT: Final = 8600
_BACKUP_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.5
_SHOP_VOLUME: Final = "ShopVolume"
_SHOP_ARCHIVE: Final = "ShopArchive"
_TOTAL: Final = "SELECT count(*) AS orders, sum(price) AS total FROM orders"


class Failed(Exception):
    """A step did not do what it should; the message says what."""


def main() -> None:
    """Run the demo."""
    try:
        play = _cluster()
        demo = Demo(play)
        demo.run()
    except (Failed, ConfDError, OSError, psycopg.Error, xmlrpc.client.Error) as error:
        print(f"\ndemo: {error}\nThe cluster, if there is one, is left as it is: c4 ps shows it.", file=sys.stderr)
        sys.exit(1)
    _print_farewell(play, demo)


class Demo:
    """The steps on a cluster that runs."""

    def __init__(self, play: Play) -> None:
        kept = play.directory / PASSWORDS
        passwords = dict(os.environ) | (parameters.read_file(kept) if kept.exists() else {})
        self.admin_password = passwords.get("CCC_PLAY_ADMIN_PASSWORD", "")
        self.db_password = passwords.get("CCC_PLAY_DB_PASSWORD", "")
        self._play, self._first = play, play.nodes[0]
        self._place = os.environ | {
            "EXA_ROOT": str(self._first.root), "CONFD_SOCKET": str(self._first.socket), "COLUMNS": str(WIDTH),
            "PATH": f"{_programs()}:{os.environ.get('PATH', os.defpath)}",
        }  # fmt: skip

    def run(self) -> None:
        """Show everything."""
        self._clean_up()
        head(f"Jobs, from a shell on a node (c4 connect -t {self._play.number}/cos)")
        self._job("confd_client node_state")
        self._job("confd_client db_list")
        self._job("confd_client db_state db_name: Exasol")
        head("SQL: written on the primary, read on a standby")
        self._sql()
        head("A second database on a volume of its own, on two nodes")
        self._make_shop()
        head("Backups on an archive volume with two copies: level 0, a change, level 1")
        self._back_up()
        head("An accident; then, from Python over XML-RPC: stop the database")
        self._query(_SHOP, _SHOP_PORT, "primary", "DELETE FROM orders")
        self._query(_SHOP, _SHOP_PORT, "primary", _TOTAL)
        self._stop_by_xmlrpc()
        head("Restore it; the rows are back")
        self._restore()
        head("Delete it; a dry run tells first what would happen")
        self._job(f"confd_client db_stop db_name: {_SHOP}")
        self._job(f"confd_client db_delete db_name: {_SHOP} --dry-run")
        self._job(f"confd_client db_delete db_name: {_SHOP}")
        self._job(f"confd_client st_volume_delete vname: {_SHOP_VOLUME}")
        self._job(f"confd_client st_volume_delete vname: {_SHOP_ARCHIVE}")
        head("What was done: history of jobs, revisions of the configuration")
        self._job("confd_client job list")
        self._job("exaconf log")

    def _sql(self) -> None:
        database, port = str(self._play.database), self._play.db_port
        self._query(database, port, "primary", "CREATE TABLE IF NOT EXISTS visits (number serial, at timestamptz)")
        self._query(database, port, "primary", "INSERT INTO visits (at) VALUES (now()) RETURNING number")
        self._wait_applied(database, port)
        self._query(database, port, "standby", "SELECT count(*) AS visits, max(at) AS last FROM visits")

    def _make_shop(self) -> None:
        nodes = [node.node for node in self._play.nodes[:2]]
        listed = ", ".join(map(str, nodes))
        self._job(
            f"confd_client st_volume_create name: {_SHOP_VOLUME} type: data "
            f"disk: disk1 size: '1 GiB' nodes: '[{listed}]' redundancy: {len(nodes)}"
        )
        self._job(
            f"confd_client db_create db_name: {_SHOP} data_volume_name: {_SHOP_VOLUME} "
            f"version: {self._play.postgresql} mem_size: '512 MiB' nodes: '[{listed}]' "
            f"num_active_nodes: {len(nodes)} port: {_SHOP_PORT}"
        )
        self._job(f"confd_client db_start db_name: {_SHOP}")
        self._query(_SHOP, _SHOP_PORT, "primary", "CREATE TABLE orders (item text, price numeric)")
        self._query(_SHOP, _SHOP_PORT, "primary", "INSERT INTO orders VALUES ('tea', 3.20), ('milk', 1.10)")

    def _back_up(self) -> None:
        listed = ", ".join(str(node.node) for node in self._play.nodes[:2])
        self._job(
            f"confd_client st_volume_create name: {_SHOP_ARCHIVE} type: archive "
            f"disk: disk1 size: '512 MiB' nodes: '[{listed}]' redundancy: 2 num_master_nodes: 1"
        )
        self._back_up_level(0)
        self._query(_SHOP, _SHOP_PORT, "primary", "INSERT INTO orders VALUES ('bread', 2.40)")
        self._query(_SHOP, _SHOP_PORT, "primary", _TOTAL)
        self._back_up_level(1)
        self._job(f"confd_client db_backup_list db_name: {_SHOP}")

    def _back_up_level(self, level: int) -> None:
        self._job(
            f"confd_client db_backup_start db_name: {_SHOP} backup_volume_name: {_SHOP_ARCHIVE} "
            f"level: {level} expire: '1w'"
        )
        # The job ends once the backup runs.
        until = time.monotonic() + _BACKUP_SECONDS
        while (info := run_job(self._first.socket, "db_info", {"db_name": _SHOP}))["operation"] != "None":
            if time.monotonic() > until:
                raise Failed(f"the backup is not done after {_BACKUP_SECONDS} s")
            time.sleep(_LOOK_SECONDS)
        if info["info"]:
            raise Failed(info["info"])

    def _restore(self) -> None:
        backups = run_job(self._first.socket, "db_backup_list", {"db_name": _SHOP})
        newest = max(backups, key=lambda backup: int(backup["bid"]))["id"]
        self._job(f"confd_client db_restore db_name: {_SHOP} backup_id: '{newest}' restore_type: blocking")
        self._query(_SHOP, _SHOP_PORT, "primary", _TOTAL)

    def _stop_by_xmlrpc(self) -> None:
        url = f"https://admin:PASSWORD@{self._first.address}:{self._play.confd_port}"
        call = f"confd.job_exec('db_stop', {{'params': {{'db_name': '{_SHOP}'}}}})"
        echo(">>>", "import ssl, xmlrpc.client")
        echo(">>>", f"url = '{url}'")
        echo(">>>", "confd = xmlrpc.client.ServerProxy(url, allow_none=True,")
        echo("...", "    context=ssl._create_unverified_context())")
        echo(">>>", call)
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 - the certificate is the cluster's own
        real = url.replace("PASSWORD", self.admin_password)
        with timed(), xmlrpc.client.ServerProxy(real, allow_none=True, context=context) as confd:
            answer: Any = confd.job_exec("db_stop", {"params": {"db_name": _SHOP}})
            pprint.pp(answer, width=WIDTH)
        if answer["result_code"]:
            raise Failed(f"db_stop: {answer['result_desc']}")

    def _job(self, line: str) -> None:
        echo("$", line, _JOINT)
        with timed():
            ended = subprocess.run(shlex.split(line), env=self._place, check=False)
        if ended.returncode:
            raise Failed(f"that command ended with status {ended.returncode}")

    def _query(self, database: str, port: int, role: str, statement: str) -> None:
        with self._connected(database, port, role) as connection:
            node = next(known for known in self._play.nodes if known.address == connection.info.host)
            echo(f"{database} on {node.name}, {role} >", statement)
            with timed():
                cursor = connection.execute(statement)
                for row in cursor.fetchall() if cursor.description else ():
                    names = (column.name for column in cursor.description or ())
                    print(*(f"{name} = {value}" for name, value in zip(names, row, strict=True)), sep=", ")

    def _wait_applied(self, database: str, port: int) -> None:
        """Wait until a standby shows what is committed: it has it at once, and applies it a moment later."""
        with self._connected(database, port, "primary") as primary, self._connected(database, port, "standby") as one:
            written = primary.execute("SELECT pg_current_wal_lsn()").fetchone()
            until = time.monotonic() + 10
            while one.execute("SELECT pg_last_wal_replay_lsn() < %s", written).fetchone() == (True,):
                if time.monotonic() > until:
                    raise Failed("the standby does not follow its primary")

    def _connected(self, database: str, port: int, role: str) -> psycopg.Connection[Any]:
        addresses = ",".join(node.address for node in self._play.nodes)
        return psycopg.connect(
            host=addresses, port=port, user="sys", password=self.db_password, dbname=database,
            target_session_attrs=role, autocommit=True, connect_timeout=10,
        )  # fmt: skip

    def _clean_up(self) -> None:
        """Remove what an interrupted demo left, without showing it."""
        socket = self._first.socket
        if _SHOP in run_job(socket, "db_list"):
            if run_job(socket, "db_info", {"db_name": _SHOP})["operation"] != "None":
                run_job(socket, "db_backup_abort", {"db_name": _SHOP})
            if run_job(socket, "db_state", {"db_name": _SHOP}) != "setup":
                run_job(socket, "db_stop", {"db_name": _SHOP})
            run_job(socket, "db_delete", {"db_name": _SHOP})
        known = {volume["name"] for volume in run_job(socket, "st_volume_list")}
        for name in known & {_SHOP_VOLUME, _SHOP_ARCHIVE}:
            run_job(socket, "st_volume_delete", {"vname": name})


def _cluster() -> Play:
    """Return the cluster of the last demo, or make one; the addresses are the first free ones."""
    head("A cluster of three nodes")
    for known in home.plays():
        if (known.directory / _MARKER).exists():
            if known.progress is Progress.READY and known.database:
                print(f"play {known.number} is there from the last demo")
                _c4("start", "-t", str(known.number))
                _c4("wait", "-t", str(known.number))
                return known
            _c4("rm", "--yes", "-t", str(known.number))
    before = {known.id for known in home.plays()}
    _c4("host", "play", *_chosen())
    made = next(known for known in home.plays() if known.id not in before)
    (made.directory / _MARKER).touch()
    return made


def _chosen() -> list[str]:
    """Return what has to be said to c4 so that nothing is taken."""
    for shift in range(0, 230, 10):
        addresses = " ".join(f"127.0.0.{shift + last}" for last in (11, 12, 13))
        settings = settle(parameters.merge({"CCC_HOST_ADDRS": addresses}))
        try:
            check_free((seat.address for seat in settings.seats), settings.ports | {"shop": _SHOP_PORT}, home.plays())
        except InUse:
            continue
        return [f"CCC_HOST_ADDRS={addresses}"] if shift else []
    raise Failed("no three free addresses from 127.0.0.11 to 127.0.0.243; stop what runs there, see c4 ps")


def _c4(*words: str) -> None:
    echo("$", shlex.join(["c4", *words]), _JOINT)
    # The demo shows the usual cluster, whatever this shell is set up for.
    environment = {
        name: text for name, text in os.environ.items() if name == parameters.HOME or not name.startswith("CCC_")
    }
    with timed():
        ended = subprocess.run([_programs() / "c4", *words], env=environment, check=False)
    if ended.returncode:
        raise Failed("the cluster did not start")


def _programs() -> Path:
    return Path(sys.executable).parent


def _print_farewell(play: Play, demo: Demo) -> None:
    first = play.nodes[0]
    head("The cluster goes on running")
    print(f"ConfD     https://{first.address}:{play.confd_port}")
    print(f"          user admin, password {demo.admin_password}")
    print(f"Database  {play.database} on {first.address}:{play.db_port}")
    print(f"          user sys, password {demo.db_password}\n")
    c4 = _shown(_programs() / "c4")
    target = f"-t {play.number}"
    for purpose, words in (
        ("look", "ps"), ("shell", f"connect {target}/cos"), ("SQL", f"connect {target}/db"),
        ("stop", f"stop {target}"), ("start", f"start {target}"), ("delete", f"rm {target}"),
    ):  # fmt: skip
        print(f"{purpose:10}{c4} {words}")


def _shown(program: Path) -> str:
    """Return how to type a program here: by name when it is on the PATH, else by its shortest path."""
    if shutil.which(program.name) == str(program):
        return program.name
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)


if __name__ == "__main__":
    main()
