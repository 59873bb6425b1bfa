"""The server that a backup is taken from, as plain data that a worker process can be given."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from confd.model.errors import NodeError
from confd.services.database.engine.configuration import ADMIN

_NOT_SAVED: Final = frozenset({"pg_wal", "pg_replslot", "pg_stat_tmp", "pg_subtrans", "pg_notify", "pg_dynshmem"})
_OPTIONS: Final = "-c synchronous_commit=local -c log_statement=none -c statement_timeout=0 -c idle_session_timeout=0"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A running primary: how to reach it, which program saves it, and what its data is.

    ``scratch`` is a directory that its system user can read.
    """

    tool: str
    sockets: str
    port: int
    uid: int
    gid: int
    data: str
    scratch: str
    active_nodes: int
    version: str
    generation: str
    system_id: str
    timeline: int

    def command(self, base: Path | None) -> list[str]:
        """Return the program that streams a backup as one tar to its output.

        :param base: file with the manifest of the backup to build on.
        """
        login = ["-h", self.sockets, "-p", str(self.port), "-U", ADMIN, "-w"]
        # CRC32C finds what is damaged on the way; against changes there is the hash over the whole file.
        how = ["-D", "-", "-Ft", "-X", "fetch", "-c", "fast", "--manifest-checksums=CRC32C"]
        return [self.tool, *how, *login, *([f"--incremental={base}"] if base else [])]

    @contextmanager
    def base_file(self, content: bytes | None) -> Iterator[Path | None]:
        """Give a manifest as a file that the program can read."""
        if content is None:
            yield None
            return
        path = Path(self.scratch) / f"base-{secrets.token_hex(8)}"
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                if os.getuid() == 0:
                    os.fchown(file.fileno(), self.uid, self.gid)
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def wal_kept(self) -> Iterator[None]:
        """Have the server keep all WAL from now on: it belongs to the backup and is fetched last.

        :raises NodeError: the server does not answer, or is no primary.
        """
        import psycopg

        login = {"host": self.sockets, "port": self.port, "user": ADMIN, "dbname": "postgres"}
        slot = f"backup_{secrets.token_hex(8)}"
        try:
            with psycopg.connect(
                **login,  # type: ignore[arg-type]
                connect_timeout=5,
                autocommit=True,
                options=_OPTIONS,
                application_name="confd backup",
            ) as connection:
                row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
                if row is None or row[0]:
                    raise NodeError("the server follows another one now; start the backup again")
                connection.execute("SELECT pg_create_physical_replication_slot(%s, true, true)", (slot,))
                yield
        except psycopg.Error as error:
            raise NodeError(f"the database server ended the backup: {error}") from error

    def sizes(self) -> dict[str, int]:
        """Return the size of every file that will be saved, by its path in the data directory."""
        found: dict[str, int] = {}
        _measure(self.data, "", found)
        return found


def _measure(directory: str, prefix: str, found: dict[str, int]) -> None:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in _NOT_SAVED:
                        _measure(entry.path, f"{prefix}{entry.name}/", found)
                elif entry.is_file(follow_symlinks=False):
                    found[prefix + entry.name] = entry.stat(follow_symlinks=False).st_size
    except (FileNotFoundError, NotADirectoryError):
        # Tables come and go while they are counted.
        return
