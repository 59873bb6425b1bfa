"""Clusters to measure: made with c4 like any other, and the load that is put on them."""

from __future__ import annotations

import contextlib
import xmlrpc.client
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

from bench.load import Load, Plan, drive
from bench.processes import undisturbed
from tests.cluster.harness import ADMIN_PASSWORD, Cluster

MASTER: Final = 11
AUTHORIZATION: Final = "Basic " + b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()
_PORT: Final = 20003
_SUCCESS: Final = "<string>OK</string>"


@contextlib.contextmanager
def plain_cluster() -> Iterator[Cluster]:
    """Make a cluster of three nodes without a database for a block."""
    made = Cluster("CCC_PLAY_WITH_DB=false")
    try:
        yield made
    finally:
        with undisturbed():
            made.remove()


def call(name: str, **params: Any) -> str:
    """Return the XML-RPC call of a job."""
    return xmlrpc.client.dumps((name, {"params": params}), "job_exec")


def load(
    address: str,
    connections: list[list[str]],
    seconds: float,
    port: int = _PORT,
    warm_up: float = 0.5,
    *,
    keep_alive: bool = True,
) -> Load:
    """Put load on a server and return what came back."""
    return drive(Plan(address, port, AUTHORIZATION, connections, warm_up, seconds, _SUCCESS, keep_alive))


def make_users(cluster: Cluster, count: int) -> list[str]:
    """Make users to change; their names."""
    names = [f"bench{number}" for number in range(count)]
    for number, name in enumerate(names):
        cluster.run(
            "user_create", username=name, userid=20_000 + number, password="*", group="exausers", login_enabled=True
        )
    return names


def alternating(users: list[str]) -> list[list[str]]:
    """Return calls that switch the login of each user off and on: a connection for each, every call a change."""
    return [[call("user_modify", username=name, login_enabled=enabled) for enabled in (False, True)] for name in users]
