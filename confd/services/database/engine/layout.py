"""Where an instance has its files on a node.

<segment of the data volume>/pgdata       the data; complete when it has this name
<segment>/pgdata.new                      data being made or copied
<segment>/pgdata.old                      data before an upgrade, until the new ones have been used
<segment>/pgdata.chain/                   backups that data is being made from
<segment>/temp                            temporary files of queries
/exa/etc/dwad/<DB>/                       configuration of the server, outside of what replication copies
/exa/metadata/dwad/<DB>/                  lock of the keeper
/exa/logs/db/<DB>/postgresql.log          log of the server
/exa/metadata/backups/<DB>/               what the worker of the last backup was told, and said
<runtime>/<key>.keeper, <runtime>/<key>/  sockets of keeper and server
"""

from __future__ import annotations

import hashlib
import os
import pwd
from pathlib import Path

import msgspec

from confd.cluster.host import Host
from confd.exaconf import Database
from confd.model.errors import InvalidParameter, NodeError
from confd.services.database.engine.installation import traversable
from confd.services.storage.segments import segment_directory


class Account(msgspec.Struct, frozen=True):
    """The system user that owns and runs a server."""

    name: str
    uid: int
    gid: int


class Layout(msgspec.Struct, frozen=True):
    """Paths of one instance, except for its data."""

    database: str
    config: Path
    state: Path
    log: Path
    backups: Path
    sockets: Path
    keeper: Path
    account: Account

    def make(self) -> None:
        """Make the directories, reachable for the server's user and closed to others."""
        for directory in (self.config, self.log.parent, self.sockets):
            make_directory(directory, self.account)
        make_directory(self.state, None)


class DataPlace(msgspec.Struct, frozen=True):
    """Paths within the segment of the data volume."""

    segment: Path

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.segment / "pgdata"

    @property
    def unfinished(self) -> Path:
        """Data that is being made."""
        return self.segment / "pgdata.new"

    @property
    def replaced(self) -> Path:
        """Data of the version before, until those of the new one have been used."""
        return self.segment / "pgdata.old"

    @property
    def aside(self) -> Path:
        """Where an upgrade works, with a copy of the data in ``data``."""
        return self.segment / "upgrade"

    @property
    def chain(self) -> Path:
        """Backups that data is being made from, one directory each."""
        return self.segment / "pgdata.chain"

    @property
    def temp(self) -> Path:
        """Temporary files of queries."""
        return self.segment / "temp"

    @property
    def busy(self) -> Path:
        """Lock of long work on the data."""
        return self.segment / "busy"


def layout(host: Host, database: str) -> Layout:
    """Return the paths of a database's instance on a node."""
    if "/" in database or database in ("", ".", ".."):
        raise InvalidParameter(f"{database!r} cannot be the name of a database: it has to be usable as a file name")
    key = hashlib.sha256(f"{host.name}/{database}".encode()).hexdigest()[:8]
    return Layout(
        database=database,
        config=host.path(f"/exa/etc/dwad/{database}"),
        state=host.path(f"/exa/metadata/dwad/{database}"),
        backups=host.path(f"/exa/metadata/backups/{database}"),
        log=host.path(f"/exa/logs/db/{database}/postgresql.log"),
        sockets=host.runtime / key,
        keeper=host.runtime / f"{key}.keeper",
        account=account(host),
    )


def data_place(host: Host, database: Database) -> DataPlace:
    """Return the paths within the data volume's segment on a node."""
    return DataPlace(segment_directory(host, database.data_volume))


def account(host: Host) -> Account:
    """Return the user that runs database servers on a node."""
    try:
        entry = pwd.getpwnam(host.database_user) if host.database_user else pwd.getpwuid(os.getuid())
    except KeyError:
        raise NodeError(
            f"there is no system user {host.database_user!r} on {host.name}; make it with: "
            f"useradd --system --no-create-home --shell /usr/sbin/nologin {host.database_user}"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def make_directory(path: Path, owner: Account | None, mode: int = 0o700) -> None:
    """Make a directory with an owner; missing ones above it let everybody through.

    :raises NodeError: the owner cannot reach it.
    """
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(exist_ok=True)
            parent.chmod(0o711)
    path.mkdir(exist_ok=True)
    path.chmod(mode)
    if owner and os.getuid() == 0:
        os.chown(path, owner.uid, owner.gid)
    if owner and not traversable(path, owner.name):
        raise NodeError(f"system user {owner.name} cannot reach {path}: give x to all on the directories above it")
