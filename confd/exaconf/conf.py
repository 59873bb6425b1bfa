"""The committed configuration at one revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from confd.exaconf.configuration import DISABLED, Configuration
from confd.exaconf.sections import Section, name_of

__all__ = ["DISABLED", "Conf", "Configuration"]

S = TypeVar("S", bound=Section)


class Conf(Configuration):
    """The committed configuration at one revision; never changes."""

    def __init__(self, revision: int, sections: Mapping[str, Section]) -> None:
        self.revision = revision
        self._sections = dict(sections)
        self._views: dict[type[Section], Mapping[Any, Any]] = {}

    @property
    def sections(self) -> Mapping[str, Section]:
        """All sections by key."""
        return MappingProxyType(self._sections)

    def get(self, key: str) -> Section | None:
        """Return the section with this key, or None."""
        return self._sections.get(key)

    def view(self, kind: type[S]) -> Mapping[Any, S]:
        """Return all sections of a kind by name; made once."""
        if kind not in self._views:
            members = (section for section in self._sections.values() if isinstance(section, kind))
            self._views[kind] = MappingProxyType({name_of(section): section for section in members})
        return self._views[kind]

    def with_changes(self, changes: Mapping[str, Section | None], revision: int) -> Conf:
        """Return the configuration after a revision; None removes a section."""
        after = Conf(revision, self._sections)
        removed: list[Section] = []
        for key, section in changes.items():
            if section is not None:
                after._sections[key] = section
            elif (known := after._sections.pop(key, None)) is not None:
                removed.append(known)
        present = [section for section in changes.values() if section is not None]
        after._views = {kind: _renewed(view, kind, removed, present) for kind, view in self._views.items()}
        return after

    def __repr__(self) -> str:
        return f"Conf(revision={self.revision}, {len(self._sections)} sections)"


def _renewed(
    view: Mapping[Any, Section], kind: type[Section], removed: Sequence[Section], present: Sequence[Section]
) -> Mapping[Any, Section]:
    """Return a view after changes: making it anew would cost a look at every section for each revision."""
    if not any(isinstance(section, kind) for section in (*removed, *present)):
        return view
    members = dict(view)
    for section in removed:
        if isinstance(section, kind):
            members.pop(name_of(section), None)
    members |= {name_of(section): section for section in present if isinstance(section, kind)}
    return MappingProxyType(members)
