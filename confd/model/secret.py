"""Values that must not be shown: passwords, tokens, keys; and the vault that seals them at rest."""

from __future__ import annotations

import base64
import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HIDDEN: Final = "***"
_NONCE_BYTES = 12
_MARK = "sealed:"


class Secret:
    """Text that prints as ``***``; only ``reveal()`` gives it away.

    Deliberately no ``str``: a secret that is concatenated, formatted or logged by accident fails
    or shows the mask.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return HIDDEN


class Vault:
    """Seals secrets with the cluster's data key (AES-256-GCM); the key lies on each node, mode 0600.

    Sealed text starts with ``sealed:`` and holds base64 of nonce and ciphertext.
    """

    def __init__(self, key: bytes) -> None:
        self._key, self._cipher = key, AESGCM(key)

    @staticmethod
    def new_key() -> bytes:
        """Make a data key of 32 random bytes."""
        return AESGCM.generate_key(bit_length=256)

    def derive(self, purpose: str) -> bytes:
        """Return a key for one purpose, the same on all nodes that share the data key."""
        return hmac.digest(self._key, purpose.encode(), "sha256")

    def seal(self, secret: Secret) -> str:
        """Encrypt a secret; two calls give two different texts."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, secret.reveal().encode(), None)
        return _MARK + base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str) -> Secret:
        """Decrypt what ``seal`` gave.

        :raises ValueError: not sealed text, or sealed with another key.
        """
        raw = base64.b64decode(sealed.removeprefix(_MARK), validate=True)
        try:
            return Secret(self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None).decode())
        except InvalidTag:
            raise ValueError("the secret was sealed with another data key") from None


def is_sealed(value: object) -> bool:
    """Tell whether a stored value is sealed text."""
    return isinstance(value, str) and value.startswith(_MARK)
