"""Taken addresses: who holds them is named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from confd.cluster import ports
from confd.model.errors import InUse
from confd.play import holders
from confd.play.record import Progress
from tests.play.conftest import make_play

ADDRESS = "127.77.0.1"


@pytest.fixture
def listening():
    """A port that this process listens on."""
    with socket.socket() as server:
        server.bind((ADDRESS, 0))
        server.listen()
        yield server.getsockname()[1]


def test_process_on_a_port_is_named(listening: int):
    """The process that listens is named with its id."""
    with pytest.raises(InUse, match=rf"ConfD port {listening} on {ADDRESS} is taken by process {os.getpid()} \("):
        holders.check_free([ADDRESS], {"ConfD": listening}, [])


def test_listeners_on_all_addresses_count():
    """Who listens on all addresses holds each of them."""
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        port = server.getsockname()[1]
        assert [found.port for found in ports.listeners(ADDRESS, port)] == [port]
        with pytest.raises(InUse, match=f"process {os.getpid()}"):
            holders.check_ports(ADDRESS, {"node": port})


def test_connections_do_not_count(listening: int):
    """Only who listens holds a port; connections from or to it do not."""
    assert len(ports.listeners(ADDRESS, listening)) == 1
    with socket.create_connection((ADDRESS, listening)):
        assert len(ports.listeners(ADDRESS, listening)) == 1
    assert ports.listeners("127.77.0.2", listening) == []


def test_free_port(listening: int):
    """The same port of another address is free."""
    holders.check_free(["127.77.0.2"], {"ConfD": listening}, [])


def test_address_of_another_play(home: Path):
    """An address that belongs to a play is taken also while that play is stopped; free ones are suggested."""
    play = make_play(home)
    with pytest.raises(InUse, match=r"127.1.1.12 belongs to play 1 \(0a1b2c3d\).*127.1.1.21 127.1.1.22.*c4 rm -t 1"):
        holders.check_free(["127.1.1.12"], {}, [play])
    holders.check_free(["127.1.1.13"], {}, [play])


def test_failed_play_holds_nothing(home: Path):
    """A play that never came up does not keep its addresses."""
    holders.check_free(["127.1.1.12"], {}, [make_play(home).with_progress(Progress.FAILED)])


def test_unusable_address():
    """An address that this machine does not have is refused with the system's words."""
    with pytest.raises(InUse, match="cannot be used"):
        holders.check_ports("192.0.2.1", {"ConfD": 20003})
