"""A connection to a daemon: JSON calls over the node's unix socket or over TLS.

Standard library only, because a command line is started anew for each call.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec

from confd.cli.exits import CommandError, ConnectionLost, Exit, LoginRefused, Unreachable

_PATH: Final = "/jrpc"
_JSON: Final = "application/json"
_MAYBE_RUN: Final = "the job may have been carried out; confd_client job list shows it"

#: Looks at the certificate of a server before anything is sent to it; raises Unreachable.
CertificateCheck = Callable[[bytes], None]


class CallRefused(CommandError):
    """The server could not take the call as a call; ``code`` is that of the fault."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message, Exit.FAILED)
        self.code = code


class Connection:
    """Calls methods of a daemon, one at a time; connects when needed.

    :param make: makes an HTTP connection that is not open yet.
    :param place: what messages call the other side.
    """

    def __init__(
        self, make: Callable[[], http.client.HTTPConnection], place: str, authorization: str | None = None
    ) -> None:
        self.place = place
        self._make, self._http, self._authorization = make, make(), authorization
        self._headers = {"Content-Type": _JSON}
        if authorization:
            self._headers["Authorization"] = authorization

    def call(self, method: str, *args: Any) -> Any:
        """Call a method with positional arguments.

        :raises CallRefused: a fault.
        :raises ConnectionLost: the connection broke before the answer came.
        :raises Unreachable: no connection, or not to a daemon.
        :raises LoginRefused: the daemon does not know the caller.
        """
        self.open()
        body = _encoded(method, args)
        try:
            self._http.request("POST", _PATH, body, self._headers)
            response = self._http.getresponse()
            body = response.read()
        except (http.client.HTTPException, OSError) as error:
            self._http.close()
            raise ConnectionLost(f"the connection to {self.place} broke ({_reason(error)}); {_MAYBE_RUN}") from None
        return self._answer(response.status, body)

    def open(self) -> None:
        """Connect now, unless connected."""
        if self._http.sock is not None:
            return
        try:
            self._http.connect()
        except (http.client.HTTPException, OSError) as error:
            self._http.close()
            raise Unreachable(f"{self.place} cannot be reached: {_reason(error)}") from None

    def another(self) -> Connection:
        """Return a second connection to the same daemon, for another thread."""
        return Connection(self._make, self.place, self._authorization)

    def close(self) -> None:
        """Disconnect."""
        self._http.close()

    def _answer(self, status: int, body: bytes) -> Any:
        text = body.decode("utf-8", "replace").strip()
        if status == HTTPStatus.UNAUTHORIZED:
            raise LoginRefused(f"{self.place} does not let you in: {text or 'login refused'}")
        try:
            answer = msgspec.json.decode(body)
        except msgspec.DecodeError:
            answer = None
            status = HTTPStatus.BAD_GATEWAY if status == HTTPStatus.OK else status
        if status == HTTPStatus.OK:
            return answer
        if isinstance(answer, dict) and "fault_string" in answer:
            raise CallRefused(int(answer.get("fault_code", 0)), str(answer["fault_string"]))
        message = f"{self.place} answered {status}: {text[:500]}"
        if status in {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}:
            raise CommandError(message, Exit.FAILED)
        raise Unreachable(message)


class SocketHTTP(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float | None = None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class TlsHTTP(http.client.HTTPSConnection):
    """HTTPS that looks at the certificate itself; answers may take as long as jobs do."""

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        check: CertificateCheck = lambda certificate: None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(host, port, context=context, timeout=timeout or _CONNECT_SECONDS)
        self._check, self._answer_timeout = check, timeout

    def connect(self) -> None:
        """Connect and check the certificate."""
        super().connect()
        assert isinstance(self.sock, ssl.SSLSocket)
        self._check(self.sock.getpeercert(binary_form=True) or b"")
        # Without it a machine that vanished would be waited for without end.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.sock.settimeout(self._answer_timeout)


_CONNECT_SECONDS: Final = 10.0


def _encoded(method: str, args: tuple[Any, ...]) -> bytes:
    try:
        return msgspec.json.encode({"method": method, "args": args})
    except UnicodeEncodeError:
        raise CommandError("a value is not UTF-8 text", Exit.USAGE) from None


def basic(user: str, password: str) -> str:
    """Return the Authorization header of a login with password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, http.client.RemoteDisconnected):
        return "closed by the server"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
