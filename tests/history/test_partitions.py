"""Both kinds of partitions keep nodes from each other as they say, and leave nothing when they are healed."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import free_net, until
from tests.history.network import Network, is_possible
from tests.history.refusing import Refusals

NODES = (11, 12, 13)
ALL = {(one, other) for one in NODES for other in NODES if one != other}
CONNECTED = """
import socket, sys
found = socket.create_connection((sys.argv[1], 20003), 0.3)
"""
LISTENING = """
import socket, sys
server = socket.create_server((sys.argv[1], 20003))
print(flush=True)
while True:
    server.accept()
"""
#: Connects, tells so, and ends when the connection does.
REFUSING = """
import socket, sys
from pathlib import Path
from tests.history.refusing import refuse
refuse(Path(sys.argv[1]))
for line in sys.stdin:
    try:
        with socket.create_connection((line.strip(), 20003)) as found:
            print("connected", flush=True)
            print("broken" if found.recv(1) == b"" else "fed", flush=True)
    except ConnectionRefusedError:
        print("refused", flush=True)
"""


@pytest.fixture
def network() -> Iterator[Network]:
    """Three nodes that listen, each in a namespace."""
    if not is_possible():
        pytest.skip("this machine allows no network namespaces")
    net = free_net()
    addresses = {node: f"{net}.{node}" for node in NODES}
    made, listeners = Network(addresses), []
    try:
        for node in NODES:
            command = [*made.prefix(node), sys.executable, "-c", LISTENING, addresses[node]]
            listeners.append(listener := subprocess.Popen(command, stdout=subprocess.PIPE))
            assert listener.stdout is not None
            listener.stdout.readline()
        yield made
    finally:
        for listener in listeners:
            listener.kill()
            listener.communicate()
        made.close()


def reached(network: Network) -> set[tuple[int, int]]:
    """Return who can connect to whom."""
    tries = {
        (one, other): subprocess.Popen(
            [*network.prefix(one), sys.executable, "-c", CONNECTED, network.addresses[other]], stderr=subprocess.DEVNULL
        )
        for one, other in ALL
    }
    return {pair for pair, process in tries.items() if process.wait(20) == 0}


def expect(network: Network, pairs: set[tuple[int, int]]) -> None:
    """Wait until these and no others can connect: a cable that is plugged in carries after a while."""
    until(lambda: reached(network) == pairs, f"just {sorted(pairs)} connect")


def test_namespaces_are_cut(network: Network) -> None:
    """One node, a pair, or one direction: TCP needs both, so nobody connects either way there."""
    pairs = {(11, 12), (12, 11)}, {(12, 13), (13, 12)}
    expect(network, ALL)
    network.cut(12)
    expect(network, ALL - pairs[0] - pairs[1])
    network.heal()
    expect(network, ALL)
    network.part(11, 12)
    expect(network, ALL - pairs[0])
    network.heal()
    expect(network, ALL)
    network.deafen(12, 13)
    expect(network, ALL - pairs[1])
    network.heal()
    expect(network, ALL)


def test_connections_are_refused_and_broken(tmp_path: Path) -> None:
    """Who refuses another one connects to it no more, and what was connected ends; until it is healed."""
    address = f"{free_net()}.12"
    refusals = Refusals({11: f"{address}1", 12: address}, tmp_path)
    words = [sys.executable, "-c", REFUSING, str(refusals.file(11))]
    with (
        socket.create_server((address, 20003)),
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def connect() -> str:
            print(address, file=process.stdin, flush=True)
            assert process.stdout is not None
            return process.stdout.readline().strip()

        assert connect() == "connected"
        refusals.deafen(12, 11)
        refusals.part(11, 12)
        assert process.stdout.readline().strip() == "broken"
        assert connect() == "refused"
        refusals.heal()
        assert connect() == "connected"
        process.kill()
