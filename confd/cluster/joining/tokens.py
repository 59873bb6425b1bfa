"""Tokens with which new nodes join: what a token says, and its text.

A token names the cluster by the fingerprint of its authority, so that who has it talks to no other one, and holds a
secret of which the cluster keeps the hash only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import zlib
from typing import Final

import msgspec

from confd.model.errors import InvalidParameter

_MARK: Final = "join1_"
_SECRET_BYTES: Final = 32
_UUID_DIGITS: Final = 40


class Token(msgspec.Struct, frozen=True, array_like=True):
    """What a joining node has to know.

    ``authority`` is the SHA-256 of the certificate of the cluster's authority, ``address`` where the node will be,
    ``doors`` the addresses of members that let it in, all at ``port``. The API will be at
    ``confd_port``. ``expires`` is in UTC seconds.
    """

    cluster: str
    authority: bytes
    node: int
    uuid: str
    address: str
    doors: tuple[str, ...]
    port: int
    confd_port: int
    expires: int
    secret: bytes

    def __repr__(self) -> str:
        return f"Token(cluster={self.cluster!r}, node={self.node})"


def new_secret() -> bytes:
    """Make the secret of a token."""
    return secrets.token_bytes(_SECRET_BYTES)


def hash_secret(secret: bytes) -> str:
    """Return what the cluster keeps of a secret; it is random and long, so a plain hash does."""
    return hashlib.sha256(secret).hexdigest()


def fits(secret: bytes, kept: str) -> bool:
    """Tell whether a secret is the one of which the hash is kept, taking the same time for all wrong ones."""
    return hmac.compare_digest(hash_secret(secret), kept)


def cluster_uuid(authority: bytes) -> str:
    """Return the UUID of a cluster: 40 upper-case hexadecimal digits of the fingerprint of its authority."""
    return authority.hex().upper()[:_UUID_DIGITS]


def write(token: Token) -> str:
    """Return the text of a token: one word without characters that shells or mails change."""
    body = msgspec.msgpack.encode(token)
    sealed = body + zlib.crc32(body).to_bytes(4, "big")
    return _MARK + base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def read(text: str) -> Token:
    """Read the text of a token.

    :raises InvalidParameter: it is none, or a part of it is missing.
    """
    word = "".join(text.split())
    if not word.startswith(_MARK):
        raise InvalidParameter(f"this is no token: one begins with {_MARK}; make one with: c4 host token NODE")
    packed = word.removeprefix(_MARK)
    try:
        sealed = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        body, check = sealed[:-4], sealed[-4:]
        if zlib.crc32(body).to_bytes(4, "big") != check:
            raise ValueError("checksum")
        return msgspec.msgpack.decode(body, type=Token)
    except (binascii.Error, ValueError):
        raise InvalidParameter("the token is incomplete or mistyped; copy all of it") from None
