"""Settings of a database that its supervisor keeps: quota, password of sys, first SQL, memory, networks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec
import psycopg
import pytest

from confd.model.errors import InvalidParameter, NodeError, NotFound, Unsupported
from confd.model.secret import Secret
from confd.model.sizes import Bytes
from confd.services.database.engine import checking
from confd.services.database.engine.checking import Draft
from confd.services.database.engine.configuration import quota_file
from confd.services.database.instance import operations as instance
from confd.services.database.record import Quorum, Wanted
from confd.services.database.scram import make_verifier
from tests.services.database.rig import NAME, PASSWORD, Rig
from tests.services.database.waiting import until
from tests.torture import long


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """One node with a volume."""
    rig = make_rig(11)
    rig.volume()
    return rig


@long
def test_at_the_quota_only_sys_writes(rig: Rig) -> None:
    """A full database is read-only for all but sys, also for who insists; when it is smaller again all write."""
    rig.database(volume_quota=Bytes(60 << 20))
    supervision = rig.supervise()
    rig.define()
    supervision.want(NAME, Wanted.RUNNING)
    rig.sql(11, "CREATE ROLE ann LOGIN PASSWORD 'geheim'; GRANT CREATE ON SCHEMA public TO ann")
    rig.sql(11, "CREATE TABLE small AS SELECT 1", user="ann")
    rig.sql(11, "CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 60000)")

    def writes(options: str = "") -> bool:
        try:
            with contextlib.suppress(psycopg.errors.DuplicateTable):
                rig.sql(11, "CREATE TABLE more AS SELECT 1", user="ann", options=options)
        except (psycopg.errors.ReadOnlySqlTransaction, psycopg.OperationalError):
            return False
        return True

    until(lambda: not writes())
    assert rig.sql(11, "SELECT count(*) FROM small", user="ann") == [(1,)]
    rig.sql(11, "DROP TABLE IF EXISTS more")
    insisting = psycopg.connect(
        host=rig.address(11), port=rig.port, user="ann", password=PASSWORD, dbname=NAME,
        options="-c default_transaction_read_only=off",
    )  # fmt: skip
    with contextlib.closing(insisting), pytest.raises(psycopg.OperationalError):
        insisting.execute("CREATE TABLE more AS SELECT 1")
        until(lambda: insisting.execute("SELECT 1") is None)
    rig.sql(11, "DROP TABLE big")
    rig.sql(11, "CHECKPOINT")
    rig.cluster.changed()
    until(writes)


def test_a_configured_password_of_sys_is_taken_once(rig: Rig) -> None:
    """A changed hash counts from the next start on; a password that sys set since stays."""
    rig.database()
    supervision = rig.supervise()
    rig.define()
    supervision.want(NAME, Wanted.RUNNING)
    rig.sql(11, "ALTER ROLE sys PASSWORD 'own'")
    supervision.want(NAME, Wanted.STOPPED)
    supervision.want(NAME, Wanted.RUNNING)
    assert rig.sql(11, "SELECT 1", password="own") == [(1,)]
    supervision.want(NAME, Wanted.STOPPED)
    rig.database(default_sys_passwd_hash=make_verifier(Secret("new")))
    supervision.want(NAME, Wanted.RUNNING)
    assert rig.sql(11, "SELECT 1", password="new") == [(1,)]
    with pytest.raises(psycopg.OperationalError):
        rig.sql(11, "SELECT 1", password="own")


def test_first_sql_is_there_whole_or_not_at_all(rig: Rig) -> None:
    """New data have what the file says, owned by sys; a statement that fails leaves no data."""
    rig.database(initial_sql="/exa/etc/first.yaml")
    file, host = rig.hosts[11].root / "etc/first.yaml", rig.hosts[11]
    file.write_text("- CREATE TABLE a (i int)\n- INSERT INTO missing VALUES (1)\n")
    with pytest.raises(NodeError, match="missing"):
        instance.initialise.function(host, NAME, "g", False)
    assert instance.observe.function(host, NAME).generation == ""
    file.write_text(
        "statements:\n"
        "  - CREATE TABLE a (i int, s text);\n"
        "  - INSERT INTO a VALUES (1, 'it''s; ')\n"
        "  - |\n"
        "    CREATE FUNCTION two() RETURNS int LANGUAGE plpgsql AS $$\n"
        "    BEGIN\n"
        "      PERFORM 1;\n"
        "\n"
        "      RETURN 2;\n"
        "    END $$\n"
    )
    instance.initialise.function(host, NAME, "g", False)
    instance.start_primary.function(host, NAME, Quorum())
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'a'"
    assert rig.sql(11, "SELECT i, s, two() FROM a") == [(1, "it's; ", 2)]
    assert rig.sql(11, owner) == [("sys",)]
    assert (rig.layout(11).config / "quota.conf").exists() is False
    assert "on" in quota_file(read_only=True)


def check(rig: Rig, version: str = "18", **more) -> list[str]:
    """Check a draft on the node."""
    return checking.check.function(rig.hosts[11], Draft(version=version, **more))


def test_drafts_are_checked_as_the_server_will(rig: Rig) -> None:
    """What could not run is refused before anything is stored; a word without effect is only warned of."""
    rig.database()
    words = "-forceProtocolEncryption=1 -work_mem=8MB -kerberosRealm=R"
    said = check(rig, "8.32.0", params=words)
    assert [any(word in text for text in said) for word in ("8.32.0", "Encryption", "kerberos")] == [True] * 3
    assert check(rig, params="-work_mem=8MB", auditing=True) == []
    assert check(rig, params="-log_statement=none") == []
    (rig.hosts[11].root / "etc/bad.yaml").write_text("just text")
    for draft, error, words in (
        ({"params": "-work_mem=8apples"}, InvalidParameter, "work_mem"),
        ({"params": "-forceProtocolEncryption=yes"}, InvalidParameter, "neither 0 nor 1"),
        ({"params": "-LOG_STATEMENT=none", "auditing": True}, InvalidParameter, "log_statement.*enable_auditing"),
        ({"ldap": True}, Unsupported, "ldap"),
        ({"kerberos": True}, Unsupported, "gssapi"),
        ({"interfaces": ("eth7",)}, NotFound, "'eth7'; there is private"),
        ({"initial_sql": "/exa/etc/none.yaml"}, NotFound, "none.yaml"),
        ({"initial_sql": "/exa/etc/bad.yaml"}, InvalidParameter, "list of SQL"),
        ({"initial_sql": "/etc/passwd"}, InvalidParameter, "/exa"),
        ({"version": "17"}, NotFound, "17"),
    ):
        with pytest.raises(error, match=words):
            check(rig, **draft)


def test_networks(rig: Rig) -> None:
    """Without a choice the server listens on all of the node's networks, else on those named and the private one."""
    node = rig.conf_now.require_node(11)
    rig.put(msgspec.structs.replace(node, public_net="127.0.78.11/24"))
    rig.database()
    instance.initialise.function(rig.hosts[11], NAME, "g", False)
    instance.start_primary.function(rig.hosts[11], NAME, Quorum())
    assert rig.sql(11, "SELECT 1", host="127.0.78.11") == [(1,)]
    instance.stop.function(rig.hosts[11], NAME, False, 30.0)
    rig.database(interfaces=("private",))
    instance.start_primary.function(rig.hosts[11], NAME, Quorum())
    assert rig.sql(11, "SHOW listen_addresses") == [(rig.address(11),)]
