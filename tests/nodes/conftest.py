"""Nodes on loopback: certificates, directories, free ports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from confd.cluster.certificates import Pair, new_authority, new_member
from confd.cluster.identity import NodeFiles, write_private
from confd.model.secret import Vault

PATIENCE = 20.0
KEY = bytes(range(32))


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(coroutine: Coroutine[Any, Any, None], seconds: float = 60) -> None:
    """Run a test that needs a loop; it cannot hang."""
    asyncio.run(asyncio.wait_for(coroutine, seconds))


async def until(promise: Callable[[], Any]) -> Any:
    """Return what a promise gives once it is true."""
    async with asyncio.timeout(PATIENCE):
        while not (kept := promise()):  # noqa: ASYNC110 - promises have no event
            await asyncio.sleep(0.005)
    return kept


async def ended(task: Awaitable[Any]) -> None:
    """Wait for a cancelled task."""
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture(scope="session")
def authority() -> Pair:
    """Give the authority of the cluster."""
    return new_authority("test")


@pytest.fixture
def node_files(tmp_path: Path, authority: Pair) -> Callable[..., NodeFiles]:
    """Give directories of nodes with their certificates."""

    def make(name: str, issuer: Pair = authority, trusted: Pair = authority) -> NodeFiles:
        files = NodeFiles(tmp_path / name)
        member = new_member(issuer, name, ["127.0.0.1"])
        write_private(files.ca, trusted.certificate_pem)
        write_private(files.certificate, member.certificate_pem)
        write_private(files.key, member.key_pem)
        write_private(files.data_key, KEY)
        files.journal.parent.mkdir(parents=True)
        return files

    return make


@pytest.fixture
def vault() -> Vault:
    """Give the vault of the cluster."""
    return Vault(KEY)
