"""Calls to etcd's JSON gateway: connections, failover between endpoints, token, time limits.

Every thread keeps one open connection. A call goes to the endpoint that answered last; when that one does not take
it, to the next. A request that changes something is sent to one server only: what became of it when no answer
comes is not known, and EtcdUncertain says so.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from confd.store.etcd.access import Endpoint, EtcdAccess
from confd.store.etcd.errors import (
    EtcdDenied,
    EtcdError,
    EtcdRefused,
    EtcdUncertain,
    EtcdUnreachable,
    error_from,
    is_stale_token,
)

CALL_SECONDS: Final = 5.0
"""How long a call may take in all, unless its caller says otherwise."""

_CONNECT_SECONDS: Final = 1.0
_PATIENT_SECONDS: Final = 1.2
_ROUND_PAUSE: Final = 0.05
_LOGINS: Final = 5
"""How often a call logs in anew: a token that was given before a change of password and used after it is stale too."""
_BROKEN: Final = (OSError, http.client.HTTPException)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


_GATEWAYS: Final[weakref.WeakSet[Gateway]] = weakref.WeakSet()


def learn_endpoints(access: EtcdAccess, *, only: bool = False) -> None:
    """Have all of this process that reach the same etcd try these endpoints first; those of before stay to be tried.

    :param only: those of before are not tried any more: what may answer there one day is another etcd.
    """
    for gateway in _reaching(access):
        gateway.learn(access.endpoints, only=only)


def return_to_first(access: EtcdAccess) -> None:
    """Have all of this process that reach this etcd ask its first endpoint again, if that takes calls by now."""
    first = Endpoint.of(access.endpoints[0])
    strayed = [one for one in _reaching(access) if first in one.endpoints and one.preferred != first]
    if strayed and strayed[0].takes_calls(first):
        for gateway in strayed:
            gateway.prefer(first)


def _reaching(access: EtcdAccess) -> list[Gateway]:
    same = msgspec.structs.replace(access, endpoints=())
    return [gateway for gateway in list(_GATEWAYS) if msgspec.structs.replace(gateway.access, endpoints=()) == same]


class Gateway:
    """The way to one etcd cluster; may be used from any thread.

    :param clock: seconds that only grow.
    :param token: to be let in with, where ``access`` names no user.
    """

    def __init__(
        self, access: EtcdAccess, clock: Callable[[], float] = time.monotonic, token: str | None = None
    ) -> None:
        self.access, self._clock, self._given = access, clock, token
        self.endpoints = [Endpoint.of(url) for url in access.endpoints]
        if not self.endpoints:
            raise ValueError("etcd needs at least one endpoint")
        try:
            self._tls = access.tls()
        except OSError as error:
            raise EtcdDenied(f"the TLS files of the store cannot be used: {error}") from None
        self._preferred = 0
        self._local = threading.local()
        # Weak: the connections of a thread go with it.
        self._open: weakref.WeakSet[http.client.HTTPConnection] = weakref.WeakSet()
        self._token: str | None = None
        self._lock = threading.Lock()
        _GATEWAYS.add(self)

    def learn(self, urls: Iterable[str], *, only: bool = False) -> None:
        """Try these endpoints from now on, before those of before or instead of them."""
        told = [Endpoint.of(url) for url in urls]
        with self._lock:
            # They are known by their place in the list, so nothing in it ever moves.
            known = [told[0]] * len(self.endpoints) if only else self.endpoints
            self.endpoints = [*known, *(one for one in told if one not in known)]
            self._preferred, self._token = self.endpoints.index(told[0]), None

    @property
    def preferred(self) -> Endpoint:
        """Which endpoint is asked first."""
        return self.endpoints[self._preferred]

    def prefer(self, endpoint: Endpoint) -> None:
        """Ask an endpoint first that is known already."""
        with self._lock:
            self._preferred = self.endpoints.index(endpoint)

    def takes_calls(self, endpoint: Endpoint) -> bool:
        """Tell whether an endpoint that is known answers now what a majority of etcd knows."""
        try:
            self.call("/v3/kv/range", {"key": "AA=="}, timeout=_CONNECT_SECONDS, at=self.endpoints.index(endpoint))
        except EtcdError:
            return False
        return True

    def call(
        self, path: str, body: Any, *, changes: bool = False, timeout: float = CALL_SECONDS, at: int | None = None
    ) -> Any:
        """Call a method of etcd; its answer.

        :param changes: the request must not be sent twice.
        :param timeout: seconds for all endpoints together.
        :param at: number of the only endpoint to ask.
        :raises EtcdError: see there for what each one says about the outcome.
        """
        deadline = self._clock() + timeout
        logins = 0
        while True:
            token = self._current_token(deadline)
            try:
                return self._try_endpoints(path, body, changes, deadline, token, at)
            except _StaleToken as stale:
                if logins == _LOGINS or self.access.user is None:
                    raise stale.error from None
                logins += 1
                self._forget_token(token)

    @contextlib.contextmanager
    def stream(self, path: str, body: Any, idle: float) -> Iterator[Iterator[Any]]:
        """Begin a call with many answers, on a connection of its own, and give them one by one.

        :param idle: seconds without an answer after which the stream counts as broken.
        """
        token = self._current_token(self._clock() + CALL_SECONDS)
        connection, response = self._begin_stream(path, body, idle, token)
        try:
            yield self._answers(response)
        finally:
            self._open.discard(connection)
            connection.close()

    def close(self) -> None:
        """Close all connections, also those that are read from."""
        for connection in list(self._open):
            # A thread that reads from it wakes up only when the socket is shut down.
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(2)
            connection.close()
        self._open.clear()

    def _try_endpoints(
        self, path: str, body: Any, changes: bool, deadline: float, token: str | None, at: int | None
    ) -> Any:
        encoded, trouble = _encode(body), ""
        first = self._preferred
        order = [at] if at is not None else [(first + i) % len(self.endpoints) for i in range(len(self.endpoints))]
        while True:
            for place, number in enumerate(order):
                left = deadline - self._clock()
                if left <= 0:
                    break
                # A server that hangs must not use up the time of those behind it, and one that is slow needs some.
                share = max(left / (len(order) - place), _PATIENT_SECONDS)
                limit = min(left, share) if place < len(order) - 1 else left
                try:
                    answer = self._ask(number, path, encoded, changes, limit, token)
                except EtcdUnreachable as error:
                    trouble = str(error)
                    continue
                self._preferred = number
                return answer
            if self._clock() + _ROUND_PAUSE >= deadline:
                names = ", ".join(str(self.endpoints[number]) for number in order)
                raise EtcdUnreachable(f"etcd does not answer at {names}: {trouble or 'timed out'}")
            time.sleep(_ROUND_PAUSE)

    def _ask(self, number: int, path: str, encoded: bytes, changes: bool, limit: float, token: str | None) -> Any:
        connection = self._connected(number, limit)
        try:
            assert connection.sock is not None
            connection.sock.settimeout(limit)
            connection.request("POST", path, encoded, _headers(token))
            response = connection.getresponse()
            status, content = response.status, response.read()
        except _BROKEN as error:
            self._drop(number)
            if token and isinstance(error, TimeoutError):
                # With a token of an etcd that was there before, a server that is younger waits instead of refusing it.
                self._forget_token(token)
            text = f"{self.endpoints[number]} gave no answer ({error or type(error).__name__})"
            raise (EtcdUncertain(text) if changes else EtcdUnreachable(text)) from None
        if status == 200:
            return _decode(content)
        error_ = self._refusal(content, status, number)
        if isinstance(error_, EtcdUncertain) and not changes:
            raise EtcdUnreachable(str(error_))
        raise error_

    def _refusal(self, content: bytes, status: int, number: int) -> Exception:
        try:
            answer = _decode(content)
            code, message = int(answer.get("code", 2)), str(answer.get("message") or answer.get("error", ""))
        except (msgspec.DecodeError, ValueError, AttributeError):
            return EtcdRefused(f"{self.endpoints[number]} is no etcd 3.4 or newer: HTTP status {status}")
        error = error_from(code, message)
        return _StaleToken(error) if is_stale_token(code, message) else error

    def _connected(self, number: int, limit: float) -> http.client.HTTPConnection:
        connections: dict[int, http.client.HTTPConnection] = self._local.__dict__.setdefault("connections", {})
        connection = connections.get(number)
        if connection is None or connection.sock is None:
            connection = connections[number] = self._connect(number, min(limit, _CONNECT_SECONDS))
        return connection

    def _connect(self, number: int, limit: float) -> http.client.HTTPConnection:
        endpoint = self.endpoints[number]
        if endpoint.encrypted:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                endpoint.host, endpoint.port, timeout=limit, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=limit)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise EtcdDenied(f"the certificate of {endpoint} is not accepted: {error.verify_message}") from None
        except _BROKEN as error:
            raise EtcdUnreachable(f"{endpoint}: {error or 'timed out'}") from None
        self._open.add(connection)
        return connection

    def _drop(self, number: int) -> None:
        connection = self._local.connections.pop(number, None)
        if connection is not None:
            self._open.discard(connection)
            connection.close()

    def _begin_stream(
        self, path: str, body: Any, idle: float, token: str | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        trouble = ""
        for i in range(len(self.endpoints)):
            number = (self._preferred + i) % len(self.endpoints)
            try:
                connection = self._connect(number, _CONNECT_SECONDS)
                assert connection.sock is not None
                connection.sock.settimeout(idle)
                connection.request("POST", path, _encode(body), _headers(token))
                return connection, connection.getresponse()
            except (*_BROKEN, EtcdUnreachable) as error:
                trouble = f"{self.endpoints[number]}: {error}"
        raise EtcdUnreachable(f"no endpoint of etcd answers: {trouble}")

    def _answers(self, response: http.client.HTTPResponse) -> Iterator[Any]:
        if response.status != 200:
            error = self._refusal(response.read(), response.status, self._preferred)
            if isinstance(error, _StaleToken):
                self._forget_token(self._token)
                raise error.error
            raise error
        while True:
            try:
                line = response.readline()
            except (*_BROKEN, ValueError, AttributeError) as error:
                raise EtcdUnreachable(f"the stream from etcd broke: {error or 'silent'}") from None
            if not line:
                raise EtcdUnreachable("the stream from etcd ended")
            answer = _decode(line)
            if "error" in answer:
                told = answer["error"]
                raise error_from(int(told.get("grpc_code", told.get("code", 2))), str(told.get("message", "")))
            yield answer["result"]

    def _current_token(self, deadline: float) -> str | None:
        if self.access.user is None:
            return self._given
        with self._lock:
            if self._token is None:
                self._token, _ = self._log_in(deadline)
            return self._token or None

    def _forget_token(self, used: str | None) -> None:
        with self._lock:
            if self._token == (used or ""):
                self._token = None

    def accepted_password(self, timeout: float = CALL_SECONDS) -> str:
        """Log in anew; return which of the known passwords etcd takes now."""
        return self._log_in(self._clock() + timeout)[1]

    def _log_in(self, deadline: float) -> tuple[str, str]:
        """Return a token, and the password that gave it."""
        try:
            passwords = self.access.passwords()
        except OSError as error:
            raise EtcdDenied(f"the password of etcd's user {self.access.user!r} cannot be read: {error}") from None
        # One that is just being changed may be refused as too new, and the one before as too old right after.
        for password in passwords if len(passwords) > 1 else ():
            try:
                return self._authenticate(password, deadline), password
            except EtcdDenied:
                continue
        return self._authenticate(passwords[0], deadline), passwords[0]

    def _authenticate(self, password: str, deadline: float) -> str:
        """Return a token; an empty one when etcd wants none (its authentication is not switched on)."""
        body = {"name": self.access.user, "password": password}
        try:
            answer = self._try_endpoints("/v3/auth/authenticate", body, False, deadline, None, None)
        except EtcdRefused as error:
            if "authentication is not enabled" in str(error):
                return ""
            raise EtcdDenied(f"etcd refuses user {self.access.user!r}: {error}") from None
        return str(answer["token"])


class _StaleToken(Exception):
    """The token ran out, or one is needed by now."""

    def __init__(self, error: EtcdError) -> None:
        super().__init__(str(error))
        self.error = error


def _headers(token: str | None) -> dict[str, str]:
    # Without Accept some versions take the gateway's own certificate for the user.
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return headers | {"Authorization": token} if token else headers
