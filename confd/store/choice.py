"""Which store a node uses: the file ``etc/cluster/store.json`` below the node root; without it the embedded one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec

from confd.store.etcd.access import DEFAULT_PREFIX, EtcdAccess

STORE_FILE = "etc/cluster/store.json"


class StoreKind(StrEnum):
    """The kinds of store."""

    SQLITE = "sqlite"
    ETCD = "etcd"


class StoreChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The store of a node; ``etcd`` says how etcd is reached and is there exactly when ``kind`` is ``etcd``.

    ``prefix`` is what all keys of the cluster begin with. ``move`` is the job that moved the cluster there; empty where
    the cluster began.
    """

    kind: StoreKind = StoreKind.SQLITE
    etcd: EtcdAccess | None = None
    prefix: str = DEFAULT_PREFIX
    move: str = ""

    def is_same(self, other: StoreChoice) -> bool:
        """Tell whether two nodes use the same store; paths and order are each one's own, and members change."""
        return (self.kind, self.move) == (other.kind, other.move)


def load_choice(root: Path) -> StoreChoice:
    """Read a node's choice; the embedded store when there is no file.

    :raises ValueError: damaged, with what to do.
    """
    path = root / STORE_FILE
    try:
        choice = msgspec.json.decode(path.read_bytes(), type=StoreChoice)
    except FileNotFoundError:
        return StoreChoice()
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); copy it from another node") from None
    if (choice.kind is StoreKind.ETCD) != (choice.etcd is not None):
        raise ValueError(f"{path} is damaged: it must say how etcd is reached exactly when it is the store")
    return choice


def own_files(choice: StoreChoice, root: Path) -> list[str]:
    """Return the files below a node root that the choice names, by their path there."""
    access = choice.etcd or EtcdAccess(endpoints=())
    named = (access.ca, access.certificate, access.key, access.password_file)
    paths = [Path(name) for name in named if name is not None and ".." not in Path(name).parts]
    return [str(path.relative_to(root)) for path in paths if path.is_relative_to(root)]


def encode_choice(choice: StoreChoice) -> bytes:
    """Return a choice as the content of its file."""
    return msgspec.json.format(msgspec.json.encode(choice))
