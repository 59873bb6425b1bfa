"""Configuration files and memory of a server."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from confd.model.sizes import Bytes
from confd.services.database.configuration import (
    Clients,
    ServerFacts,
    access_file,
    bootstrap,
    main_file,
    memory,
    primary_file,
    standby_file,
)
from confd.services.database.record import Quorum

FACTS = ServerFacts(
    node=11,
    address="127.0.0.11",
    port=8563,
    major=18,
    data=Path("/d"),
    config=Path("/c's"),
    sockets=Path("/s"),
    memory=Bytes(512 << 20),
    temp_limit=Bytes(1 << 30),
    slot_limit=Bytes(1 << 30),
    auditing=True,
    clients=Clients.ALL,
    peers=("127.0.0.12", "127.0.0.13"),
    system_users=("root",),
    settings={"work_mem": "77MB", "search_path": "it's"},
)


@given(st.integers(0, 1 << 45), st.integers(0, 64))
def test_memory_fits(mem_size: int, active: int) -> None:
    """A server's own memory stays within its node's share, and within what PostgreSQL takes."""
    sizes = memory(mem_size, active)
    share = max(mem_size // max(active, 1) >> 20, 64)
    assert 16 <= sizes.shared_buffers <= max(share // 4, 16)
    assert sizes.effective_cache_size < share
    assert 4 <= sizes.work_mem <= 1024


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


def test_access() -> None:
    """Instances on loopback reach each other; copies without clients take none."""
    lines = access_file(FACTS).splitlines()
    assert "host replication,postgres exa_replication 127.0.0.0/8 scram-sha-256" in lines
    assert lines[-2:] == ["host all all all scram-sha-256", "host all all all reject"]
    copy = access_file(msgspec.structs.replace(FACTS, clients=Clients.NONE, peers=("10.0.0.2",))).splitlines()
    assert "host replication,postgres exa_replication 10.0.0.2/32 scram-sha-256" in copy
    assert [line for line in copy if line.startswith("host all all")] == ["host all all all reject"]
    maintenance = access_file(msgspec.structs.replace(FACTS, clients=Clients.SYS))
    assert "host all sys all scram-sha-256" in maintenance


def test_roles() -> None:
    """A primary waits for its quorum, a standby follows its primary by name and slot."""
    assert primary_file(Quorum((12, 13), 1)) == "synchronous_standby_names = 'ANY 1 (n12, n13)'\n"
    assert primary_file(Quorum()) == "synchronous_standby_names = ''\n"
    text = standby_file(12, "127.0.0.11", 8563, Path("/c's/pass"))
    assert r"passfile=''/c\\''s/pass''" in text
    assert "application_name=''n12''" in text
    assert "primary_slot_name = 'n12'" in text


def test_bootstrap_quotes() -> None:
    """Any name of a database is one identifier."""
    statements = list(bootstrap('a"b', None, "v'"))
    assert statements[-1] == 'CREATE DATABASE "a""b" OWNER sys;'
    assert statements[0] == "CREATE ROLE sys SUPERUSER LOGIN;"
