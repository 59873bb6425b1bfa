"""The log of a server: complete, in pieces of bounded size, and without passwords."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.services.database.instance import operations as instance
from confd.services.database.keeper import serverlog
from confd.services.database.keeper.serverlog import ServerLog, without_passwords
from confd.services.database.record import Quorum
from tests.services.database.rig import NAME, Rig
from tests.services.database.waiting import until

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER USER ann PASSWORD 's3cr3t' VALID UNTIL 'infinity'",
        "alter user ann password's3cr3t'; DROP TABLE t",
        "ALTER USER ann WITH ENCRYPTED PASSWORD\n\t\t's3cr3t'",
        "ALTER USER ann PASSWORD E'it\\'s3cr3t'",
        "ALTER USER ann PASSWORD U&'s3cr3t'",
        "ALTER USER ann PASSWORD 'it''s3cr3t'",
        "ALTER USER ann PASSWORD 'a'\n\t's3cr3t'",
        "ALTER USER ann PASSWORD $$s3cr3t$$",
        "ALTER USER ann PASSWORD $x$it's3cr3t$x$",
        "ALTER USER ann PASSWORD /* of old */ 's3cr3t'",
        "DO $$BEGIN EXECUTE 'ALTER USER ann PASSWORD ''s3cr3t'''; END$$",
        "CREATE USER MAPPING FOR ann SERVER s OPTIONS (user 'a', password 's3cr3t')",
        "CREATE SUBSCRIPTION s CONNECTION 'host=h password=s3cr3t user=u' PUBLICATION p",
        "SELECT dblink('host=h password = ''s3cr3t'' user=u')",
    ],
)
def test_passwords_are_hidden(statement: str) -> None:
    """However a password is written, the log has the statement without it."""
    text = f"2026-11-25 00:00:00 UTC [1] sys@db LOG:  statement: {statement}\n"
    hidden = without_passwords(text)
    assert SECRET not in hidden
    assert "***" in hidden
    assert hidden.startswith("2026-11-25 00:00:00 UTC [1] sys@db LOG:  statement: ")
    for kept in ("DROP TABLE t", "VALID UNTIL 'infinity'", "user=u"):
        assert (kept in text) == (kept in hidden)


@pytest.mark.parametrize(
    "statement",
    ["SELECT password FROM t WHERE a = 'x'", "ALTER USER ann PASSWORD NULL", "SELECT 1", "COMMENT ON ROLE a IS 'b'"],
)
def test_other_statements_stay(statement: str) -> None:
    """What holds no password is logged as it is."""
    assert without_passwords(statement) == statement


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20))
def test_nothing_is_lost(pieces: list[bytes]) -> None:
    """In whatever pieces entries come, the log holds their bytes in order."""
    path = Path("/tmp") / f"serverlog-{os.getpid()}.log"
    path.unlink(missing_ok=True)
    log = ServerLog(path)
    try:
        for piece in [*pieces, b"\n"]:
            os.write(log.sink, piece)
            log.take()
        whole = b"".join(pieces) + b"\n"
        expected = without_passwords(whole.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        assert path.read_bytes() == expected
    finally:
        os.close(log.sink)
        os.close(log.source)
        path.unlink(missing_ok=True)


def test_old_pieces_are_kept_up_to_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is long begins anew; the oldest piece goes."""
    monkeypatch.setattr(serverlog, "_LIMIT", 100)
    monkeypatch.setattr(serverlog, "_KEPT", 3)
    log = ServerLog(tmp_path / "postgresql.log")
    for number in range(50):
        os.write(log.sink, f"line {number:03}\n".encode())
        log.take()
    os.close(log.sink)
    os.close(log.source)
    names = ["postgresql.1.log", "postgresql.2.log", "postgresql.3.log", "postgresql.log"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / "postgresql.log").read_text().endswith("line 049\n")


@pytest.mark.parametrize(
    ("auditing", "params"),
    [(True, ""), (False, ""), (True, "-log_statement=none -log_connections=off -log_min_messages=PANIC")],
)
def test_auditing(make_rig: Callable[..., Rig], auditing: bool, params: str) -> None:
    """With auditing connections and statements are logged, without it they are not; passwords never are."""
    rig = make_rig(11)
    rig.volume()
    rig.database(enable_auditing=auditing, params=params)
    instance.initialise.function(rig.hosts[11], NAME, "g", False)
    instance.start_primary.function(rig.hosts[11], NAME, Quorum())
    rig.sql(11, "CREATE TABLE audited AS SELECT 1")
    rig.sql(11, f"CREATE ROLE ann PASSWORD '{SECRET}'")
    with pytest.raises(psycopg.Error):
        rig.sql(11, f"ALTER ROLE bob PASSWORD '{SECRET}'")
    log = rig.layout(11).log
    until(lambda: "bob" in log.read_text())
    text = log.read_text()
    assert log == rig.hosts[11].path(f"/exa/logs/db/{NAME}/postgresql.log")
    assert SECRET not in text
    assert ("audited" in text, "connection authorized: user=sys" in text, "'***'" in text) == (auditing, auditing, True)
    assert log.stat().st_mode & 0o077 == 0
