"""A new password for the cluster's own etcd, so that who was removed gets in no more.

Every node writes the new one down before etcd takes it, and tries those of before after it: whoever dies at whatever
moment gets in afterwards. No record has it, since a node that is being removed still reads records. A node that is
away gets it from the master when it returns (``EtcdMembers``): by the node port, for which it needs no etcd.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

import msgspec

from confd.cluster.host import Host
from confd.cluster.identity import NodeFiles
from confd.cluster.operations import operation
from confd.model.secret import Secret
from confd.services.etcd.access import with_client
from confd.services.etcd.plan import USER, add_passwords, load_passwords

_BYTES = 24


def make_password() -> str:
    """Return a password that nobody guesses."""
    return secrets.token_urlsafe(_BYTES)


@operation("etcd.new_password")
def new_password(host: Host) -> str:
    """Make a password; sealed, with the one that etcd takes now.

    :raises NodeError: etcd does not answer.
    """
    present: str = with_client(host, lambda client: client.accepted_password())
    return _seal(host, (make_password(), present))


@operation("etcd.passwords")
def passwords(host: Host) -> str:
    """Return the passwords that this node tries, sealed."""
    return _seal(host, load_passwords(host.root))


@operation("etcd.passwords_mark")
def passwords_mark(host: Host) -> str:
    """Return what is another text once this node tries other passwords, and tells nothing of them."""
    return hashlib.sha256("\n".join(load_passwords(host.root)).encode()).hexdigest()


@operation("etcd.give_passwords")
def give_passwords(host: Host, sealed: str) -> None:
    """Have a node try these passwords before those it knows; durable when this returns."""
    told = NodeFiles(host.root).vault().open(sealed).reveal()
    add_passwords(host.root, msgspec.json.decode(told, type=tuple[str, ...]))


@operation("etcd.change_password")
def change_password(host: Host) -> None:
    """Have etcd take the first password that this node tries; who has logged in with another has to log in again."""
    wanted, *_ = load_passwords(host.root)
    with_client(host, lambda client: client.user_change_password(USER, wanted))


def _seal(host: Host, texts: Iterable[str]) -> str:
    return NodeFiles(host.root).vault().seal(Secret(msgspec.json.encode(tuple(texts)).decode()))
