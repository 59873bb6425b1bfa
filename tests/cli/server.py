"""A real API server over a fake gateway, in a thread: what the commands meet."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from confd.api.request import Credentials, Unauthorized
from confd.api.server import ApiServer

Answer = Callable[..., Any]


def ok(output: Any = None, **more: Any) -> dict[str, Any]:
    """Return the envelope of a job that did it."""
    envelope = {"result_code": 0, "result_name": "OK", "result_desc": "Success", "result_jobid": "11.7", **more}
    return envelope if output is None else envelope | {"result_output": output}


def failed(text: str, code: int = 303) -> dict[str, Any]:
    """Return the envelope of a job that did not."""
    return {"result_code": code, "result_name": "WRONG_STATE", "result_desc": text, "result_jobid": "11.7"}


class FakeGateway:
    """Notes calls and answers them from a table: values, or functions of the arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answers: dict[str, Any] = {}
        self.passwords: dict[str, str] = {}
        self.ready = self.is_master = True

    def master(self) -> None:
        """Know no master."""

    async def call(
        self, method: str, params: tuple[Any, ...], credentials: Credentials, peer: str, protocol: str
    ) -> Any:
        """Answer a call."""
        self.calls.append((method, params))
        if credentials.kind != "socket" and self.passwords.get(credentials.name) != credentials.secret:
            raise Unauthorized("user unknown, login disabled or password wrong")
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        return await asyncio.to_thread(answer, *params) if callable(answer) else answer

    def jobs(self) -> list[tuple[str, Any]]:
        """Return the jobs that were run, with their parameters."""
        return [(args[0], args[1].get("params")) for method, args in self.calls if method in {"job_exec", "job_start"}]


class Server:
    """Serves until closed."""

    def __init__(self) -> None:
        self.gateway = FakeGateway()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._api = self._run(self._make())

    def on_socket(self, path: Path) -> None:
        """Serve on a unix socket."""
        self._run(self._api.listen_on_socket(path))

    def on_tls(self, certificate: Path, port: int = 0) -> int:
        """Serve HTTPS on a port of loopback."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._run(self._api.listen("127.0.0.1", port, context))
        return int(self._api._runner.addresses[0][1])

    def close(self) -> None:
        """Stop serving."""
        self._run(self._api.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _make(self) -> ApiServer:
        return ApiServer(self.gateway, self.gateway)  # type: ignore[arg-type]

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


def self_signed(path: Path) -> Path:
    """Write a new key and its certificate for 127.0.0.1."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
