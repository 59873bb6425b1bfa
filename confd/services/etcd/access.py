"""Who gets into a cluster's own etcd: user root with a generated password, and nobody else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from confd.cluster.host import Host
from confd.model.errors import NodeError
from confd.services.etcd.plan import USER
from confd.store.choice import load_choice
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdError, EtcdRefused

_PRESENT = "already exist"

R = TypeVar("R")


def with_client(host: Host, ask: Callable[[EtcdClient], R]) -> R:
    """Ask the etcd that a node uses.

    :raises NodeError: the node uses none, or etcd does not do it.
    """
    choice = load_choice(host.root)
    if choice.etcd is None:
        raise NodeError(f"{host.name} does not use etcd; its store.json says {choice.kind}")
    client = EtcdClient(choice.etcd)
    try:
        return ask(client)
    except EtcdError as error:
        raise NodeError(str(error)) from None
    finally:
        client.close()


def secure(client: EtcdClient, password: str) -> None:
    """Make the user and have etcd ask for it; may be repeated, and done by several nodes at once.

    :raises EtcdError: etcd cannot be asked now.
    """
    with _unless_present():
        client.user_add(USER, password)
    with _unless_present():
        client.role_add(USER)
    client.user_grant(USER, USER)
    client.auth_enable()


@contextlib.contextmanager
def _unless_present() -> Iterator[None]:
    try:
        yield
    except EtcdRefused as error:
        if _PRESENT not in str(error):
            raise
