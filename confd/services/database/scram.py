"""SCRAM-SHA-256 verifiers: what PostgreSQL stores instead of a password (RFC 5803)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata
from typing import Final

from confd.model.errors import InvalidParameter
from confd.model.secret import Secret

_ITERATIONS: Final = 4096
_SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32
_VERIFIER: Final = re.compile(
    r"SCRAM-SHA-256\$([1-9][0-9]{0,8}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)"
)
_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def make_verifier(password: Secret, salt: bytes | None = None) -> Secret:
    """Make the verifier of a password; each call has its own salt unless one is given."""
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password.reveal()).encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return Secret(f"SCRAM-SHA-256${_ITERATIONS}:{_text(salt)}${_text(stored)}:{_text(server)}")


def check_verifier(text: str) -> Secret:
    """Return a verifier that PostgreSQL takes.

    :raises InvalidParameter: it is something else, such as the hex hash of another system.
    """
    match = _VERIFIER.fullmatch(text)
    if match and all(_decodes(match[place], _KEY_BYTES) for place in (3, 4)) and _decodes(match[2], None):
        return Secret(text)
    kind = "a hex hash, which this database cannot check" if re.fullmatch("[0-9A-Fa-f]+", text) else "something else"
    raise InvalidParameter(
        f"the password hash of SYS must be a verifier SCRAM-SHA-256$...; given is {kind}. Make one with: c4 pwdhash"
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decodes(text: str, length: int | None) -> bool:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return len(raw) == length if length else bool(raw)


def _prepared(password: str) -> str:
    """Apply SASLprep as PostgreSQL does: what the profile prohibits is used as it is."""
    if password.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    prohibited = not prepared or any(table(char) for char in prepared for table in _PROHIBITED)
    return password if prohibited or _mixes_directions(prepared) else prepared


def _mixes_directions(text: str) -> bool:
    right_to_left = [stringprep.in_table_d1(char) for char in text]
    if not any(right_to_left):
        return False
    return any(stringprep.in_table_d2(char) for char in text) or not (right_to_left[0] and right_to_left[-1])
