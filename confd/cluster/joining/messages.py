"""What a node that joins and the cluster say to each other, in JSON.

``GET /join`` gives the ``Hall``: the certificate of the cluster's authority, which is no secret, with the time and
the version; ``POST /join`` takes a ``JoinRequest`` and gives a ``JoinAnswer`` to who brings a token, a ``Refusal`` to
others.
"""

from __future__ import annotations

from typing import Final

import msgspec

PATH: Final = "/join"


class Hall(msgspec.Struct, frozen=True, kw_only=True):
    """What anybody may know: the authority's certificate (PEM), the time here (UTC seconds), the software."""

    authority: str
    now: float
    version: str


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a node brings; the secret is hexadecimal, the request PEM."""

    node: int
    secret: str
    cluster: str
    request: str
    address: str
    version: str
    clock: int


class JoinAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a node gets.

    ``members`` are the UUIDs of the nodes it may believe before it has a configuration; ``files`` are further private
    files below its root, by relative path.
    """

    certificate: str
    data_key: bytes
    members: tuple[str, ...]
    files: dict[str, bytes] = {}


class Refusal(msgspec.Struct, frozen=True):
    """An error, as it travels."""

    code: int
    message: str
