"""The changes of a running job over the revision it started from."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from enum import Enum
from typing import Any, TypeVar

from confd.exaconf.conf import Conf, Configuration
from confd.exaconf.sections import Section, key_of, name_of
from confd.model.errors import NotFound

S = TypeVar("S", bound=Section)


class Change(Enum):
    """What a revision did to a section."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Draft(Configuration):
    """Base revision plus own changes; notes what was read, so that conflicts with later revisions are found.

    Asking for one key (``get``, ``find``, ``require_*``, ``view[name]``, ``name in view``) records this key,
    also when it does not exist. Going through a kind (iterating, ``len``, ``values()``, ``items()``) records
    only who is in it, as ``Users : *``: a job that looks at all volumes for a free name does not conflict
    with a change inside one of them. Conflicts are the second line of defence; the first are the job's locks.
    """

    def __init__(self, base: Conf) -> None:
        self.base = base
        self.revision = base.revision
        self._changes: dict[str, Section | None] = {}
        self._reads: set[str] = set()

    @property
    def changes(self) -> dict[str, Section | None]:
        """The sections that differ from the base; None is a removed one."""
        return dict(self._changes)

    @property
    def reads(self) -> frozenset[str]:
        """Keys that were asked for, and ``<kind> : *`` of kinds that were gone through."""
        return frozenset(self._reads)

    @property
    def sections(self) -> Mapping[str, Section]:
        """All sections after the draft; counts as no read."""
        return self.result(self.revision).sections

    def result(self, revision: int) -> Conf:
        """Return the configuration that the draft would give."""
        return self.base.with_changes(self._changes, revision)

    def get(self, key: str) -> Section | None:
        """Return the section with this key, or None; records the key."""
        self._reads.add(key)
        return self._current(key)

    def view(self, kind: type[S]) -> View[S]:
        """Return all sections of a kind by name, recording what is looked at."""
        return View(kind, self._current, self._merged, self._reads)

    def put(self, section: Section) -> None:
        """Add or replace a section."""
        if self.base.get(section.key) == section:
            self._changes.pop(section.key, None)
        else:
            self._changes[section.key] = section

    def delete(self, key: str) -> None:
        """Remove a section.

        :raises NotFound: there is none with this key.
        """
        if self._current(key) is None:
            raise NotFound(f"EXAConf has no section [{key}] that could be removed")
        if self.base.get(key) is None:
            del self._changes[key]
        else:
            self._changes[key] = None

    def _current(self, key: str) -> Section | None:
        return self._changes[key] if key in self._changes else self.base.get(key)

    def _merged(self, kind: type[S]) -> dict[Any, S]:
        """Return the sections of a kind without recording."""
        merged = dict(self.base.view(kind))
        for key, section in self._changes.items():
            if isinstance(section, kind):
                merged[name_of(section)] = section
            elif section is None and isinstance(gone := self.base.get(key), kind):
                del merged[name_of(gone)]
        return merged


class View(Mapping[Any, S]):
    """The sections of one kind in a draft, as they are at the moment of asking."""

    def __init__(
        self,
        kind: type[S],
        section: Callable[[str], Section | None],
        sections: Callable[[type[S]], dict[Any, S]],
        reads: set[str],
    ) -> None:
        self._kind, self._section, self._sections, self._reads = kind, section, sections, reads

    def __getitem__(self, name: Any) -> S:
        key = key_of(self._kind, name)
        self._reads.add(key)
        section = self._section(key)
        if not isinstance(section, self._kind):
            raise KeyError(name)
        return section

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def values(self) -> ValuesView[S]:
        """Return the sections; records only who is in the kind."""
        return self._all().values()

    def items(self) -> ItemsView[Any, S]:
        """Return names and sections; records only who is in the kind."""
        return self._all().items()

    def _all(self) -> dict[Any, S]:
        self._reads.add(membership(self._kind.kind))
        return self._sections(self._kind)


def membership(kind: str) -> str:
    """Return the pseudo key for who is in a kind: ``DB : *``."""
    return f"{kind} : *"


def conflicts(
    draft_reads: Iterable[str],
    draft_writes: Iterable[str],
    later_changes: Iterable[tuple[str, Change]],
) -> str | None:
    """Return the first key that a later revision changed under the draft, or None.

    A kind that was only gone through conflicts when something was added to it or removed from it.
    """
    touched = {*draft_reads, *draft_writes}
    for key, change in later_changes:
        member_of = membership(key.partition(" : ")[0])
        if key in touched or (change is not Change.CHANGED and member_of in touched):
            return key
    return None
