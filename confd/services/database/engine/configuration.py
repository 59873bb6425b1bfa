"""What stands in the server's configuration files. Pure.

The files lie outside of the data directory: pg_rewind and base backups copy what is inside. ``role.conf`` is
the part that changes while the server runs. The server's own ``ALTER SYSTEM`` is switched off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from confd.model.secret import Secret
from confd.model.sizes import Bytes
from confd.services.database.engine.auditing import enforced
from confd.services.database.engine.limits import raised
from confd.services.database.engine.memory import divide
from confd.services.database.record import Quorum

ADMIN: Final = "exa_admin"
"""The daemon's superuser; only through the unix socket and only for the daemon's system user."""

REPLICATION: Final = "exa_replication"
SYS: Final = "sys"

LDAP_USERS: Final = "ldap_users"
"""The role whose members log in with their LDAP password."""

KERBEROS_USERS: Final = "kerberos_users"
"""The role whose members log in with a Kerberos ticket."""

PASSWORD_MARK: Final = "confd.sys_password"  # noqa: S105 - the name of a setting

QUOTA_FILE: Final = "quota.conf"
"""Where it says whether the database is at its quota."""

CERTIFICATE: Final = "server.crt"
KEY: Final = "server.key"
LDAP_AUTHORITY: Final = "ldap-ca.crt"
"""Files of TLS, beside the configuration."""

TEMP_LIMIT: Final = Bytes(1 << 30)
"""Size of the temporary volume of an instance."""

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_SMALL: Final = _GIB
_LOG_LINE: Final = "%m [%p] %q%u@%d %h "


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``postgresql.conf`` is made from.

    ``addresses``: where the server listens. ``tls``: it has a certificate beside its configuration. ``keytab``: file
    with the keys of its Kerberos principal. ``memory`` is the instance's share, ``heap`` limits what sessions take.
    ``needed``: limits that its WAL asks for, of a standby.
    """

    node: int
    addresses: tuple[str, ...]
    port: int
    major: int
    data: Path
    config: Path
    sockets: Path
    memory: Bytes
    temp_limit: Bytes
    slot_limit: Bytes
    auditing: bool
    settings: Mapping[str, str]
    tls: bool = False
    keytab: Path | None = None
    heap: Bytes | None = None
    needed: Mapping[str, int] = {}


def main_file(facts: ServerFacts) -> str:
    """Return ``postgresql.conf``; settings of ``params`` stand last of what they may change."""
    fixed = _fixed(facts)
    higher = raised({**facts.settings, **fixed}, facts.needed)
    values = _defaults(facts) | _quoted(facts.settings) | fixed | higher
    lines = [f"{name} = {value}" for name, value in values.items()]
    includes = (f"include_if_exists '{QUOTA_FILE}'", "include_if_exists 'archive.conf'", "include 'role.conf'")
    return "\n".join([*lines, *includes, ""])


def quota_file(read_only: bool) -> str:
    """Return the file that makes sessions read-only, as long as they do not belong to sys."""
    switch = "on" if read_only else "off"
    return f"default_transaction_read_only = {switch}\nconfd.read_only = {switch}\n"


def primary_file(quorum: Quorum) -> str:
    """Return ``role.conf`` of a primary."""
    return f"synchronous_standby_names = {_quote(quorum.names())}\n"


DETACHED_FILE: Final = "primary_conninfo = ''\nsynchronous_standby_names = ''\n"
"""``role.conf`` of a standby that follows nobody."""


def link(address: str, port: int, passwords: Path, tls: bool, binds: bool = True) -> str:
    """Return how instances connect to each other, as libpq takes it.

    :param tls: both have TLS. The password proof is bound to the certificate then (``binds``: as far as it can be),
        so that nobody between them can pass for the other, whoever signed it.
    """
    words = {
        "host": address,
        "port": str(port),
        "user": REPLICATION,
        "passfile": str(passwords),
        "connect_timeout": "5",
    }
    if tls:
        words |= {"sslmode": "require", "channel_binding": "require" if binds else "prefer"}
    return " ".join(f"{name}={_quote_value(value)}" for name, value in words.items())


def standby_file(node: int, connection: str) -> str:
    """Return ``role.conf`` of a standby that follows through a ``link``."""
    text = f"{connection} application_name={_quote_value(f'n{node}')}"
    lines = (
        f"primary_conninfo = {_quote(text)}",
        f"primary_slot_name = 'n{node}'",
        "synchronous_standby_names = ''",
    )
    return "\n".join([*lines, ""])


def _defaults(facts: ServerFacts) -> dict[str, str]:
    sizes = divide(facts.memory, facts.heap)
    small = facts.memory < _SMALL
    chosen = {
        "shared_buffers": f"{sizes.shared_buffers}MB",
        "work_mem": f"{sizes.work_mem}MB",
        "maintenance_work_mem": f"{sizes.maintenance_work_mem}MB",
        "effective_cache_size": f"{sizes.effective_cache_size}MB",
        "max_slot_wal_keep_size": f"{facts.slot_limit // _MIB}MB",
        "wal_retrieve_retry_interval": "200ms",
        "wal_keep_size": f"{facts.slot_limit // 4 // _MIB}MB",
        "log_timezone": "'UTC'",
        "log_line_prefix": _quote(_LOG_LINE),
    }
    if small and facts.major >= 18:
        chosen["io_method"] = "sync"
    return chosen


def _fixed(facts: ServerFacts) -> dict[str, str]:
    """Settings that nothing overrides."""
    fixed = {
        "data_directory": _quote(str(facts.data)),
        "hba_file": _quote(str(facts.config / "pg_hba.conf")),
        "ident_file": _quote(str(facts.config / "pg_ident.conf")),
        "listen_addresses": _quote(",".join(facts.addresses)),
        "port": str(facts.port),
        "unix_socket_directories": _quote(str(facts.sockets)),
        "unix_socket_permissions": "0700",
        "cluster_name": f"'n{facts.node}'",
        "wal_level": "replica",
        "max_wal_senders": "20",
        "max_replication_slots": "20",
        "hot_standby": "on",
        "recovery_target_timeline": "latest",
        "wal_sender_timeout": "6s",
        "wal_receiver_timeout": "6s",
        "wal_receiver_status_interval": "1s",
        "temp_file_limit": f"{facts.temp_limit // 1024}kB",
        "logging_collector": "off",
        "log_destination": "'stderr'",
    }
    if facts.major >= 17:
        fixed["allow_alter_system"] = "off"
        fixed["summarize_wal"] = "on"
    if facts.tls:
        fixed |= {
            "ssl": "on",
            "ssl_cert_file": _quote(str(facts.config / CERTIFICATE)),
            "ssl_key_file": _quote(str(facts.config / KEY)),
        }
    if facts.keytab is not None:
        fixed["krb_server_keyfile"] = _quote(f"FILE:{facts.keytab}")
    if facts.auditing:
        fixed |= _quoted(enforced(facts.settings))
    return fixed


def _quoted(settings: Mapping[str, str]) -> dict[str, str]:
    return {name: _quote(value) for name, value in settings.items()}


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _quote_value(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """Quote an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote an SQL string."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def bootstrap(database: str, sys_verifier: Secret | None, replication_verifier: str) -> Iterable[str]:
    """Return the statements that fill new data: roles and the database; one line each."""
    yield f"CREATE ROLE {SYS} SUPERUSER LOGIN;"
    yield f"ALTER ROLE {SYS} SET default_transaction_read_only = off;"
    for role in (LDAP_USERS, KERBEROS_USERS):
        yield f"CREATE ROLE {role};"
    yield f"CREATE ROLE {REPLICATION} LOGIN REPLICATION PASSWORD {literal(replication_verifier)};"
    for function in _REWIND_FUNCTIONS:
        yield f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {REPLICATION};"
    yield from sys_password(sys_verifier)
    yield f"CREATE DATABASE {identifier(database)} OWNER {SYS};"


def password_mark(verifier: Secret | None) -> str:
    """Return the mark by which the database knows which configured password of sys it was given last."""
    return hashlib.sha256(verifier.reveal().encode()).hexdigest() if verifier else ""


def sys_password(verifier: Secret | None) -> Iterable[str]:
    """Return the statements that give sys its configured password, and remember that it was given."""
    if verifier:
        yield f"ALTER ROLE {SYS} PASSWORD {literal(verifier.reveal())};"
        yield f"ALTER ROLE {REPLICATION} SET {PASSWORD_MARK} = '{password_mark(verifier)}';"


_REWIND_FUNCTIONS: Final = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)
