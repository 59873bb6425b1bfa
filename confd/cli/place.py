"""Where the daemon is that a command line means: this node's socket, or a remote cluster."""

from __future__ import annotations

import getpass
import os
import ssl
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from confd.cli.connection import Connection, SocketHTTP, TlsHTTP, basic
from confd.cli.exits import CommandError, Exit, Unreachable
from confd.cli.trust import Pins, person, pins_file

_PORT: Final = 20003
_USER: Final = "admin"
_HINT: Final = (
    "run it on a node (c4 connect -t 1/cos), or name a cluster: confd_client --url https://ADDRESS:20003 --user admin"
)


class Place(msgspec.Struct, frozen=True):
    """Which daemon to talk to; the node's own one when there is no ``url``."""

    url: str | None = None
    user: str | None = None
    ca: str | None = None
    insecure: bool = False


def root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the node root."""
    return Path(environment.get("EXA_ROOT") or "/exa")


def connect(place: Place, timeout: float | None = None, *, ask: bool = True) -> Connection:
    """Return a connection to a daemon.

    :param timeout: seconds for each step; without it answers may take as long as jobs do.
    :param ask: may a person be asked for a password, and to trust a certificate?
    :raises Unreachable: there is no socket here.
    :raises CommandError: the url is none.
    """
    if place.url:
        return _remote(place, place.url, timeout, ask)
    if place.user or place.ca or place.insecure:
        raise CommandError("--user, --ca and --insecure go with --url", Exit.USAGE)
    path = socket_path()
    return Connection(partial(SocketHTTP, str(path), timeout), f"the daemon at {path}")


def socket_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Find the node's socket.

    :raises Unreachable: it is not there; the message says what to do.
    """
    if named := environment.get("CONFD_SOCKET"):
        return _existing(Path(named), f"CONFD_SOCKET names {named}, but no daemon listens there")
    identity = root(environment) / "etc/node.json"
    try:
        runtime = msgspec.json.decode(identity.read_bytes(), type=_Identity).runtime
    except FileNotFoundError:
        raise Unreachable(f"this is no node: there is no {identity}; {_HINT}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise Unreachable(f"{identity} cannot be read: {error}") from None
    path = Path(runtime) / "confd.sock"
    return _existing(path, f"no daemon listens at {path}; start it with c4 start")


class _Identity(msgspec.Struct):
    runtime: str


def _existing(path: Path, problem: str) -> Path:
    if not path.exists():
        raise Unreachable(problem)
    return path


def _remote(place: Place, text: str, timeout: float | None, ask: bool) -> Connection:
    url = _url(text)
    host, port, user = url.hostname or "", url.port or _PORT, place.user or url.username or _USER
    where = f"{host}:{port}"
    make = _tls(place, host, port, timeout, ask)
    # First the certificate, then the password.
    Connection(make, where).open()
    return Connection(make, where, basic(user, _password(user, where, ask)))


def _tls(place: Place, host: str, port: int, timeout: float | None, ask: bool) -> Callable[[], TlsHTTP]:
    """Choose how the server is verified: given authority, pinned certificate, the system's authorities."""
    if place.ca is not None:
        return partial(TlsHTTP, host, port, _with_authority(place.ca), timeout=timeout)
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    if place.insecure:
        return partial(TlsHTTP, host, port, unverified, timeout=timeout)
    pins, where = Pins(pins_file(), person() if ask else None), f"{host}:{port}"
    if pins.known(where) is None and _vouched(host, port, timeout):
        return partial(TlsHTTP, host, port, ssl.create_default_context(), timeout=timeout)
    return partial(TlsHTTP, host, port, unverified, partial(pins.check, where), timeout)


def _with_authority(file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise CommandError(f"--ca {file}: {error.strerror or error}", Exit.USAGE) from None


def _vouched(host: str, port: int, timeout: float | None) -> bool:
    """Tell whether an authority of the system vouches for the server."""
    http = TlsHTTP(host, port, ssl.create_default_context(), timeout=timeout)
    try:
        http.connect()
    except OSError:
        return False
    finally:
        http.close()
    return True


def _url(text: str) -> SplitResult:
    url = urlsplit(text if "://" in text else f"https://{text}")
    try:
        usable = url.scheme == "https" and bool(url.hostname) and (url.port or _PORT) > 0
    except ValueError:
        usable = False
    if not usable:
        raise CommandError(f"--url {text}: write https://ADDRESS:{_PORT}", Exit.USAGE)
    if url.password is not None:
        raise CommandError("no password in --url: others see command lines; set CONFD_PASSWORD", Exit.USAGE)
    return url


def _password(user: str, where: str, ask: bool) -> str:
    given = os.environ.get("CONFD_PASSWORD")
    if given is not None:
        return given
    if not ask or not sys.stdin.isatty():
        raise Unreachable(f"no password for {user} at {where}; set CONFD_PASSWORD, or run it in a terminal")
    try:
        return getpass.getpass(f"Password of {user} at {where}: ", sys.stderr)
    except EOFError:
        raise Unreachable("no password given") from None
