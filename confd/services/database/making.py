"""Makes an instance's data directory: empty, or as a copy of the primary's."""

from __future__ import annotations

import secrets

from confd.model.errors import WrongState
from confd.model.secret import Secret
from confd.services.database.configuration import ADMIN, REPLICATION, bootstrap
from confd.services.database.data import Marker, Workshop, read_content, write_marker, write_owned
from confd.services.database.scram import make_verifier
from confd.services.database.server import Server


def initialise(server: Server, generation: str, replace: bool) -> None:
    """Make empty data; fine when this generation is there already.

    :raises WrongState: there is other data, and it is not to be replaced.
    """
    content = read_content(server.place.data)
    if content and content.marker.generation == generation:
        return
    if content and not replace:
        raise WrongState(f"{server.place.data} holds data already; set create_new_db to replace it")
    server.layout.make()
    workshop = Workshop(server.place, server.layout.account)
    with workshop.alone():
        _initdb(server, workshop)
        write_marker(workshop.place.unfinished, Marker(server.database.name, generation), server.layout.account)
        workshop.finish()


def clone(server: Server, source: str, password: Secret) -> None:
    """Copy the data of the primary at an address, which keeps WAL for this node in a slot."""
    server.layout.make()
    server.write_password(password)
    workshop = Workshop(server.place, server.layout.account)
    with workshop.alone():
        target = workshop.make()
        login = ["-h", source, "-p", str(server.database.port), "-U", REPLICATION, "-w"]
        how = ["-D", str(target), "-X", "stream", "-c", "fast", "-S", server.host.name]
        tool = server.choice().installation.tool("pg_basebackup")
        workshop.run([tool, *how, *login], env={"PGPASSFILE": str(server.passwords)})
        write_owned(target / "standby.signal", "", server.layout.account)
        workshop.finish()


def rewind(server: Server, source: str, password: Secret) -> None:
    """Take back what this stopped instance has beyond the history of the primary at an address.

    While it works the data has its unfinished name: what is left of an interrupted rewind is no data at all.
    """
    server.write_password(password)
    workshop = Workshop(server.place, server.layout.account)
    with workshop.alone():
        target = workshop.take()
        login = f"host={source} port={server.database.port} user={REPLICATION} dbname=postgres application_name=rewind"
        tool = server.choice().installation.tool("pg_rewind")
        words = ["--target-pgdata", str(target), "--source-server", login]
        workshop.run([tool, *words], env={"PGPASSFILE": str(server.passwords)})
        write_owned(target / "standby.signal", "", server.layout.account)
        workshop.finish()


def _initdb(server: Server, workshop: Workshop) -> None:
    installation = server.choice().installation
    target = str(workshop.make())
    locale = ["--locale=C.UTF-8", *(["--locale-provider=builtin"] if installation.major >= 17 else [])]
    words = ["-U", ADMIN, "-A", "reject", "-E", "UTF8", *locale, "--data-checksums"]
    workshop.run([installation.tool("initdb"), "-D", target, *words])
    password = Secret(secrets.token_hex(32))
    server.write_password(password)
    hashed = server.database.default_sys_passwd_hash
    sys_verifier = hashed.reveal() if hashed else None
    statements = bootstrap(server.database.name, sys_verifier, make_verifier(password).reveal())
    single = [installation.tool("postgres"), "--single", "-D", target, "-c", "exit_on_error=on", "postgres"]
    workshop.run(single, "\n".join([*statements, ""]))
