"""Which store a play uses, and the files that tell its nodes so."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from confd.cluster.certificates import Pair, new_nameless_client
from confd.cluster.identity import NodeFiles, write_private
from confd.model.errors import InvalidParameter
from confd.play.parameters import as_port
from confd.services.etcd.binary import find_binary
from confd.services.etcd.layout import wanted_members
from confd.services.etcd.plan import (
    CERTIFICATE,
    KEY,
    PASSWORD_FILE,
    MemberPlan,
    own_choice,
    peer_url,
    save_choice,
    save_plan,
)
from confd.store.choice import StoreChoice, StoreKind
from confd.store.etcd.access import DEFAULT_PREFIX, Endpoint, EtcdAccess
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdError

_GIVEN_CA: Final = "etc/cluster/etcd-ca.crt"
_GIVEN_CERTIFICATE: Final = "etc/cluster/etcd-client.crt"
_GIVEN_KEY: Final = "etc/cluster/etcd-client.key"


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The store of a play. ``endpoints`` are of an etcd that exists; without them members are run by ``binary``."""

    kind: StoreKind = StoreKind.SQLITE
    binary: str = ""
    port: int = 0
    endpoints: tuple[str, ...] = ()
    user: str | None = None
    password: str | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def runs_members(self) -> bool:
        """True when the play runs etcd members of its own."""
        return self.kind is StoreKind.ETCD and not self.endpoints

    @property
    def ports(self) -> dict[str, int]:
        """Ports that the members need on their addresses."""
        return {"etcd": self.port, "etcd members": self.port + 1} if self.runs_members else {}


def settle_store(texts: Mapping[str, str]) -> StoreSettings:
    """Make the settings of the store from the texts of all parameters.

    :raises InvalidParameter: they do not go together, or a file cannot be read.
    :raises Unsupported: there is no etcd that could be run.
    """
    kind, endpoints = _kind(texts["CCC_PLAY_STORE"]), tuple(texts["CCC_PLAY_ETCD_ENDPOINTS"].split())
    if kind is StoreKind.SQLITE:
        if endpoints:
            raise InvalidParameter("CCC_PLAY_ETCD_ENDPOINTS is given, but CCC_PLAY_STORE is sqlite; set it to etcd")
        return StoreSettings()
    if not endpoints:
        port = as_port(texts["CCC_PLAY_ETCD_PORT"])
        return StoreSettings(kind=kind, binary=find_binary(texts["CCC_PLAY_ETCD_BINARY"]), port=port)
    for endpoint in endpoints:
        try:
            Endpoint.of(endpoint)
        except ValueError as error:
            raise InvalidParameter(f"CCC_PLAY_ETCD_ENDPOINTS: {error}") from None
    return StoreSettings(
        kind=kind, endpoints=endpoints, user=texts["CCC_PLAY_ETCD_USER"] or None,
        password=_password(texts), ca=_file(texts, "CCC_PLAY_ETCD_CA_FILE"),
        certificate=_file(texts, "CCC_PLAY_ETCD_CERT_FILE"), key=_file(texts, "CCC_PLAY_ETCD_KEY_FILE"),
    )  # fmt: skip


def check_given(settings: StoreSettings) -> None:
    """Make sure that an etcd that is given answers, and lets its user in; before anything is made.

    :raises InvalidParameter: it does not; says why.
    """
    if not settings.endpoints:
        return
    with TemporaryDirectory() as place:
        password = Path(place) / "password"
        write_private(password, f"{settings.password or ''}\n".encode())
        access = EtcdAccess(
            endpoints=settings.endpoints, user=settings.user, password_file=str(password) if settings.user else None,
            ca=_text(settings.ca), certificate=_text(settings.certificate), key=_text(settings.key),
        )  # fmt: skip
        try:
            EtcdClient(access).get(DEFAULT_PREFIX.encode())
        except EtcdError as error:
            raise InvalidParameter(f"CCC_PLAY_ETCD_ENDPOINTS: {error}; nothing was made") from None


class StoreFiles:
    """Writes what each node of a new play needs to reach its store.

    :param seats: names and addresses of the data nodes, in order.
    :param token: tells this cluster's members from others.
    """

    def __init__(self, settings: StoreSettings, seats: Sequence[tuple[str, str]], token: str, authority: Pair) -> None:
        self._settings, self._token = settings, token
        self._client = new_nameless_client(authority)
        self._members = dict(seats[: wanted_members(len(seats))])
        self._password = settings.password or secrets.token_urlsafe(24)

    def write(self, files: NodeFiles, name: str, address: str) -> None:
        """Write the files of one node; none with the embedded store."""
        settings = self._settings
        if settings.kind is StoreKind.SQLITE:
            return
        write_private(files.root / PASSWORD_FILE, f"{self._password}\n".encode())
        if settings.endpoints:
            save_choice(files.root, self._given(files))
            return
        write_private(files.root / CERTIFICATE, self._client.certificate_pem)
        write_private(files.root / KEY, self._client.key_pem)
        save_choice(files.root, own_choice(files, address, self._members.values(), settings.port))
        if name in self._members:
            initial = {member: peer_url(address, settings.port) for member, address in self._members.items()}
            plan = MemberPlan(
                binary=settings.binary, name=name, address=self._members[name], port=settings.port,
                initial=initial, token=self._token,
            )  # fmt: skip
            save_plan(files.root, plan)

    def _given(self, files: NodeFiles) -> StoreChoice:
        settings = self._settings
        access = EtcdAccess(
            endpoints=settings.endpoints, user=settings.user,
            password_file=str(files.root / PASSWORD_FILE) if settings.user else None,
            ca=_keep(settings.ca, files.root / _GIVEN_CA),
            certificate=_keep(settings.certificate, files.root / _GIVEN_CERTIFICATE),
            key=_keep(settings.key, files.root / _GIVEN_KEY),
        )  # fmt: skip
        return StoreChoice(kind=StoreKind.ETCD, etcd=access, prefix=f"{DEFAULT_PREFIX}{self._token}/")


def _kind(text: str) -> StoreKind:
    try:
        return StoreKind(text.strip().lower())
    except ValueError:
        raise InvalidParameter(f"CCC_PLAY_STORE={text}: must be sqlite or etcd") from None


def _password(texts: Mapping[str, str]) -> str | None:
    path = _file(texts, "CCC_PLAY_ETCD_PASSWORD_FILE")
    if bool(path) != bool(texts["CCC_PLAY_ETCD_USER"]):
        raise InvalidParameter("CCC_PLAY_ETCD_USER and CCC_PLAY_ETCD_PASSWORD_FILE go together; give both or none")
    return path.read_text().split("\n", 1)[0] if path else None


def _file(texts: Mapping[str, str], name: str) -> Path | None:
    text = texts[name]
    if not text:
        return None
    try:
        Path(text).read_bytes()
    except OSError as error:
        raise InvalidParameter(f"{name}={text}: cannot be read ({error.strerror})") from None
    return Path(text)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _keep(source: Path | None, place: Path) -> str | None:
    if source is None:
        return None
    write_private(place, source.read_bytes())
    return str(place)
