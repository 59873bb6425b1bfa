"""Configuration files and memory of a server."""

from __future__ import annotations

from pathlib import Path

import msgspec

from confd.model.sizes import Bytes
from confd.services.database.engine.configuration import (
    ServerFacts,
    bootstrap,
    link,
    main_file,
    primary_file,
    standby_file,
)
from confd.services.database.record import Quorum

FACTS = ServerFacts(
    node=11,
    addresses=("127.0.0.11",),
    port=8563,
    major=18,
    data=Path("/d"),
    config=Path("/c's"),
    sockets=Path("/s"),
    memory=Bytes(512 << 20),
    temp_limit=Bytes(1 << 30),
    slot_limit=Bytes(1 << 30),
    auditing=True,
    settings={"work_mem": "77MB", "search_path": "it's"},
)


def test_parameters_win_over_defaults_only() -> None:
    """Params change defaults; what is managed stands after them, whatever they say."""
    facts = msgspec.structs.replace(FACTS, settings={"work_mem": "77MB", "port": "1", "search_path": "it's"})
    lines = main_file(facts).splitlines()
    assert "work_mem = '77MB'" in lines
    assert "search_path = 'it''s'" in lines
    assert "port = 8563" in lines
    assert "hba_file = '/c''s/pg_hba.conf'" in lines
    assert len({line.partition(" = ")[0] for line in lines}) == len(lines)
    assert lines[-1] == "include 'role.conf'"


def test_roles() -> None:
    """A primary waits for its quorum, a standby follows its primary by name and slot."""
    assert primary_file(Quorum((12, 13), 1)) == "synchronous_standby_names = 'ANY 1 (n12, n13)'\n"
    assert primary_file(Quorum()) == "synchronous_standby_names = ''\n"
    text = standby_file(12, link("127.0.0.11", 8563, Path("/c's/pass"), tls=False))
    assert r"passfile=''/c\\''s/pass''" in text
    assert "application_name=''n12''" in text
    assert "primary_slot_name = 'n12'" in text
    assert "sslmode" not in text
    assert "sslmode='require' channel_binding='require'" in link("127.0.0.11", 8563, Path("/p"), tls=True)
    assert "channel_binding='prefer'" in link("127.0.0.11", 8563, Path("/p"), tls=True, binds=False)


def test_bootstrap_quotes() -> None:
    """Any name of a database is one identifier."""
    statements = list(bootstrap('a"b', None, "v'"))
    assert statements[-1] == 'CREATE DATABASE "a""b" OWNER sys;'
    assert statements[0] == "CREATE ROLE sys SUPERUSER LOGIN;"
