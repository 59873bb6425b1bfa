"""What a node knows of the etcd member it runs: the file ``etc/cluster/etcd.json``; a node without it runs none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from confd.cluster.identity import NodeFiles, write_private
from confd.store.choice import STORE_FILE, StoreChoice, StoreKind, encode_choice, load_choice
from confd.store.etcd.access import EtcdAccess

PLAN_FILE: Final = "etc/cluster/etcd.json"
PASSWORD_FILE: Final = "etc/cluster/etcd.password"  # noqa: S105 - the name of a file
CERTIFICATE: Final = "etc/cluster/etcd.crt"
KEY: Final = "etc/cluster/etcd.key"
SHARED: Final = (PASSWORD_FILE, CERTIFICATE, KEY)
"""Files that let a node in as a client of etcd; the same on all nodes of a cluster that runs its own."""

DATA: Final = "metadata/etcd"
LOG: Final = "logs/logd/etcd.log"
USER: Final = "root"
CLIENT_PORT: Final = 2379

_GIB: Final = 1 << 30
_MOST_PASSWORDS: Final = 8


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What lets the nodes into their own members: a client's certificate with its key (PEM), a password; the port."""

    certificate: str
    key: str
    password: str
    port: int


class MemberPlan(msgspec.Struct, frozen=True, kw_only=True):
    """An etcd member as it is started.

    ``initial`` are the peer URLs of all members by name, at the time it joins. ``joining`` says that the others run
    already. ``token`` tells members of one cluster from those of another. ``quota`` is how large its data may get.
    ``number`` is etcd's for one that joins, so that one that is announced anew is another one. ``begun`` says that it
    has had its data: without it, it must not be started, for it would have forgotten what it promised the others.
    """

    binary: str
    name: str
    address: str
    port: int = CLIENT_PORT
    initial: dict[str, str]
    token: str
    joining: bool = False
    quota: int = 2 * _GIB
    number: int = 0
    begun: bool = False

    @property
    def client_url(self) -> str:
        """Where clients reach it."""
        return client_url(self.address, self.port)

    @property
    def peer_url(self) -> str:
        """Where other members reach it."""
        return peer_url(self.address, self.port)


def client_url(address: str, port: int) -> str:
    """Return where clients reach a member."""
    return f"https://{address}:{port}"


def peer_url(address: str, port: int) -> str:
    """Return where other members reach a member: one port above its clients'."""
    return f"https://{address}:{port + 1}"


def load_plan(root: Path) -> MemberPlan | None:
    """Read what member a node runs; None when it runs none.

    :raises ValueError: the file is damaged.
    """
    path = root / PLAN_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=MemberPlan)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and {root / DATA}, the member is made anew") from None


def save_plan(root: Path, plan: MemberPlan) -> None:
    """Write what member a node runs."""
    write_private(root / PLAN_FILE, msgspec.json.format(msgspec.json.encode(plan)))


def nearest_first(endpoints: Iterable[str], address: str, port: int) -> tuple[str, ...]:
    """Return endpoints as a node asks them: its own member first, which is there exactly as long as the node is."""
    own = client_url(address, port)
    return tuple(sorted(endpoints, key=lambda url: (url != own, url <= own, url)))


def own_choice(files: NodeFiles, address: str, members: Iterable[str], port: int) -> StoreChoice:
    """Return the store of a node in a cluster that runs its own members, which have these addresses."""
    access = EtcdAccess(
        endpoints=nearest_first((client_url(member, port) for member in members), address, port),
        ca=str(files.ca),
        certificate=str(files.root / CERTIFICATE),
        key=str(files.root / KEY),
        user=USER,
        password_file=str(files.root / PASSWORD_FILE),
        names_checked=False,
    )
    return StoreChoice(kind=StoreKind.ETCD, etcd=access)


def is_own(root: Path, choice: StoreChoice) -> bool:
    """Tell whether a node's store is etcd that the cluster runs itself."""
    return choice.etcd is not None and choice.etcd.certificate == str(root / CERTIFICATE)


def keep_access(root: Path, access: Access) -> None:
    """Write the files that let a node in."""
    # Who learns of the members late may know a newer password already.
    add_passwords(root, [access.password])
    write_private(root / CERTIFICATE, access.certificate.encode())
    write_private(root / KEY, access.key.encode())


def load_passwords(root: Path) -> tuple[str, ...]:
    """Read the passwords that a node tries, in their order."""
    path = root / PASSWORD_FILE
    return tuple(line for line in path.read_text().split("\n") if line) if path.exists() else ()


def add_passwords(root: Path, told: Iterable[str]) -> None:
    """Have a node try these passwords first; those of before stay to be tried for some changes more."""
    known = load_passwords(root)
    wanted = tuple(dict.fromkeys((*told, *known)))[:_MOST_PASSWORDS]
    if wanted != known:
        write_private(root / PASSWORD_FILE, "".join(f"{one}\n" for one in wanted).encode())


def drop_access(root: Path) -> None:
    """Delete the files that let a node in."""
    for name in SHARED:
        (root / name).unlink(missing_ok=True)


def votes(root: Path) -> bool:
    """Tell whether a node knows that its member of etcd votes: one that only learns is told to nobody as an endpoint.

    It may lack a part of what the others have, and cannot go on alone.
    """
    plan, choice = load_plan(root), load_choice(root)
    return plan is not None and choice.etcd is not None and plan.client_url in choice.etcd.endpoints


def save_choice(root: Path, choice: StoreChoice) -> None:
    """Write which store a node uses."""
    write_private(root / STORE_FILE, encode_choice(choice))
