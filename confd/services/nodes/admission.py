"""Who may join: the decision on a node that brings a token. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Final

import msgspec

from confd.cluster.joining.tokens import fits
from confd.cluster.leading.member import SKEW_SECONDS
from confd.exaconf import Node
from confd.model.errors import InUse, NotFound, PermissionDenied, WrongState

AUTHORITY: Final = "cluster/authority"
"""Runtime record with the certificate and the (sealed) key of the cluster's authority."""
TOKENS: Final = "node_token/"
"""Prefix of the runtime records of tokens, by node id."""
JOINED: Final = "node_joined/"
"""Prefix of the runtime records that say which machine is a node: the UUID it joined with."""


class TokenRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a token. ``key`` is the fingerprint of the key it was used with, at ``used``."""

    hash: str
    uuid: str
    expires: float
    key: str = ""
    used: float = 0.0


class Applicant(msgspec.Struct, frozen=True, kw_only=True):
    """A node that wants to join; ``key`` is the fingerprint of its key, ``clock`` what it takes for the time."""

    node: int
    secret: bytes
    cluster: str
    key: str
    address: str
    version: str
    clock: float


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """What the cluster is: its UUID, the software it runs, its time, and what it knows of the node in question."""

    cluster: str
    version: str
    now: float
    node: Node | None
    token: TokenRecord | None
    joined: str | None


def is_known(secret: bytes, token: TokenRecord | None) -> bool:
    """Tell whether a secret is that of a token; who has none is told nothing else."""
    return fits(secret, token.hash if token else "")


def admit(applicant: Applicant, present: Present) -> TokenRecord:
    """Return the record of the token as it is used now.

    A repeat with the same key is let in again until the token expires: the first answer may have got lost.

    :raises PermissionDenied: the token is forged, replaced, expired or used.
    :raises NotFound: the node is not, or no longer, in the configuration.
    :raises InUse: the node has joined.
    :raises WrongState: the machine does not fit the cluster.
    """
    name, token, node = f"n{applicant.node}", present.token, present.node
    if token is None or not is_known(applicant.secret, token):
        raise PermissionDenied(unknown_token(applicant.node))
    if node is None or node.uuid != token.uuid:
        raise NotFound(f"{name} was removed from the cluster; add a node with node_add and make a token for that one")
    if present.joined == node.uuid:
        raise InUse(f"{name} has joined already; another machine joins as another node, see node_add")
    if token.key not in ("", applicant.key):
        raise PermissionDenied(f"the token was used at {_time(token.used)}; {make_another(applicant.node)}")
    if present.now > token.expires:
        raise PermissionDenied(f"the token expired at {_time(token.expires)}; {make_another(applicant.node)}")
    _check_machine(applicant, present, node)
    return msgspec.structs.replace(token, key=applicant.key, used=token.used or present.now)


def check_clock(clock: float, now: float) -> None:
    """Refuse a machine whose clock is far from the master's.

    :raises WrongState: says by how much.
    """
    if abs(clock - now) > SKEW_SECONDS:
        word = "ahead of" if clock > now else "behind"
        raise WrongState(
            f"the clock of this machine is {abs(clock - now):.0f} s {word} the master's, allowed are "
            f"{SKEW_SECONDS:.0f} s; set it right (NTP) and join again"
        )


def check_version(version: str, present: str) -> None:
    """Refuse other software than the cluster runs.

    :raises WrongState: says which is where.
    """
    if version != present:
        raise WrongState(
            f"this machine has OpenConfD {version}, the cluster runs {present}; install the same version here"
        )


def unknown_token(node: int) -> str:
    """Say that a token is not one of the cluster."""
    return f"the cluster does not know this token: it was replaced by a newer one, or is forged; {make_another(node)}"


def make_another(node: int) -> str:
    """Say how to get a token."""
    return f"make a new one with: c4 host token {node}"


def _check_machine(applicant: Applicant, present: Present, node: Node) -> None:
    if applicant.cluster != present.cluster:
        raise WrongState(
            f"the token is of the cluster with UUID {applicant.cluster}, this one has {present.cluster}; "
            "make a token in the cluster that the node is to join"
        )
    if applicant.address != node.private_ip:
        raise WrongState(
            f"the machine joins with address {applicant.address}, but n{node.id} has {node.private_ip} in the "
            "configuration; join with that one, or change it with node_ip_batch"
        )
    check_version(applicant.version, present.version)
    check_clock(applicant.clock, present.now)


def _time(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
