"""Configuration files and memory of a server."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from confd.model.errors import InvalidParameter
from confd.model.sizes import Bytes
from confd.services.database.engine.configuration import (
    ServerFacts,
    bootstrap,
    link,
    main_file,
    primary_file,
    quota_file,
    standby_file,
)
from confd.services.database.params import Setting, check_params, parse_params
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


def names_in(text: str) -> set[str]:
    """Return the settings that a configuration file sets."""
    return {line.partition(" = ")[0] for line in text.splitlines() if " = " in line}


def test_what_would_have_no_effect_is_refused() -> None:
    """A setting that the daemon's files set after those of params cannot be given in params."""
    facts = msgspec.structs.replace(FACTS, settings={}, auditing=False, tls=True, keytab=Path("/k"))
    overruled = names_in(quota_file(read_only=True)) | names_in(primary_file(Quorum((12,), 1)))
    overruled |= names_in(standby_file(12, ""))
    for name in names_in(main_file(facts)):
        given = main_file(msgspec.structs.replace(facts, settings={name: "given"}))
        if f"{name} = 'given'" not in given.splitlines():
            overruled.add(name)
    assert {"port", "wal_sender_timeout", "default_transaction_read_only", "primary_conninfo"} <= overruled
    for name in sorted(overruled):
        with pytest.raises(InvalidParameter, match="cannot be given in params"):
            check_params(parse_params(f"-{name}=1"), {name: Setting(name, "sighup", "STRING")})


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
