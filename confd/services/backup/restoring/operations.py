"""Makes an instance's data from a backup: fetched and checked, combined, given its names and passwords, put in place.

Until the last step, a rename, the data that was there stays as it is.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.model.errors import Canceled, ConfDError, InsufficientSpace, NodeError, StorageError, WrongState
from confd.model.secret import Secret
from confd.model.sizes import format_size
from confd.services.backup.order import Link, Progress, RestoreOrder
from confd.services.backup.restoring.copying import sync_tree
from confd.services.backup.restoring.reading import unpacked
from confd.services.backup.snapshots.operations import copy_back
from confd.services.backup.taking.taking import MANIFEST, Ticker
from confd.services.backup.target import BackupTarget
from confd.services.backup.targets import open_target
from confd.services.database.engine.configuration import REPLICATION, SYS, identifier, literal
from confd.services.database.engine.data import Marker, read_content, write_marker
from confd.services.database.engine.installation import Capability
from confd.services.database.engine.layout import DataPlace, make_directory
from confd.services.database.engine.server import Server
from confd.services.database.engine.workshop import Workshop
from confd.services.database.scram import make_verifier
from confd.services.wal.recovery import recover

_LINKS_SINCE: Final = 18
_MARGIN: Final = 64 << 20
_FLUSH_EVERY: Final = 0.25


class Restore:
    """One that is under way in this daemon."""

    def __init__(self, order: RestoreOrder, generation: str, workshop: Workshop) -> None:
        self.order, self.generation, self.ticker = order, generation, Ticker()
        self.ticker.total = sum(link.plain for link in order.chain)
        self.ticker.on_stop(workshop.kill)

    def progress(self) -> Progress:
        """Return how far it is."""
        return self.ticker.progress(self.order.path)


_RUNNING: dict[tuple[Path, str], Restore] = {}
_CANCELED: set[tuple[Path, str]] = set()
"""Generations whose restore was given up: what was ordered before and arrives only now is refused."""
_LOCK: Final = threading.Lock()


@operation("backup.restore")
def restore(host: Host, database: str, generation: str, order: RestoreOrder) -> None:
    """Make data of a generation from a backup, in place of what is there; fine when it is there already.

    :raises StorageCorrupted: a file of the chain is damaged; the data that was there is untouched.
    :raises InsufficientSpace: there is no room for the old and the new data.
    :raises Canceled: by ``cancel_restore``, now or before.
    """
    server = Server(host, database)
    if _has(server, generation):
        return
    server.layout.make()
    workshop = Workshop(server.place, server.layout.account)
    with registered(host, database, Restore(order, generation, workshop)) as running, workshop.alone():
        # It may have waited for others who work on this data.
        running.ticker.check()
        try:
            make(server, workshop, order, generation, running.ticker)
            running.ticker.commit(workshop.exchange)
        except ConfDError:
            workshop.clear()
            raise
        aside = _aside(server.place)
    # Thousands of files take their time to go, and nobody has to wait for it.
    threading.Thread(target=_discard, args=(aside,), name="restore-discard", daemon=True).start()
    host.say(f"data of {database} made from backup {order.path}")


@operation("backup.cancel_restore")
def cancel_restore(host: Host, database: str, generation: str) -> bool:
    """End a restore that is under way, and never begin it again; tell whether its data is in place already."""
    with _LOCK:
        _CANCELED.add((host.root, generation))
        running = _RUNNING.get((host.root, database))
    if running is not None and running.generation == generation:
        running.ticker.stop("the restore was canceled")
    server = Server(host, database)
    if _has(server, generation):
        return True
    with Workshop(server.place, server.layout.account).alone():
        # It is over now, and what it had fetched is gone.
        return _has(server, generation)


@operation("backup.restoring")
def progress(host: Host, database: str) -> Progress | None:
    """Return how far a restore on this node is, None when there is none."""
    with _LOCK:
        running = _RUNNING.get((host.root, database))
    return running.progress() if running else None


@operation("backup.fits")
def fits(host: Host, database: str, postgresql: str, levels: int) -> None:
    """Check that the database's installation can restore a backup.

    :raises WrongState: it was written by another major version.
    :raises Unsupported: incremental backups cannot be combined.
    """
    installation = Server(host, database).choice().installation
    if installation.major != int(postgresql.partition(".")[0]):
        raise WrongState(
            f"the backup was written by PostgreSQL {postgresql}, database {database} has {installation.version}; set "
            "its version with db_configure"
        )
    if levels > 1:
        installation.require(Capability.INCREMENTAL_BACKUP, "a restore of an incremental backup")


def make(server: Server, workshop: Workshop, order: RestoreOrder, generation: str, ticker: Ticker) -> None:
    """Make complete data under the unfinished name.

    :raises ConfDError: see ``restore``.
    """
    _check_room(workshop.place.segment, server, order)
    if order.node is not None:
        copy_back(server, workshop, order, ticker)
        return _complete(server, workshop, order, generation, ticker)
    target = open_target(server.host, order.volume)
    with _flushed(workshop.place.segment):
        if len(order.chain) == 1:
            _fetch(target, order.chain[0], workshop, workshop.make(), ticker)
        else:
            _fetch_chain(server, target, order, workshop, ticker)
    return _complete(server, workshop, order, generation, ticker)


def _complete(server: Server, workshop: Workshop, order: RestoreOrder, generation: str, ticker: Ticker) -> None:
    ticker.check()
    data = workshop.place.unfinished
    (data / MANIFEST).unlink(missing_ok=True)
    if order.wal is not None:
        recover(server, workshop, order, order.wal, ticker)
        ticker.check()
    _personalise(server, workshop, order.database)
    write_marker(data, Marker(server.database.name, generation), workshop.account)
    # One call for the file system is quicker than one for each of thousands of files.
    sync_tree(data)


def _fetch_chain(server: Server, target: BackupTarget, order: RestoreOrder, workshop: Workshop, ticker: Ticker) -> None:
    make_directory(workshop.place.chain, workshop.account)
    parts = [workshop.place.chain / str(number) for number in range(len(order.chain))]
    for link, part in zip(order.chain, parts, strict=True):
        make_directory(part, workshop.account)
        _fetch(target, link, workshop, part, ticker)
    _combine(server, workshop, parts)


@contextmanager
def _flushed(place: Path) -> Iterator[None]:
    """Have the disk write while there is more to come: the kernel alone begins half a minute later."""
    ended = threading.Event()

    def flush() -> None:
        while not ended.wait(_FLUSH_EVERY):
            with suppress(StorageError):
                # What is wrong with the disk shows when the result is made durable.
                sync_tree(place)

    flusher = threading.Thread(target=flush, name="restore-flush", daemon=True)
    flusher.start()
    try:
        yield
    finally:
        ended.set()


def _fetch(target: BackupTarget, link: Link, workshop: Workshop, into: Path, ticker: Ticker) -> None:
    def watched() -> Iterator[bytes]:
        for piece in unpacked(target, link, stored):
            ticker.check()
            ticker.done += len(piece)
            yield piece

    def stored(size: int) -> None:
        ticker.stored += size

    workshop.feed(["tar", "-x", "-f", "-", "-C", str(into)], watched())
    ticker.check()


def _combine(server: Server, workshop: Workshop, parts: list[Path]) -> None:
    installation = server.choice().installation
    how = ["--no-sync", "--no-manifest", *(["--link"] if installation.major >= _LINKS_SINCE else [])]
    words = [installation.tool("pg_combinebackup"), *map(str, parts), "-o", str(workshop.make()), *how]
    workshop.run(words)


def _personalise(server: Server, workshop: Workshop, source: str) -> None:
    """Recover the data to its end, and give the database its name, and roles the passwords of this database."""
    name, hashed = server.database.name, server.database.default_sys_passwd_hash
    # The data that is there until the end has this password as well.
    password = server.password() if server.passwords.exists() else Secret(secrets.token_hex(32))
    statements = [f"ALTER ROLE {REPLICATION} PASSWORD {literal(make_verifier(password).reveal())};"]
    if source != name:
        statements.append(f"ALTER DATABASE {identifier(source)} RENAME TO {identifier(name)};")
    if hashed:
        statements.append(f"ALTER ROLE {SYS} PASSWORD {literal(hashed.reveal())};")
    tool = server.choice().installation.tool("postgres")
    single = [tool, "--single", "-D", str(workshop.place.unfinished)]
    # The server that starts next summarises this WAL, so that incremental backups go on from the restored one.
    settings = ["exit_on_error=on", "fsync=off", "wal_keep_size=1TB"]
    workshop.run(
        [*single, *(word for setting in settings for word in ("-c", setting)), "postgres"], "\n".join([*statements, ""])
    )
    server.write_password(password)


def _aside(place: DataPlace) -> list[Path]:
    """Rename what is no longer needed, so that the next work does not meet it."""
    moved: list[Path] = []
    for directory in (place.unfinished, place.chain):
        if directory.exists():
            dead = directory.with_name(f"{directory.name}.{secrets.token_hex(4)}.dead")
            directory.rename(dead)
            moved.append(dead)
    return moved


def _discard(directories: list[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _check_room(segment: Path, server: Server, order: RestoreOrder) -> None:
    links = server.choice().installation.major >= _LINKS_SINCE or len(order.chain) == 1
    needed = sum(link.plain for link in order.chain) + (0 if links else order.chain[0].plain) + _MARGIN
    free = shutil.disk_usage(segment).free
    if free < needed:
        raise InsufficientSpace(
            f"the restore needs {format_size(needed)} beside the present data, {server.host.name} has "
            f"{format_size(free)} free; free some, or make the data volume's disk larger"
        )


def _has(server: Server, generation: str) -> bool:
    content = read_content(server.place.data)
    return content is not None and content.marker.generation == generation


@contextmanager
def registered(host: Host, database: str, running: Restore) -> Iterator[Restore]:
    """Have a restore be seen, and canceled, by others.

    :raises Canceled: it was, now or before.
    """
    key = (host.root, database)
    with _LOCK:
        if (host.root, running.generation) in _CANCELED:
            raise Canceled("the restore was canceled")
        if key in _RUNNING:
            raise NodeError(f"a restore of {database} is under way on {host.name} already")
        _RUNNING[key] = running
    try:
        yield running
    except ConfDError:
        # A program that was killed because of it complains of something else.
        running.ticker.check()
        raise
    finally:
        with _LOCK:
            del _RUNNING[key]
