"""All kinds of sections. A new kind is declared in the module of its noun and listed here in KINDS."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from confd.exaconf.accounts import Group, User
from confd.exaconf.bucketfs import Bucket, BucketFs
from confd.exaconf.databases import BackupSchedule, Database, DriverSource, SnapshotSchedule
from confd.exaconf.fields import Name
from confd.exaconf.nodes import Component, Disk, Node
from confd.exaconf.section import Entry, Form, Section, key_of, name_of
from confd.exaconf.settings import (
    CONF_VERSION,
    CertVerify,
    DeviceType,
    Docker,
    ExaStorage,
    Global,
    Logging,
    Monitoring,
    Plugin,
    Ssl,
)
from confd.exaconf.tree import Tree, conceal
from confd.exaconf.volumes import ObjectType, ObjectVolume, RemoteType, RemoteVolume, Volume, VolumeType
from confd.model.secret import Secret


class Other(Section, frozen=True):
    """A section of a kind that has no class: SaaS, IdP, Chargebee, Keboola, or unknown ones."""

    kind: ClassVar[str] = ""

    header: Annotated[str, Name()]

    @property
    def key(self) -> str:
        """The header as it stands."""
        return self.header

    @property
    def values(self) -> dict[str, object]:
        """Keys with their text or Secret, and subsections as nested dicts."""
        return {name: _nested(item) for name, item in self.extra.items()}


def other(header: str, values: dict[str, object]) -> Other:
    """Make a section of unknown kind from a nested dict; the values of secretive keys become Secrets."""
    tree = conceal(_tree(values), everything=header in SECRET_SECTIONS)
    return Other(header, extra={**tree.values, **tree.children})


#: The kinds in the order in which they stand in the file; all others come after them by header.
KINDS: Final[tuple[type[Section], ...]] = (
    Global,
    Ssl,
    Docker,
    Group,
    User,
    Node,
    ExaStorage,
    Volume,
    RemoteVolume,
    ObjectVolume,
    Logging,
    Database,
    BucketFs,
    Plugin,
    Monitoring,
)
BY_KIND: Final[dict[str, type[Section]]] = {cls.kind: cls for cls in KINDS}

#: Sections without a class in which every value is taken as a secret.
SECRET_SECTIONS: Final = frozenset({"IdP"})


def _nested(item: object) -> object:
    if not isinstance(item, Tree):
        return item
    children = {header: _nested(child) for header, child in item.children.items()}
    return {**item.values, **children}


def _tree(values: dict[str, object]) -> Tree:
    children = {name: _tree(item) for name, item in values.items() if isinstance(item, dict)}
    texts = {
        name: item if isinstance(item, Secret) else str(item)
        for name, item in values.items()
        if not isinstance(item, dict)
    }
    return Tree(texts, children)


__all__ = [
    "BY_KIND",
    "CONF_VERSION",
    "KINDS",
    "BackupSchedule",
    "Bucket",
    "BucketFs",
    "CertVerify",
    "Component",
    "Database",
    "DeviceType",
    "Disk",
    "Docker",
    "DriverSource",
    "Entry",
    "ExaStorage",
    "Form",
    "Global",
    "Group",
    "Logging",
    "Monitoring",
    "Node",
    "ObjectType",
    "ObjectVolume",
    "Other",
    "Plugin",
    "RemoteType",
    "RemoteVolume",
    "Section",
    "SnapshotSchedule",
    "Ssl",
    "User",
    "Volume",
    "VolumeType",
    "key_of",
    "name_of",
    "other",
]
