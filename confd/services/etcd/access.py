"""Who gets into a cluster's own etcd: user root with a generated password, and nobody else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from confd.services.etcd.plan import USER
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdRefused

_PRESENT = "already exist"


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
