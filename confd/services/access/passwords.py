"""Passwords of users: new ones become argon2id hashes, hashes of older files keep working.

Text with one of the known prefixes is a hash; empty text and ``*`` mean that no password is accepted.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hmac
import re
import threading
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from confd.model.errors import Unsupported

#: Hashes that libcrypt verifies; argon2id is ours.
LIBCRYPT_PREFIXES: Final = ("$1$", "$2a$", "$2y$", "$5$", "$6$", "$y$")
_ARGON2: Final = "$argon2id$"
_HASH: Final = re.compile(r"[!-~]{1,512}")
NO_PASSWORD: Final = frozenset({"", "*"})

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def is_encoded(text: str) -> bool:
    """Tell whether text is a hash by its prefix."""
    return text.startswith((_ARGON2, *LIBCRYPT_PREFIXES)) and _HASH.fullmatch(text) is not None


def hash_password(password: str) -> str:
    """Return a new hash of a password."""
    return _HASHER.hash(password)


def encode(text: str, *, force: bool) -> str | None:
    """Return what is stored for a given password; None switches the login by password off.

    :param force: hash also what looks like a hash; otherwise a hash is stored as it is, anything else is hashed.
    """
    if text in NO_PASSWORD:
        return None
    return text if is_encoded(text) and not force else hash_password(text)


def verify(stored: str, password: str) -> bool:
    """Tell whether a password fits a stored hash."""
    if stored.startswith(_ARGON2):
        try:
            return _HASHER.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
    if stored.startswith(LIBCRYPT_PREFIXES):
        computed = _crypt(password, stored)
        return computed is not None and hmac.compare_digest(computed, stored.encode())
    return False


_crypt_lock = threading.Lock()


@cache
def _libcrypt() -> ctypes.CDLL:
    # The crypt module left the standard library in 3.13; Debian always has libcrypt1.
    try:
        library = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    except OSError:
        missing = "this machine has no libcrypt, so old password hashes cannot be checked; install libcrypt1"
        raise Unsupported(missing) from None
    library.crypt.restype = ctypes.c_char_p
    library.crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    return library


def _crypt(password: str, salt: str) -> bytes | None:
    if "\0" in password or "\0" in salt:
        return None
    # crypt() answers in a static buffer.
    with _crypt_lock:
        found: bytes | None = _libcrypt().crypt(password.encode(), salt.encode())
        return bytes(found) if found else None
