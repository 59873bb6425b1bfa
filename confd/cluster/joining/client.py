"""The asking side of joining, for commands: blocking, and only ever to the cluster that the token names."""

from __future__ import annotations

import http.client
import ssl
import time
from http import HTTPStatus
from typing import Any, Final

import msgspec

from confd import __version__
from confd.cluster.certificates import fingerprint
from confd.cluster.joining.messages import PATH, Hall, JoinAnswer, JoinRequest, Refusal
from confd.cluster.joining.tokens import Token, cluster_uuid
from confd.model.errors import ConfDError, NodeOffline, PermissionDenied, WrongState, error_from

_CONNECT_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 60.0
_TRIES: Final = 3


class Way(msgspec.Struct, frozen=True):
    """A member that answers: its address, and what it told before it was asked for anything."""

    address: str
    hall: Hall


def find_way(token: Token) -> Way:
    """Find a member that listens and belongs to the cluster of the token.

    :raises NodeOffline: none answers.
    :raises PermissionDenied: who answers is another cluster.
    """
    silent: list[str] = []
    strange: list[str] = []
    for address in token.doors:
        try:
            hall = _look(address, token.port)
            if fingerprint(hall.authority.encode()) == token.authority:
                return Way(address, hall)
            strange.append(address)
        except (OSError, http.client.HTTPException, ValueError) as error:
            silent.append(f"{address}:{token.port} ({error or 'timed out'})")
    if strange:
        raise PermissionDenied(
            f"{', '.join(strange)} belongs to another cluster than the token, which is for {token.cluster} (UUID "
            f"{cluster_uuid(token.authority)}); nothing was sent there"
        )
    raise NodeOffline(
        f"no node of {token.cluster} answers: {', '.join(silent)}; start one, or let this machine through to that port"
    )


def knock(token: Token, way: Way, request: bytes) -> JoinAnswer:
    """Ask to be let in with a token and a certificate request (PEM).

    An answer that got lost is asked for again: the cluster gives the same key its certificate twice.

    :raises ConfDError: what the cluster refused with.
    """
    body = JoinRequest(
        node=token.node, secret=token.secret.hex(), cluster=cluster_uuid(token.authority), request=request.decode(),
        address=token.address, version=__version__, clock=int(time.time()),
    )  # fmt: skip
    for left in reversed(range(_TRIES)):
        try:
            status, answer = _post(way, token.port, msgspec.json.encode(body))
            break
        except ssl.SSLCertVerificationError as error:
            raise WrongState(
                f"the certificate of {way.address} is not good: {error.verify_message}; check the clocks of both sides"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            if not left:
                raise NodeOffline(f"{way.address}:{token.port} does not answer any more: {error}") from None
    if status != HTTPStatus.OK:
        raise _refusal(way.address, answer)
    return msgspec.json.decode(answer, type=JoinAnswer)


def _look(address: str, port: int) -> Hall:
    # Not verified: what it says is compared with the fingerprint, and nothing is told here.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, port, timeout=_CONNECT_SECONDS, context=context)
    try:
        connection.request("GET", PATH)
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            raise ValueError(f"answers {response.status}; it is no node, or of an older version")
        return msgspec.json.decode(response.read(), type=Hall)
    finally:
        connection.close()


def _post(way: Way, port: int, body: bytes) -> tuple[int, bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Any member may answer: what counts is the authority that certified it.
    context.check_hostname = False
    context.load_verify_locations(cadata=way.hall.authority)
    connection = http.client.HTTPSConnection(way.address, port, timeout=_ANSWER_SECONDS, context=context)
    try:
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _refusal(address: str, body: bytes) -> ConfDError:
    try:
        told: Any = msgspec.json.decode(body, type=Refusal)
    except msgspec.DecodeError:
        return NodeOffline(f"{address} cannot let this machine in now: {body[:200].decode(errors='replace')}")
    return error_from(told.code, told.message)
