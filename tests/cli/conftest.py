"""What the tests of the commands share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.server import FakeGateway, Server


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the clusters and settings of whoever runs the tests."""
    monkeypatch.setenv("EXA_ROOT", str(tmp_path / "n11"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CONFD_SOCKET", "CONFD_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server that listens nowhere yet."""
    running = Server()
    yield running
    running.close()


@pytest.fixture
def gateway(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    """The gateway behind the socket that confd_client finds."""
    # Not below tmp_path: the path of a socket must be short.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "confd.sock"
        server.on_socket(path)
        monkeypatch.setenv("CONFD_SOCKET", str(path))
        yield server.gateway
