"""Streams carry bulk data between members, both ways at once, and break when either side goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from confd.cluster.certificates import new_authority
from confd.cluster.host import Host
from confd.cluster.identity import NodeFiles
from confd.cluster.transport import streams
from confd.cluster.transport.stream_client import StreamClient
from confd.cluster.transport.streams import Channel, stream
from confd.model.errors import Internal, NodeOffline
from tests.nodes.conftest import free_port
from tests.services.archive.network import ServedPort

Files = Callable[..., NodeFiles]
MIB = 1 << 20


def nowhere() -> Any:
    """Stand for a configuration that is not asked for."""
    raise AssertionError


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    """Tell when the answering side of the stream ``test`` has ended."""
    over = threading.Event()

    @stream("test")
    def answer(host: Host, channel: Channel) -> None:
        try:
            while True:
                head, data = channel.receive()
                channel.send([host.node, head], data)
        finally:
            over.set()

    @stream("test-failing")
    def fail(host: Host, channel: Channel) -> None:
        raise ZeroDivisionError

    yield over
    for name in ("test", "test-failing"):
        del streams._LISTENERS[name]


@pytest.fixture
def port(node_files: Files, tmp_path: Path, ended: threading.Event) -> Iterator[int]:
    """Serve streams on a free port."""
    number = free_port()
    host = Host(11, "127.0.0.1", tmp_path, tmp_path, None, (), nowhere)
    served = ServedPort(host, node_files("U11"), number)
    yield number
    served.close()


def test_messages_of_any_size_go_both_ways(node_files: Files, port: int, ended: threading.Event) -> None:
    """Heads and data arrive as sent; the answering side ends with the asking one."""
    channel = StreamClient(node_files("U12")).connect("127.0.0.1", port, "test")
    for size in (0, 1, 70_000, 5 * MIB):
        data = bytes(size)
        channel.send({"size": size}, memoryview(data))
        assert channel.receive() == ([11, {"size": size}], data)
    channel.close()
    assert ended.wait(20)


def test_answers_may_lag_behind(node_files: Files, port: int, ended: threading.Event) -> None:
    """A side may send on while the other has not answered yet."""
    channel = StreamClient(node_files("U12")).connect("127.0.0.1", port, "test")
    for number in range(100):
        channel.send(number)
    assert [channel.receive()[0][1] for _ in range(100)] == list(range(100))
    channel.close()


def test_strangers_get_no_stream(node_files: Files, port: int) -> None:
    """A certificate of another cluster, or of a node that is no member, opens nothing."""
    foreign = new_authority("foreign")
    for files in (node_files("X1"), node_files("U13", issuer=foreign)):
        with pytest.raises(NodeOffline, match="stream"):
            StreamClient(files).connect("127.0.0.1", port, "test").receive()


def test_unknown_streams_and_failures(node_files: Files, port: int) -> None:
    """An unknown stream is refused with its name; one that fails ends."""
    client = StreamClient(node_files("U12"))
    with pytest.raises(NodeOffline, match="no stream 'nothing'"):
        client.connect("127.0.0.1", port, "nothing")
    with pytest.raises(NodeOffline):
        client.connect("127.0.0.1", port, "test-failing").receive()


def test_nobody_there(node_files: Files) -> None:
    """A port on which nobody listens is a node that is offline."""
    with pytest.raises(NodeOffline, match="no node answers"):
        StreamClient(node_files("U12")).connect("127.0.0.1", free_port(), "test")


def test_a_port_that_closes_ends_its_streams(node_files: Files, tmp_path: Path, ended: threading.Event) -> None:
    """Neither the asking nor the answering side waits for a node that stops."""
    number = free_port()
    host = Host(11, "127.0.0.1", tmp_path, tmp_path, None, (), nowhere)
    served = ServedPort(host, node_files("U11"), number)
    channel = StreamClient(node_files("U12")).connect("127.0.0.1", number, "test")
    channel.send("a")
    channel.receive()
    served.close()
    assert ended.wait(20)
    with pytest.raises(NodeOffline):
        channel.receive()


def test_lengths_are_limited() -> None:
    """A message that cannot be meant is refused before memory is taken for it."""
    with pytest.raises(Internal, match="larger than streams allow"):
        streams.lengths_of(b"\xff" * 8)
    with pytest.raises(ValueError, match="twice"):
        stream("archive")(lambda host, channel: None)
