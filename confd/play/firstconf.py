"""The first EXAConf of a cluster. Pure, except for random secrets."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Iterable, Mapping
from typing import Final

from confd.exaconf import Disk, ExaStorage, Global, Group, Logging, Node, Section, Ssl, User
from confd.exaconf import render as render_sections
from confd.model.secret import Secret
from confd.play.settings import ACCESS_NODE, NODE_PORT, SSH_PORT, Settings

DISK: Final = "disk1"
DEVICE: Final = "dev.1"
_ALPHANUMERIC: Final = string.ascii_letters + string.digits
_ADMINS: Final = ("exaadm", "exadbadm", "exastoradm", "exabfsadm", "exasaasadm")
_GROUPS: Final = {
    "root": 0, "exausers": 500, "exaadm": 499, "exadbadm": 498, "exastoradm": 497, "exabfsadm": 496, "exasaasadm": 495,
}  # fmt: skip


def first_conf(settings: Settings, name: str, version: str, uuids: Mapping[int, str], admin_hash: Secret) -> str:
    """Return the text of EXAConf that a play begins with.

    :param version: of PostgreSQL, the default of databases.
    :param uuids: of the nodes.
    """
    sections: list[Section] = [
        Global(
            cluster_name=name, platform="Host", cored_port=NODE_PORT, ssh_port=SSH_PORT,
            xmlrpc_port=settings.confd_port, authentication_token=new_token(), cored_use_privileged_ports=False,
            db_version=version, image_version=version,
        ),
        Ssl(), ExaStorage(), Logging(),
        *(Group(group, number) for group, number in _GROUPS.items()),
        *_users(admin_hash),
        *_nodes(settings, uuids),
    ]  # fmt: skip
    return render_sections({section.key: section for section in sections}, 0)


def new_token() -> Secret:
    """Make an AuthenticationToken: base64 of 16 and 64 letters and digits with a colon between."""
    words = ("".join(secrets.choice(_ALPHANUMERIC) for _ in range(length)) for length in (16, 64))
    return Secret(base64.b64encode(":".join(words).encode()).decode())


def new_uuid() -> str:
    """Make the UUID of a node: 40 upper-case hexadecimal digits."""
    return secrets.token_hex(20).upper()


def new_password() -> str:
    """Make a password that survives shells, URLs and YAML unquoted."""
    return secrets.choice(string.ascii_letters) + "".join(secrets.choice(_ALPHANUMERIC) for _ in range(15))


def _users(admin_hash: Secret) -> Iterable[User]:
    yield User("root", 0, "root", additional_groups=("exausers", *_ADMINS))
    yield User("exadefusr", 500, "exausers", login_enabled=False, additional_groups=_ADMINS)
    yield User("exasaasusr", 499, "exausers", login_enabled=False, additional_groups=("exasaasadm",))
    yield User("admin", 1000, "exaadm", passwd=admin_hash)


def _nodes(settings: Settings, uuids: Mapping[int, str]) -> Iterable[Node]:
    disk = Disk(DISK, devices=(DEVICE,), mapping=(f"{DEVICE}:/exa/data/storage",))
    for seat in settings.seats:
        disks = {} if seat.node == ACCESS_NODE else {DISK: disk}
        yield Node(seat.node, name=seat.name, private_net=_net(seat.address), uuid=uuids[seat.node], disks=disks)


def _net(address: str) -> str:
    """Return an address with its prefix; of machines elsewhere the usual one."""
    return f"{address}/8" if address.startswith("127.") else f"{address}/24"
