"""Another major version: a database's data are brought to it by pg_upgrade, on the node of its primary.

The new data are made of a copy of the old ones; they take their name when they are complete, and the
old ones stay as ``pgdata.old`` until the server has once been ready with the new ones. Standbys are copied anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.model.errors import NotFound, Unsupported, WrongState
from confd.services.database.engine.configuration import ADMIN
from confd.services.database.engine.data import Marker, read_content, remove, write_marker, write_owned
from confd.services.database.engine.files import node_memory
from confd.services.database.engine.installation import Installation, choose, find
from confd.services.database.engine.layout import make_directory
from confd.services.database.engine.making import make_empty
from confd.services.database.engine.server import Server
from confd.services.database.engine.workshop import Workshop
from confd.services.database.observed import InstanceState, Role

_NAMES: Final = "SELECT datname FROM pg_database WHERE datname <> 'template0'\n"
_NAME: Final = re.compile(r'datname = "(.*)"\t\(typeid')
_WITHOUT_VERSIONS: Final = (
    "UPDATE pg_attribute SET attoptions = nullif(array(SELECT word FROM unnest(attoptions) AS word "
    "WHERE word NOT LIKE 'pg_attver=%'), '{}') WHERE attoptions::text LIKE '%pg_attver=%'\n"
)
_TROUBLE: Final = re.compile(r"\b(error|fatal|panic|could not|must|incompatible)\b", re.IGNORECASE)


@operation("database.memory_of_node")
def memory_of_node(host: Host) -> int:
    """Return the bytes of memory of the node's machine."""
    return node_memory()


@operation("database.check_version")
def check_version(host: Host, database: str, version: str) -> str:
    """Check that the data on this node can be brought to a version; return what the next start does, or nothing.

    :raises WrongState: the data are of a newer one.
    :raises Unsupported: the installation of the present one is gone.
    """
    server = Server(host, database)
    content = read_content(server.place.data)
    wanted = choose(version, find(host.installations), host.conf().global_.db_version or None).installation
    if content is None or not content.major or content.major == wanted.major:
        return ""
    if _kept_major(server) == wanted.major:
        return f"the next start goes back to the data as they were before the upgrade to {content.major}"
    _source(server, content.major, wanted)
    return f"the next start upgrades the data from PostgreSQL {content.major} to {wanted.version}"


@operation("database.upgrade")
def upgrade(host: Host, database: str, generation: str) -> None:
    """Bring the data of the stopped primary to the version of the database, as a new generation; fine to repeat.

    :raises WrongState: the data cannot be brought there.
    :raises NodeError: pg_upgrade found something; the data are as they were.
    """
    server = Server(host, database)
    content, installation = read_content(server.place.data), server.choice().installation
    if content is None or (content.marker.generation, content.major) == (generation, installation.major):
        return
    if server.state() is not InstanceState.STOPPED or content.role is not Role.PRIMARY:
        raise WrongState(f"the instance of {database} on {host.name} is not a stopped primary")
    workshop, marker = Workshop(server.place, server.layout.account), Marker(database, generation)
    with workshop.alone():
        if _kept_major(server) == installation.major:
            write_marker(server.place.replaced, marker, server.layout.account)
            workshop.take_back()
            return
        try:
            _upgrade(server, workshop, _source(server, content.major, installation), installation)
        finally:
            workshop.stop_servers()
        write_marker(workshop.place.unfinished, marker, server.layout.account)
        workshop.finish(keep=True)


def _upgrade(server: Server, workshop: Workshop, old: Installation, new: Installation) -> None:
    """Upgrade a copy of the data, of which pg_upgrade then makes links: as much work as a copy by itself."""
    make_empty(server, workshop)
    place, aside = server.place, server.place.aside
    remove(aside)
    make_directory(aside, server.layout.account)
    copy, access = aside / "data", aside / "pg_hba.conf"
    # Reachable through a directory of the server's own user only.
    write_owned(access, f"local all {ADMIN} trust\n", server.layout.account)
    workshop.run(["cp", "-a", "--reflink=auto", str(place.data), str(copy)], place=aside)
    (copy / "base" / "pgsql_tmp").unlink(missing_ok=True)
    _prepare(workshop, copy, aside, old, new)
    options = f"-c hba_file={access} -c unix_socket_permissions=0700"
    workshop.run(
        [
            *(new.tool("pg_upgrade"), "--link", "--username", ADMIN, "--old-bindir", f"{old.prefix}/bin"),
            *("--new-bindir", f"{new.prefix}/bin", "--old-datadir", str(copy)),
            *("--new-datadir", str(place.unfinished), "--old-options", options, "--new-options", options),
            *("--socketdir", str(server.layout.sockets)),
        ],
        place=aside,
        report=_reporter(place.unfinished),
    )
    remove(aside)


def _prepare(workshop: Workshop, data: Path, place: Path, old: Installation, new: Installation) -> None:
    """Have a server that was not shut down in order recover; take out what the new version is too old for."""
    single = [old.tool("postgres"), "--single", "-D", str(data)]
    names = workshop.run([*single, "postgres"], _NAMES, place=place)
    if _knows_versions(old) and not _knows_versions(new):
        for name in _NAME.findall(names):
            workshop.run([*single, name], _WITHOUT_VERSIONS, place=place)


def _knows_versions(installation: Installation) -> bool:
    """Tell whether columns carry a version, which fix releases since November 2026 give them."""
    return b"pg_attver" in Path(installation.tool("postgres")).read_bytes()


def _source(server: Server, major: int, wanted: Installation) -> Installation:
    database = server.database.name
    if major > wanted.major:
        raise WrongState(
            f"version: the data of {database} are of PostgreSQL {major} and cannot go back to {wanted.version}; "
            f"restore a backup of that version, or set create_new_db to begin anew"
        )
    try:
        return choose(str(major), find(server.host.installations)).installation
    except NotFound:
        raise Unsupported(
            f"version: to upgrade {database}, PostgreSQL {major}, which its data are of, has to be installed on "
            f"{server.host.name} beside {wanted.version}"
        ) from None


def _kept_major(server: Server) -> int:
    content = read_content(server.place.replaced)
    return content.major if content else 0


def _reporter(data: Path) -> Callable[[str], str]:
    """Return what finds the reason of a failure: pg_upgrade writes it into files below the new data."""

    def report(printed: str) -> str:
        files = sorted(path for path in (data / "pg_upgrade_output.d").rglob("*.*") if path.is_file())
        lines = [line for file in files for line in file.read_text(errors="replace").splitlines()]
        return "\n".join([printed, *(line for line in lines if _TROUBLE.search(line))])

    return report
