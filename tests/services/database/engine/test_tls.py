"""A database on the distribution's PostgreSQL 15: replication and clients over TLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from confd.cluster.certificates import new_self_signed
from confd.model.states import DatabaseState
from confd.services.database.engine import certificate
from confd.services.database.observed import Role
from confd.services.database.record import Wanted
from tests.servers import POSTGRESQL, require
from tests.services.database.rig import NAME, Rig
from tests.services.database.waiting import until


@pytest.fixture
def started(make_rig: Callable[..., Rig]) -> Rig:
    """Three nodes with PostgreSQL 15, each commit on two of them."""
    require(POSTGRESQL)
    return running(make_rig(11, 12, 13))


@pytest.fixture
def small(make_rig: Callable[..., Rig]) -> Rig:
    """Two nodes with PostgreSQL 15."""
    require(POSTGRESQL)
    return running(make_rig(11, 12))


def running(rig: Rig) -> Rig:
    """Make a database and start it."""
    rig.volume(redundancy=2)
    rig.database(version="15", params="-forceProtocolEncryption=1")
    supervision = rig.supervise()
    rig.define()
    assert supervision.want(NAME, Wanted.RUNNING).state is DatabaseState.RUNNING
    return rig


def test_clients_and_instances_use_tls(started: Rig, tmp_path: Path) -> None:
    """Clients verify name and issuer; nobody gets in without TLS; standbys follow over TLS; keys are closed."""
    authority = tmp_path / "ca.crt"
    authority.write_bytes(started.certificate.certificate_pem)
    verified = {"sslmode": "verify-full", "sslrootcert": str(authority)}
    shown = started.sql(11, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", **verified)
    assert shown == [(True,)]
    started.sql(11, "CREATE TABLE t AS SELECT 1 AS i", **verified)
    until(lambda: started.sql(12, "SELECT count(*) FROM pg_class WHERE relname = 't'", **verified) == [(1,)])
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        started.sql(11, "SELECT 1", sslmode="disable")
    ssl = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) WHERE ssl"
    assert started.sql(11, ssl, **verified) == [(2,)]
    layout = started.layout(11)
    for path in (layout.config / "server.key", layout.config / "server.crt"):
        assert path.stat().st_uid == layout.account.uid
        assert path.stat().st_mode & 0o077 == 0


def test_a_new_certificate_is_shown_without_a_restart(small: Rig, tmp_path: Path) -> None:
    """When a node's certificate changes, clients soon see it; one without its key changes nothing."""
    supervision, authority = small.supervisions[0], tmp_path / "ca.crt"
    fresh = new_self_signed("fresh", [small.address(node) for node in small.hosts])
    authority.write_bytes(fresh.certificate_pem)
    verified = {"sslmode": "verify-full", "sslrootcert": str(authority)}
    process = small.keeper(11).status()
    half = small.hosts[12].root / "etc/ssl/ssl.crt"
    half.write_bytes(fresh.certificate_pem)
    small.show(small.hosts[11].root, fresh)
    small.cluster.changed()

    def verifies() -> bool:
        try:
            return small.sql(11, "SELECT 1", **verified) == [(1,)]
        except psycopg.OperationalError:
            return False

    until(verifies)
    seen = {one.node: one for one in supervision.observe(NAME).instances}
    assert certificate.node_certificate(small.hosts[11]).fingerprint == seen[11].certificate
    assert seen[12].certificate == ""
    with pytest.raises(psycopg.OperationalError):
        small.sql(12, "SELECT 1", **verified)
    assert small.sql(12, "SELECT 1", sslmode="require") == [(1,)]
    now = small.keeper(11).status()
    assert process
    assert now
    assert now.server == process.server
    assert seen[11].role is Role.PRIMARY
