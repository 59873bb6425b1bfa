"""Calls to c4 on other machines over SSH, to many side by side.

Host keys are looked up in the user's ~/.ssh/known_hosts and in CCC_HOME/known_hosts. A person is asked about an unknown
one, and it is kept there; a script is refused. A changed key is always refused.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import asyncssh
import msgspec

from confd import __version__
from confd.cluster.identity import write_private
from confd.model.errors import (
    ConfDError,
    InvalidParameter,
    LoginFailed,
    NodeError,
    NodeOffline,
    PermissionDenied,
    TimedOut,
    Unsupported,
    error_from,
)
from confd.play import home
from confd.play.record import Ssh

_CONNECT_SECONDS: Final = 10.0
_CALL_SECONDS: Final = 150.0
_NOT_FOUND: Final = 127
_USAGE: Final = 2

Ask = Callable[[str], bool]


class Told(msgspec.Struct, frozen=True):
    """What one machine is to do."""

    host: str
    verb: str
    body: Any


class Answers(msgspec.Struct, frozen=True):
    """What each machine answered, and the errors of those that did not, by address."""

    values: dict[str, bytes]
    errors: dict[str, ConfDError]

    def all(self) -> dict[str, bytes]:
        """Return all answers.

        :raises ConfDError: the first error, with its machine.
        """
        for host, error in self.errors.items():
            raise error_from(error.code, f"{host}: {error.message}")
        return self.values


class Machines:
    """The machines of a play.

    :param password: for the login; none when a key does it.
    :param ask: asks a person about a new host key.
    """

    def __init__(self, ssh: Ssh, password: str = "", ask: Ask | None = None) -> None:
        self._ssh, self._password, self._ask = ssh, password, ask

    def trust(self, hosts: Sequence[str]) -> None:
        """Make sure that the keys of all hosts are known, asking a person about new ones.

        :raises PermissionDenied: a key is unknown or has changed.
        :raises NodeOffline: a host does not answer.
        """
        for host in hosts:
            asyncio.run(self._trust(host))

    def tell(self, orders: Sequence[Told], seconds: float = _CALL_SECONDS) -> Answers:
        """Have machines do something, all at the same time."""
        return asyncio.run(self._tell(orders, seconds))

    async def _tell(self, orders: Sequence[Told], seconds: float) -> Answers:
        done = await asyncio.gather(*(self._one(order, seconds) for order in orders), return_exceptions=True)
        answers = Answers({}, {})
        for order, value in zip(orders, done, strict=True):
            if isinstance(value, ConfDError):
                answers.errors[order.host] = value
            elif isinstance(value, BaseException):
                raise value
            else:
                answers.values[order.host] = value
        return answers

    async def _one(self, order: Told, seconds: float) -> bytes:
        connection = await self._connect(order.host)
        async with connection:
            words = shlex.join([*self._ssh.program, "machine", order.verb])
            try:
                async with asyncio.timeout(seconds):
                    body = msgspec.json.encode(order.body, enc_hook=str)
                    ended = await connection.run(words, input=body, encoding=None)
            except TimeoutError:
                raise TimedOut(f"{words} did not end within {seconds:g} s") from None
            except (OSError, asyncssh.Error) as error:
                raise NodeOffline(f"the connection broke: {error}") from None
        return self._output(ended)

    def _output(self, ended: Any) -> bytes:
        output, said = bytes(ended.stdout or b""), bytes(ended.stderr or b"").decode(errors="replace").strip()
        if ended.exit_status == 0:
            return output
        program = shlex.join(self._ssh.program)
        if ended.exit_status in (_NOT_FOUND, _USAGE) or b"No module named" in (ended.stderr or b""):
            raise Unsupported(
                f"OpenConfD {__version__} is not installed there for user {self._ssh.user} ({program}: {said[-200:]}); "
                f"install it, such as with pip install openconfd=={__version__}, or say where c4 is by CCC_HOST_C4"
            )
        try:
            told = msgspec.json.decode(output, type=dict[str, Any])
            raise error_from(told["code"], told["message"])
        except (msgspec.DecodeError, KeyError):
            status = ended.exit_status if ended.exit_status is not None else ended.exit_signal
            raise NodeError(f"{program} ended with {status}: {said[-1000:] or 'it said nothing'}") from None

    async def _connect(self, host: str) -> asyncssh.SSHClientConnection:
        ssh = self._ssh
        options: dict[str, Any] = {
            "username": ssh.user, "port": ssh.port, "known_hosts": self._known(), "config": None,
            "connect_timeout": _CONNECT_SECONDS, "login_timeout": _CONNECT_SECONDS, "keepalive_interval": 5,
        }  # fmt: skip
        if ssh.key:
            options |= {"client_keys": [ssh.key], "agent_path": None}
        if self._password:
            options["password"] = self._password
        try:
            return await asyncssh.connect(host, **options)
        except asyncssh.PermissionDenied:
            with_what = f"key {ssh.key}" if ssh.key else "the keys of your agent and ~/.ssh"
            raise LoginFailed(
                f"the login of user {ssh.user} is refused with {with_what}; check CCC_HOST_IMAGE_USER, "
                "CCC_HOST_KEY_PAIR_FILE and the authorized_keys there"
            ) from None
        except asyncssh.HostKeyNotVerifiable as error:
            raise PermissionDenied(f"its host key is not the known one: {error}") from None
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise InvalidParameter(f"CCC_HOST_KEY_PAIR_FILE: {ssh.key} is no key that can be used: {error}") from None
        except (OSError, TimeoutError, asyncssh.Error) as error:
            raise NodeOffline(f"no SSH at port {ssh.port}: {error or 'timed out'}") from None

    async def _trust(self, host: str) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                shown = await asyncssh.get_server_host_key(host, self._ssh.port, config=None)
        except (OSError, TimeoutError, asyncssh.Error) as error:
            raise NodeOffline(f"{host}: no SSH at port {self._ssh.port}: {error or 'timed out'}") from None
        assert shown is not None
        known = self._known()(host, host, self._ssh.port)[0] if self._known_files() else []
        if any(key.public_data == shown.public_data for key in known):
            return
        fingerprint, name = shown.get_fingerprint(), _name(host, self._ssh.port)
        same_kind = [key for key in known if key.algorithm == shown.algorithm]
        if same_kind:
            raise PermissionDenied(
                f"the host key of {host} has changed: it shows {fingerprint}, known is "
                f"{same_kind[0].get_fingerprint()}. Somebody may be in between; if the machine was set up anew, forget "
                f"the old key with: {_forgetting(name)}"
            )
        if self._ask is None or not self._ask(f"The host key of {host} is new: {fingerprint}. Is that the right one?"):
            raise PermissionDenied(
                f"the host key of {host} is not known ({fingerprint}); compare it, then run: "
                f"ssh-keyscan -p {self._ssh.port} {host} >> {_own_file()}"
            )
        kept = _own_file().read_bytes() if _own_file().exists() else b""
        write_private(_own_file(), kept + name.encode() + b" " + shown.export_public_key())

    def _known(self) -> Any:
        files = self._known_files()
        loaded = asyncssh.read_known_hosts([str(path) for path in files])
        return lambda host, address, port: asyncssh.match_known_hosts(loaded, host, address, port)

    @staticmethod
    def _known_files() -> list[Path]:
        return [path for path in (Path.home() / ".ssh/known_hosts", _own_file()) if path.exists()]


def client_words(ssh: Ssh, host: str, words: Sequence[str], terminal: bool) -> tuple[str, ...]:
    """Return the words that run a command on a machine with the ssh program, for people and pipes."""
    files = " ".join(str(path) for path in (Path.home() / ".ssh/known_hosts", _own_file()))
    options = ["-p", str(ssh.port), "-o", f"UserKnownHostsFile={files}", "-o", "StrictHostKeyChecking=yes"]
    options += ["-i", ssh.key, "-o", "IdentitiesOnly=yes"] if ssh.key else []
    options += ["-t"] if terminal else []
    return ("ssh", *options, f"{ssh.user}@{host}", shlex.join(words))


def decode(values: Mapping[str, bytes], kind: Any) -> dict[str, Any]:
    """Read the answers of machines.

    :raises NodeError: one is no answer of c4.
    """
    read: dict[str, Any] = {}
    for host, value in values.items():
        try:
            read[host] = msgspec.json.decode(value, type=kind, dec_hook=lambda wanted, text: wanted(text))
        except msgspec.DecodeError:
            said = value[:200].decode(errors="replace")
            raise NodeError(f"{host}: CCC_HOST_C4 is no c4 of this version there; it said {said!r}") from None
    return read


def _own_file() -> Path:
    return home.home() / "known_hosts"


def _name(host: str, port: int) -> str:
    return host if port == 22 else f"[{host}]:{port}"


def _forgetting(name: str) -> str:
    return f"ssh-keygen -R '{name}' (for your own list), or -f {_own_file()} -R '{name}'"


def ask_person() -> Ask | None:
    """Return how to ask the person at the terminal; None when there is nobody."""
    if not sys.stdin.isatty():
        return None
    import click

    return lambda text: click.confirm(text, err=True)
