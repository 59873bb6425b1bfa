"""Makes an instance's data directory: empty, or as a copy of the primary's."""

from __future__ import annotations

import secrets

from confd.model.errors import WrongState
from confd.model.secret import Secret
from confd.services.database.engine import straying
from confd.services.database.engine.configuration import ADMIN, SYS, bootstrap
from confd.services.database.engine.data import Marker, read_content, write_marker, write_owned
from confd.services.database.engine.initial_sql import read_statements, script
from confd.services.database.engine.server import Server
from confd.services.database.engine.workshop import Workshop
from confd.services.database.keeper.processes import clear
from confd.services.database.observed import History
from confd.services.database.scram import make_verifier


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


def clone(server: Server, primary: int, password: Secret) -> None:
    """Copy the data of the primary, which keeps WAL for this node in a slot."""
    server.layout.make()
    server.write_password(password)
    workshop = Workshop(server.place, server.layout.account)
    with workshop.alone():
        target = workshop.make()
        how = ["-D", str(target), "-X", "stream", "-c", "fast", "-S", server.host.name, "-w"]
        tool = server.choice().installation.tool("pg_basebackup")
        workshop.run([tool, *how, "-d", server.link(primary)])
        write_owned(target / "standby.signal", "", server.layout.account)
        workshop.finish()


def rewind(server: Server, primary: int, password: Secret, history: History | None) -> None:
    """Take back what this stopped instance has beyond the history of the primary.

    While it works the data has its unfinished name: what is left of an interrupted rewind is no data at all.
    """
    strayed = straying.strays(server.place.data, history)
    server.write_password(password)
    workshop = Workshop(server.place, server.layout.account)
    with workshop.alone():
        clear(server.place.data)
        target = workshop.take()
        # It may name a process that is dead and still in the table of processes.
        (target / "postmaster.pid").unlink(missing_ok=True)
        if strayed:
            # The tool cannot recover a killed standby as such. Recovered as a primary, that one gets a last record of
            # its own: only beyond the fork is it seen that it is to be taken back.
            (target / "standby.signal").unlink()
        # It recovers the data first; the checkpoint at the end of that must not take away the WAL that it reads then.
        settings = server.layout.config / "rewind.conf"
        write_owned(settings, "wal_keep_size = 1TB\n", server.layout.account)
        tool = server.choice().installation.tool("pg_rewind")
        # It is idle while the tool reads the WAL here; other limits the tool lifts by itself.
        login = f"{server.link(primary)} dbname=postgres options='-c idle_session_timeout=0'"
        words = ["--target-pgdata", str(target), "--config-file", str(settings), "--source-server", login]
        workshop.run([tool, *words])
        write_owned(target / "standby.signal", "", server.layout.account)
        workshop.finish()


def make_empty(server: Server, workshop: Workshop) -> str:
    """Make data without anything of ours in it; return where."""
    installation, target = server.choice().installation, str(workshop.make())
    locale = ["--locale=C.UTF-8", *(["--locale-provider=builtin"] if installation.major >= 17 else [])]
    words = ["-U", ADMIN, "-A", "reject", "-E", "UTF8", *locale, "--data-checksums"]
    workshop.run([installation.tool("initdb"), "-D", target, *words])
    return target


def _initdb(server: Server, workshop: Workshop) -> None:
    target, installation = make_empty(server, workshop), server.choice().installation
    password = Secret(secrets.token_hex(32))
    server.write_password(password)
    statements = bootstrap(
        server.database.name, server.database.default_sys_passwd_hash, make_verifier(password).reveal()
    )
    single = [installation.tool("postgres"), "--single", "-D", target, "-c", "exit_on_error=on", "postgres"]
    workshop.run(single, "\n".join([*statements, ""]))
    if path := server.database.initial_sql:
        text = script(read_statements(server.host, path), SYS)
        workshop.run([*single[:2], "-j", *single[2:-1], server.database.name], text)
