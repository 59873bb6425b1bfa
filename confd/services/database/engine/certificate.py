"""The certificate that clients of a database see: the node's own, as ``[SSL]`` of EXAConf names it."""

from __future__ import annotations

from functools import lru_cache

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from confd.cluster.host import Host
from confd.model.errors import NodeError
from confd.model.secret import Secret


class Certificate(msgspec.Struct, frozen=True):
    """A certificate chain with its key, both PEM.

    ``fingerprint``: 64 upper-case hexadecimal digits (SHA-256). ``binds``: clients can tie their password proof to it.
    """

    chain: str
    key: Secret
    fingerprint: str
    binds: bool


def node_certificate(host: Host) -> Certificate | None:
    """Return the node's certificate, None when it has none.

    :raises NodeError: it cannot be used, or its key is another one's.
    """
    settings = host.conf().ssl
    try:
        chain, key = host.path(settings.cert).read_bytes(), host.path(settings.cert_key).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return _read(chain, key)
    except (ValueError, TypeError) as error:
        raise NodeError(
            f"certificate {settings.cert} with key {settings.cert_key} of {host.name} cannot be used: {error}"
        ) from None


@lru_cache(maxsize=16)
def _read(chain: bytes, key: bytes) -> Certificate:
    first = x509.load_pem_x509_certificate(chain)
    own = serialization.load_pem_private_key(key, password=None)
    if own.public_key() != first.public_key():
        raise ValueError("they do not belong together")
    return Certificate(
        chain=chain.decode(),
        key=Secret(key.decode()),
        fingerprint=first.fingerprint(hashes.SHA256()).hex().upper(),
        binds=first.signature_hash_algorithm is not None,
    )
