"""What can be asked of a configuration, be it a committed revision or a draft."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from confd.exaconf.sections import (
    BucketFs,
    Database,
    ExaStorage,
    Global,
    Group,
    Logging,
    Node,
    ObjectVolume,
    Plugin,
    RemoteVolume,
    Section,
    Ssl,
    User,
    Volume,
    key_of,
    name_of,
)
from confd.model.errors import NotFound

S = TypeVar("S", bound=Section)

#: The checksum of a file that is never checked; as a key of Global it stays with the configuration.
DISABLED: Final = "DISABLED"

#: What users call the objects of each kind.
NOUNS = {
    Node: "node",
    Volume: "volume",
    RemoteVolume: "remote volume",
    ObjectVolume: "object volume",
    Database: "database",
    BucketFs: "BucketFS service",
    User: "user",
    Group: "group",
    Plugin: "plugin",
}


class Configuration(ABC):
    """Read access to sections, the same for a committed revision and for a draft over it."""

    revision: int

    @abstractmethod
    def get(self, key: str) -> Section | None:
        """Return the section with this key, such as ``DB : DB1``, or None."""

    @abstractmethod
    def view(self, kind: type[S]) -> Mapping[Any, S]:
        """Return all sections of a kind by name (nodes by id)."""

    @property
    @abstractmethod
    def sections(self) -> Mapping[str, Section]:
        """All sections by key, for rendering and validation; a draft does not count it as a read."""

    def find(self, kind: type[S], name: object) -> S | None:
        """Return one section of a kind, or None."""
        section = self.get(key_of(kind, name))
        return section if isinstance(section, kind) else None

    def require(self, kind: type[S], name: object) -> S:
        """Return one section of a kind.

        :raises NotFound: there is none; the message names the nearest known one.
        """
        section = self.find(kind, name)
        if section is None:
            names = [str(name_of(known)) for known in self.sections.values() if isinstance(known, kind)]
            raise NotFound(_missing(NOUNS.get(kind, kind.kind), str(name), names))
        return section

    def _single(self, kind: type[S]) -> S | None:
        section = self.get(kind.kind)
        return section if isinstance(section, kind) else None

    @property
    def global_(self) -> Global:
        """The settings of the cluster.

        :raises NotFound: the configuration has no [Global] section.
        """
        section = self._single(Global)
        if section is None:
            raise NotFound("EXAConf has no [Global] section: set the cluster up first")
        return section

    @property
    def checksum_disabled(self) -> bool:
        """Whether the files are written with ``Checksum = DISABLED``."""
        return self.global_.extra.get("Checksum") == DISABLED

    @property
    def ssl(self) -> Ssl:
        """The certificate settings; the defaults if the section is missing."""
        return self._single(Ssl) or Ssl()

    @property
    def storage(self) -> ExaStorage:
        """The storage settings; the defaults if the section is missing."""
        return self._single(ExaStorage) or ExaStorage()

    @property
    def logging(self) -> Logging:
        """The log settings; the defaults if the section is missing."""
        return self._single(Logging) or Logging()

    @property
    def nodes(self) -> Mapping[int, Node]:
        """Nodes by id."""
        return self.view(Node)

    @property
    def volumes(self) -> Mapping[str, Volume]:
        """Volumes on the nodes' disks by name."""
        return self.view(Volume)

    @property
    def remote_volumes(self) -> Mapping[str, RemoteVolume]:
        """Remote volumes by name."""
        return self.view(RemoteVolume)

    @property
    def object_volumes(self) -> Mapping[str, ObjectVolume]:
        """Object volumes by name."""
        return self.view(ObjectVolume)

    @property
    def databases(self) -> Mapping[str, Database]:
        """Databases by name."""
        return self.view(Database)

    @property
    def bucketfs(self) -> Mapping[str, BucketFs]:
        """BucketFS services by name."""
        return self.view(BucketFs)

    @property
    def users(self) -> Mapping[str, User]:
        """Users by name."""
        return self.view(User)

    @property
    def groups(self) -> Mapping[str, Group]:
        """Groups by name."""
        return self.view(Group)

    @property
    def plugins(self) -> Mapping[str, Plugin]:
        """Plugins by name."""
        return self.view(Plugin)

    def require_node(self, node_id: int) -> Node:
        """Return a node or raise NotFound."""
        return self.require(Node, node_id)

    def require_volume(self, name: str) -> Volume:
        """Return a volume or raise NotFound."""
        return self.require(Volume, name)

    def require_remote_volume(self, name: str) -> RemoteVolume:
        """Return a remote volume or raise NotFound."""
        return self.require(RemoteVolume, name)

    def require_object_volume(self, name: str) -> ObjectVolume:
        """Return an object volume or raise NotFound."""
        return self.require(ObjectVolume, name)

    def require_database(self, name: str) -> Database:
        """Return a database or raise NotFound."""
        return self.require(Database, name)

    def require_bucketfs(self, name: str) -> BucketFs:
        """Return a BucketFS service or raise NotFound."""
        return self.require(BucketFs, name)

    def require_user(self, name: str) -> User:
        """Return a user or raise NotFound."""
        return self.require(User, name)

    def require_group(self, name: str) -> Group:
        """Return a group or raise NotFound."""
        return self.require(Group, name)

    def require_plugin(self, name: str) -> Plugin:
        """Return a plugin or raise NotFound."""
        return self.require(Plugin, name)


def _missing(noun: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"There is no {noun} {name!r}; did you mean {near[0]!r}?"
    if known:
        return f"There is no {noun} {name!r}; known: {', '.join(sorted(known)[:20])}"
    return f"There is no {noun} {name!r}; none exists yet"
