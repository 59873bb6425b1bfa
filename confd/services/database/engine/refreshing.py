"""Brings a running server in line with what its node and the configuration say now."""

from __future__ import annotations

from confd.model.errors import ConfDError
from confd.services.database.engine.certificate import Certificate
from confd.services.database.engine.configuration import QUOTA_FILE, password_mark, quota_file, sys_password
from confd.services.database.engine.data import read_content, used, write_owned
from confd.services.database.engine.files import shows, write_certificate
from confd.services.database.engine.server import Server
from confd.services.database.observed import Role


def certificate_of(server: Server) -> Certificate | None:
    """Return the certificate a server should have; None also where it cannot be used, so that the old one stays."""
    try:
        return server.certificate
    except ConfDError:
        return None


def is_stale(server: Server, role: Role, mark: str) -> bool:
    """Tell whether a running server lacks the present certificate or, where it can write, the password of sys.

    :param mark: what the database says of the password it was given last.
    """
    certificate = certificate_of(server)
    if certificate and not shows(server, certificate):
        return True
    return role is Role.PRIMARY and _password_is_due(server, mark)


def refresh(server: Server) -> None:
    """Give a running server what it lacks; fine to repeat.

    :raises NodeError: it does not answer.
    """
    certificate = certificate_of(server)
    if certificate and not shows(server, certificate):
        write_certificate(server, certificate)
        server.admin.reload()
    sight, _, _ = server.admin.sight()
    if sight.role is Role.PRIMARY and _password_is_due(server, sight.password_mark):
        server.admin.run(sys_password(server.database.default_sys_passwd_hash))


def restrict(server: Server, read_only: bool) -> None:
    """Let sessions write or not, except for those of sys, and end the ones that write nevertheless."""
    write_owned(server.layout.config / QUOTA_FILE, quota_file(read_only), server.layout.account)
    server.admin.reload()
    if read_only:
        server.admin.end_writers()


def fits(server: Server) -> bool:
    """Tell whether the data are of the major version that the database is to run with."""
    content = read_content(server.place.data)
    try:
        return content is None or not content.major or content.major == server.choice().installation.major
    except ConfDError:
        # Without its installation it does not start; the error then says why.
        return True


def counted(server: Server) -> int:
    """Return the bytes that count against the quota: tables, indexes, all but the log of changes."""
    return max(0, used(server.place.data) - used(server.place.data / "pg_wal"))


def _password_is_due(server: Server, mark: str) -> bool:
    return mark != password_mark(server.database.default_sys_passwd_hash) and bool(
        server.database.default_sys_passwd_hash
    )
