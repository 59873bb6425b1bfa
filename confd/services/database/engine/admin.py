"""The daemon's own connection to a server on its node: by unix socket, as internal superuser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from psycopg.rows import class_row, scalar_row

from confd.model.errors import NodeError, TimedOut
from confd.services.database.engine.configuration import ADMIN
from confd.services.database.observed import Follower, Role
from confd.services.database.record import Quorum

# Limits that params set for sessions are meant for those of users.
_LONG: Final = (
    "-c synchronous_commit=local -c log_statement=none -c lock_timeout=2000 -c default_transaction_read_only=off "
    "-c statement_timeout=0 -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0"
)
_OPTIONS: Final = f"{_LONG} -c statement_timeout=5000"
_LIMITS_TRANSACTIONS: Final = 17_00_00
_STEP: Final = 0.005
_PROMOTED_WITHIN: Final = 40.0

_SIGHT: Final = """
    SELECT pg_is_in_recovery() AS standby,
           current_setting('synchronous_standby_names') AS synchronous,
           coalesce(CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                         ELSE pg_current_wal_flush_lsn() END, '0/0')::text AS flushed,
           CASE WHEN pg_is_in_recovery() THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), 0)
                ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
           END AS timeline,
           EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') AS streaming,
           coalesce(substring(current_setting('primary_conninfo') FROM 'host=.([0-9A-Fa-f.:]+)'), '') AS source,
           pg_is_in_recovery() AND current_setting('primary_conninfo') = ''
             AND NOT EXISTS (SELECT FROM pg_stat_wal_receiver)
             AND EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup'
                         AND wait_event IN ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream')) AS detached,
           coalesce(CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END = 'paused', false) AS paused,
           coalesce((SELECT min(substr(name, 9)) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'), '') AS oldest_file,
           pg_size_bytes(current_setting('wal_segment_size')) AS segment_size,
           current_setting('confd.read_only', true) IS NOT DISTINCT FROM 'on' AS read_only,
           coalesce((SELECT split_part(word, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS word
                     WHERE setrole = 'exa_replication'::regrole AND word LIKE 'confd.sys_password=%'), '')
               AS password_mark,
           (SELECT count(*) FROM pg_stat_activity AS one JOIN pg_roles ON oid = one.usesysid
            WHERE one.backend_xid IS NOT NULL AND one.backend_type = 'client backend'
                  AND rolname NOT IN ('sys', 'exa_admin', 'exa_replication'))::int AS writers
"""
_END_WRITERS: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity AS one JOIN pg_roles ON oid = one.usesysid
    WHERE one.backend_xid IS NOT NULL AND one.backend_type = 'client backend'
          AND rolname NOT IN ('sys', 'exa_admin', 'exa_replication')
"""
_FOLLOWERS: Final = """
    SELECT substr(application_name, 2)::int, state, sync_state, coalesce(flush_lsn, '0/0')::text
    FROM pg_stat_replication WHERE application_name ~ '^n[0-9]+$' AND state <> 'backup' ORDER BY 1
"""
_KEPT: Final = """
    SELECT substr(slot_name, 2)::int FROM pg_replication_slots
    WHERE slot_type = 'physical' AND slot_name ~ '^n[0-9]+$' AND wal_status <> 'lost' ORDER BY 1
"""
_DROP_LOST: Final = """
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
    WHERE slot_name = %(slot)s AND wal_status = 'lost'
"""
_MAKE_SLOT: Final = """
    SELECT pg_create_physical_replication_slot(%(slot)s, true)
    WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(slot)s)
"""
_DROP_SLOT: Final = """
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %(slot)s AND NOT active
"""
_CAUGHT_UP: Final = """
    SELECT count(*) FROM pg_stat_replication
    WHERE application_name = ANY(%s) AND sync_state = 'quorum' AND flush_lsn >= %s::pg_lsn
"""


class Sight(msgspec.Struct, frozen=True):
    """What a ready server says of itself; timeline 0 when it cannot tell."""

    standby: bool
    synchronous: str
    flushed: str
    timeline: int
    streaming: bool
    source: str
    detached: bool
    paused: bool
    oldest_file: str
    segment_size: int
    read_only: bool
    password_mark: str
    writers: int

    @property
    def oldest(self) -> str:
        """Where the oldest WAL file begins."""
        if not self.oldest_file:
            return ""
        high, low = int(self.oldest_file[:8], 16), int(self.oldest_file[8:], 16) * self.segment_size
        return f"{high:X}/{low:X}"

    @property
    def role(self) -> Role:
        """Whether it may write."""
        return Role.STANDBY if self.standby else Role.PRIMARY


class Admin:
    """Short-lived connections to one server."""

    def __init__(self, sockets: Path, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._sockets, self._port, self._clock = sockets, port, clock

    def sight(self) -> tuple[Sight, tuple[Follower, ...], tuple[int, ...]]:
        """Return what the server says of itself, who follows it, and for which nodes it keeps WAL."""
        with self._connection() as connection:
            sight = connection.cursor(row_factory=class_row(Sight)).execute(_SIGHT).fetchone()
            assert sight is not None
            rows = [] if sight.standby else connection.execute(_FOLLOWERS).fetchall()
            kept = connection.execute(_KEPT).fetchall()
        return sight, tuple(Follower(*row) for row in rows), tuple(node for (node,) in kept)

    def reload(self) -> None:
        """Have the server read its configuration files again."""
        with self._connection() as connection:
            connection.execute("SELECT pg_reload_conf()")

    def run(self, statements: Iterable[str]) -> None:
        """Run statements as one transaction."""
        with self._connection() as connection, connection.transaction():
            for statement in statements:
                connection.execute(statement.encode())

    def end_writers(self) -> None:
        """End the sessions that write, except for those of sys."""
        with self._connection() as connection:
            connection.execute(_END_WRITERS)

    def make_slot(self, node: int, checkpoint: bool = False) -> None:
        """Keep WAL for a standby from now on; fine when it is kept already."""
        slot = {"slot": f"n{node}"}
        with self._connection() as connection:
            connection.execute(_DROP_LOST, slot)
            connection.execute(_MAKE_SLOT, slot)
            if checkpoint:
                connection.execute("SET statement_timeout = 0")
                connection.execute("CHECKPOINT")

    def await_detached(self, wait: float) -> None:
        """Wait until the standby receives nothing any more and has replayed all it received.

        :raises TimedOut: it has much to replay.
        """
        deadline = self._clock() + wait
        self._until(deadline, lambda: self.sight()[0].detached)

    def promote(self, quorum: Quorum) -> None:
        """Make the standby writable, once the quorum that it is to wait for is in force."""
        with self._connection() as connection:
            scalar = connection.cursor(row_factory=scalar_row)
            deadline = self._clock() + _PROMOTED_WITHIN
            self._until(deadline, lambda: scalar.execute("SHOW synchronous_standby_names").fetchone() == quorum.names())
            if scalar.execute("SELECT pg_is_in_recovery()").fetchone():
                scalar.execute("SELECT pg_promote(false)")
            self._until(deadline, lambda: not scalar.execute("SELECT pg_is_in_recovery()").fetchone())

    def mark(self) -> None:
        """Commit something that changes nothing."""
        with self._connection() as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'confd', '')")

    def session(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """Open a connection for statements that may take long."""
        return self._connection(_LONG)

    def drop_slot(self, node: int) -> None:
        """Keep no more WAL for a node that does not follow any more."""
        with self._connection() as connection:
            connection.execute(_DROP_SLOT, {"slot": f"n{node}"})

    def await_quorum(self, quorum: Quorum, wait: float) -> None:
        """Wait until a quorum is in force and holds for everything written before.

        :raises TimedOut: the standbys did not catch up.
        """
        deadline = self._clock() + wait
        members = [f"n{node}" for node in quorum.standbys]
        with self._connection() as connection:
            scalar = connection.cursor(row_factory=scalar_row)
            self._until(
                deadline,
                lambda: scalar.execute("SHOW synchronous_standby_names").fetchone() == quorum.names(),
            )
            position = scalar.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
            if quorum.acks:
                # Followers acknowledge what they are sent: a commit of our own (local) is something to send.
                scalar.execute("SELECT pg_logical_emit_message(true, 'confd', '')")
                self._until(deadline, lambda: _at_least(scalar, quorum.acks, members, position))

    def _until(self, deadline: float, holds: Callable[[], bool]) -> None:
        while not holds():
            if self._clock() > deadline:
                raise TimedOut("the server, or its standbys, are not yet as they were told to be")
            time.sleep(_STEP)

    @contextmanager
    def _connection(self, options: str = _OPTIONS) -> Iterator[psycopg.Connection[Any]]:
        try:
            with psycopg.connect(
                host=str(self._sockets),
                port=self._port,
                user=ADMIN,
                dbname="postgres",
                connect_timeout=2,
                options=options,
                application_name="confd",
                autocommit=True,
            ) as connection:
                if connection.info.server_version >= _LIMITS_TRANSACTIONS:
                    # Not among the options: older servers refuse a setting that they do not know.
                    connection.execute("SET transaction_timeout = 0")
                yield connection
        except psycopg.Error as error:
            raise NodeError(f"the database server does not answer the daemon: {error}") from error


def _at_least(scalar: psycopg.Cursor[Any], acks: int, members: list[str], position: Any) -> bool:
    found = scalar.execute(_CAUGHT_UP, (members, position)).fetchone()
    return int(found or 0) >= acks
