"""Getting back into the only member that is left when this node does not know etcd's password any more.

A node whose daemon was down while a node was removed does not know the password that etcd was given then. When all who
know it are lost, the survivor's member has everything and lets nobody in. Its owner may tell it whom to believe: it is
started so that it takes tokens which this node signs, gets a new password with such a one, and is started as usual.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from confd.cluster.identity import write_private
from confd.model.errors import NodeError
from confd.services.etcd.minder import server_at
from confd.services.etcd.passwords import make_password
from confd.services.etcd.plan import DATA, USER, add_passwords, load_plan
from confd.store.choice import load_choice
from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdError, EtcdUncertain, EtcdUnreachable

log = structlog.get_logger("etcd")

_KEY: Final = "../etcd-token.key"
"""Beside the data, where the server works: words of this option are separated by commas, which a path may have."""

_VALID_SECONDS: Final = 600
_NEWEST: Final = 1 << 52
"""A revision of etcd's users that no real one comes to: a token of an older one than the present is refused."""

_ANSWER_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.2


def regain(root: Path) -> None:
    """Have the only member, which runs on this node, take a password that nobody else knows.

    :raises NodeError: it does not come up, or does not do it.
    """
    plan, access, server = load_plan(root), load_choice(root).etcd, server_at(root)
    assert plan is not None
    assert access is not None
    key, password, path = secrets.token_bytes(32), make_password(), root / DATA / _KEY
    write_private(path, key)
    # First of all: a password that only etcd knows would let nobody in.
    add_passwords(root, [password])
    try:
        server.restart(f"--auth-token=jwt,sign-method=HS256,priv-key={_KEY},ttl={_VALID_SECONDS}s")
        _change_password(msgspec.structs.replace(access, endpoints=(plan.client_url,)), signed(key), password)
    finally:
        path.unlink()
        server.restart()
    log.warning("etcd_password_regained")


def signed(key: bytes) -> str:
    """Return a token (JWT) by which etcd, which knows the key, takes its bearer for the user of the nodes."""
    claims = {"username": USER, "revision": _NEWEST, "exp": int(time.time()) + _VALID_SECONDS}
    text = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
    return f"{text}.{_plain(hmac.digest(key, text.encode(), hashlib.sha256))}"


def _change_password(access: EtcdAccess, token: str, password: str) -> None:
    client = EtcdClient(msgspec.structs.replace(access, user=None, password_file=None), token)
    until = time.monotonic() + _ANSWER_SECONDS
    try:
        while True:
            try:
                return client.user_change_password(USER, password)
            except (EtcdUnreachable, EtcdUncertain):
                if time.monotonic() > until:
                    raise
                time.sleep(_LOOK_SECONDS)
    except EtcdError as error:
        raise NodeError(f"etcd does not take a new password: {error}") from None
    finally:
        client.close()


def _encoded(part: dict[str, Any]) -> str:
    return _plain(msgspec.json.encode(part))


def _plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
