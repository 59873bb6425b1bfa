"""Room in etcd: what keys were before is forgotten, and each member gives the space back to its disk."""

from __future__ import annotations

from typing import Final

import msgspec

from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdUncertain, EtcdUnreachable

_ANY: Final = b"\0"


class Room(msgspec.Struct, frozen=True):
    """What one member's file was and is, in bytes."""

    endpoint: str
    before: int
    after: int


def make_room(access: EtcdAccess) -> tuple[list[Room], list[str]]:
    """Compact, defragment the members one after the other, and take back alarms; also the members left out, and why.

    A member answers nothing while it defragments, some seconds for each GiB. May be repeated, also when an earlier
    try broke off.

    :raises EtcdError: etcd does not answer, or this user may not.
    """
    client = EtcdClient(access)
    try:
        _, revision = client.range(_ANY, limit=1)
        client.compact(revision)
        made, missed = list[Room](), list[str]()
        for at, endpoint in enumerate(access.endpoints):
            try:
                before = client.status(at).size
                client.defragment(at)
                made.append(Room(endpoint, before, client.status(at).size))
            except (EtcdUnreachable, EtcdUncertain) as error:
                missed.append(f"{endpoint} was left out: {error}")
        client.disarm()
        return made, missed
    finally:
        client.close()
