"""What stands in the server's configuration files. Pure.

The files lie outside of the data directory: pg_rewind and base backups copy what is inside. ``role.conf`` is
the part that changes while the server runs. The server's own ``ALTER SYSTEM`` is switched off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from confd.model.sizes import Bytes
from confd.services.database.record import Quorum

ADMIN: Final = "exa_admin"
"""The daemon's superuser; only through the unix socket and only for the daemon's system user."""

REPLICATION: Final = "exa_replication"
SYS: Final = "sys"

TEMP_LIMIT: Final = Bytes(1 << 30)
"""Size of the temporary volume of an instance."""

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_SMALL: Final = _GIB
_LOG_LINE: Final = "%m [%p] %q%u@%d %h "


class Memory(msgspec.Struct, frozen=True):
    """Memory settings of one instance, in MiB."""

    shared_buffers: int
    work_mem: int
    maintenance_work_mem: int
    effective_cache_size: int


class Clients(StrEnum):
    """Who may connect: everybody with a password, sys alone (maintenance), or nobody (a copy)."""

    ALL = "all"
    SYS = "sys"
    NONE = "none"


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the files are made from."""

    node: int
    address: str
    port: int
    major: int
    data: Path
    config: Path
    sockets: Path
    memory: Bytes
    temp_limit: Bytes
    slot_limit: Bytes
    auditing: bool
    clients: Clients
    peers: tuple[str, ...]
    system_users: tuple[str, ...]
    settings: Mapping[str, str]


def memory(mem_size: int, active: int) -> Memory:
    """Divide a database's memory among its nodes; of small shares more is left to connections and the system."""
    share = max(mem_size // max(active, 1), 64 * _MIB) // _MIB
    return Memory(
        shared_buffers=max(16, share // (8 if share < 1024 else 4)),
        work_mem=min(max(share // 128, 4), 1024),
        maintenance_work_mem=min(max(share // 16, 16), 2048),
        effective_cache_size=share * 3 // 4,
    )


def main_file(facts: ServerFacts) -> str:
    """Return ``postgresql.conf``; settings of ``params`` stand last of what they may change."""
    lines = [
        f"{name} = {value}" for name, value in (_defaults(facts) | _quoted(facts.settings) | _fixed(facts)).items()
    ]
    return "\n".join([*lines, "include 'role.conf'", ""])


def access_file(facts: ServerFacts) -> str:
    """Return ``pg_hba.conf``: the daemon by socket, other instances for replication, clients with password."""
    lines = [f"local all,replication {ADMIN} peer map=confd", "local all all reject"]
    networks = dict.fromkeys(_network(peer) for peer in facts.peers)
    lines += [f"host replication,postgres {REPLICATION} {network} scram-sha-256" for network in networks]
    lines.append(f"host all {ADMIN},{REPLICATION} all reject")
    if facts.clients is not Clients.NONE:
        lines.append(f"host all {'all' if facts.clients is Clients.ALL else SYS} all scram-sha-256")
    lines.append("host all all all reject")
    return "\n".join([*lines, ""])


def identity_file(facts: ServerFacts) -> str:
    """Return ``pg_ident.conf``: which system users are the daemon."""
    return "".join(f"confd {user} {ADMIN}\n" for user in facts.system_users)


def primary_file(quorum: Quorum) -> str:
    """Return ``role.conf`` of a primary."""
    return f"synchronous_standby_names = {_quote(quorum.names())}\n"


def standby_file(node: int, primary: str, port: int, passwords: Path) -> str:
    """Return ``role.conf`` of a standby."""
    connection = {
        "host": primary,
        "port": str(port),
        "user": REPLICATION,
        "passfile": str(passwords),
        "application_name": f"n{node}",
        "connect_timeout": "5",
    }
    text = " ".join(f"{name}={_quote_value(value)}" for name, value in connection.items())
    lines = (
        f"primary_conninfo = {_quote(text)}",
        f"primary_slot_name = 'n{node}'",
        "synchronous_standby_names = ''",
    )
    return "\n".join([*lines, ""])


def _network(peer: str) -> str:
    # Connections between loopback addresses come from 127.0.0.1, whichever node makes them.
    if peer.startswith("127."):
        return "127.0.0.0/8"
    return f"{peer}/{128 if ':' in peer else 32}"


def _defaults(facts: ServerFacts) -> dict[str, str]:
    sizes = memory(facts.memory, 1)
    small = facts.memory < _SMALL
    chosen = {
        "shared_buffers": f"{sizes.shared_buffers}MB",
        "work_mem": f"{sizes.work_mem}MB",
        "maintenance_work_mem": f"{sizes.maintenance_work_mem}MB",
        "effective_cache_size": f"{sizes.effective_cache_size}MB",
        "max_slot_wal_keep_size": f"{facts.slot_limit // _MIB}MB",
        "wal_retrieve_retry_interval": "500ms",
        "log_timezone": "'UTC'",
        "log_line_prefix": _quote(_LOG_LINE),
    }
    if small and facts.major >= 18:
        chosen["io_method"] = "sync"
    if facts.auditing:
        chosen |= {"log_connections": "on", "log_disconnections": "on", "log_statement": "'all'"}
    return chosen


def _fixed(facts: ServerFacts) -> dict[str, str]:
    """Settings that nothing overrides."""
    fixed = {
        "data_directory": _quote(str(facts.data)),
        "hba_file": _quote(str(facts.config / "pg_hba.conf")),
        "ident_file": _quote(str(facts.config / "pg_ident.conf")),
        "listen_addresses": _quote(facts.address),
        "port": str(facts.port),
        "unix_socket_directories": _quote(str(facts.sockets)),
        "unix_socket_permissions": "0700",
        "cluster_name": f"'n{facts.node}'",
        "wal_level": "replica",
        "max_wal_senders": "20",
        "max_replication_slots": "20",
        "hot_standby": "on",
        "temp_file_limit": f"{facts.temp_limit // 1024}kB",
        "logging_collector": "off",
        "log_destination": "'stderr'",
    }
    if facts.major >= 17:
        fixed["allow_alter_system"] = "off"
        fixed["summarize_wal"] = "on"
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


def bootstrap(database: str, sys_verifier: str | None, replication_verifier: str) -> Iterable[str]:
    """Return the statements that fill new data: roles and the database; one line each."""
    password = f" PASSWORD {literal(sys_verifier)}" if sys_verifier else ""
    yield f"CREATE ROLE {SYS} SUPERUSER LOGIN{password};"
    yield f"CREATE ROLE {REPLICATION} LOGIN REPLICATION PASSWORD {literal(replication_verifier)};"
    for function in _REWIND_FUNCTIONS:
        yield f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {REPLICATION};"
    yield f"CREATE DATABASE {identifier(database)} OWNER {SYS};"


_REWIND_FUNCTIONS: Final = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)
