"""The EXAConf file: text to document and back, with its checksum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from confd.exaconf import syntax
from confd.exaconf.conf import DISABLED, Configuration
from confd.exaconf.mapping import Misfit, from_tree, path_of, to_tree
from confd.exaconf.sections import BY_KIND, KINDS, Form, Global, Other, Section
from confd.exaconf.tree import BELOW, Tree, join_header, plain, split_header
from confd.model.errors import InvalidParameter

UNCHECKED: Final = "NONE"
_PLACEHOLDER: Final = "PLACEHOLDER"
_FILE_KEYS: Final[tuple[str, ...]] = ("Revision", "Checksum")
_GLOBAL: Final = re.compile(r"^[ \t]*\[[ \t]*Global[ \t]*\][^\n]*\n", re.MULTILINE)
_HEADER: Final = re.compile(r"^[ \t]*\[", re.MULTILINE)
_FILE_KEY: Final = re.compile(
    r"^([ \t]*(Revision|Checksum)[ \t]*=[ \t]*)([^#\r\n]*?)([ \t\r]*(?:#[^\n]*)?)$", re.MULTILINE
)


class Document(msgspec.Struct, frozen=True):
    """A file as it was read; ``checksum`` as it stands, ``NONE`` if it is missing."""

    revision: int
    checksum: str
    sections: dict[str, Section]


def parse(text: str) -> Document:
    """Read a file.

    :raises InvalidParameter: what does not fit, with section, key, line, and what is expected.
    """
    root = syntax.read(text)
    revision, checksum, children = _without_file_keys(root)
    sections: dict[str, Section] = {}
    for path, tree in _units(children):
        try:
            section = from_tree(path, tree)
            if section.key in sections:
                raise Misfit(path, None, "is there twice; keep one of the two")
        except Misfit as misfit:
            number = syntax.line_of(text, misfit.path, misfit.key)
            line = f"EXAConf line {number}: " if number else "EXAConf: "
            raise InvalidParameter(line + misfit.message) from None
        sections[section.key] = section
    return Document(revision, checksum, sections)


def render(sections: Mapping[str, Section], revision: int, checksum: str | None = None) -> str:
    """Write a file; without a checksum the right one is computed."""
    return Renderer().text(sections, revision, checksum)


def checksum(text: str) -> str:
    """Return the MD5 of a file with its revision and checksum masked."""
    start, end = _global_lines(text)
    masked = _FILE_KEY.sub(rf"\g<1>{_PLACEHOLDER}\g<4>", text[start:end])
    return _md5(text[:start] + masked + text[end:])


def stored_checksum(text: str) -> str | None:
    """Return the checksum that stands in a file, without reading the rest of it."""
    start, end = _global_lines(text)
    keys = {key[2]: key[3].strip() for key in _FILE_KEY.finditer(text[start:end])}
    return keys.get("Checksum") or None


def file_order(sections: Mapping[str, Section]) -> list[str]:
    """Return the keys in the order of the file: by kind, names naturally (DB2 before DB10)."""
    return sorted(sections, key=lambda key: _rank(sections[key]))


class Renderer:
    """Writes files; sections that did not change since the last time are not written anew.

    ``rendered`` counts the sections written so far.
    """

    def __init__(self) -> None:
        self.rendered = 0
        self._fragments: dict[str, tuple[Section, str]] = {}
        self._order: list[tuple[str, str]] = []

    def render(self, conf: Configuration) -> str:
        """Write the configuration with the right checksum, or DISABLED where checks are off."""
        return self.text(conf.sections, conf.revision, DISABLED if conf.checksum_disabled else None)

    def text(self, sections: Mapping[str, Section], revision: int, checksum: str | None = None) -> str:
        """Write sections at a revision; without a checksum the right one is computed.

        :raises InvalidParameter: a name that the file cannot hold, or no [Global] section.
        """
        if not isinstance(sections.get(Global.kind), Global):
            raise InvalidParameter("EXAConf without a [Global] section cannot be written")
        if len(self._order) != len(sections) or sections.keys() != self._fragments.keys():
            self._order = list(_order(sections))
            self._fragments = {key: self._fragments[key] for key in sections if key in self._fragments}
        masked = "".join([lead + self._fragment(key, sections[key]) for lead, key in self._order])
        filled = {"Revision": str(revision), "Checksum": checksum or _md5(masked)}
        for key, value in filled.items():
            line = f"\n{syntax.INDENT}{key} = "
            masked = masked.replace(line + _PLACEHOLDER, line + value, 1)
        return masked

    def _fragment(self, key: str, section: Section) -> str:
        known = self._fragments.get(key)
        if known is None or (known[0] is not section and known[0] != section):
            known = (section, _write(section))
            self.rendered += 1
            self._fragments[key] = known
        return known[1]


def _global_lines(text: str) -> tuple[int, int]:
    header = _GLOBAL.search(text)
    if header is None:
        return 0, 0
    following = _HEADER.search(text, header.end())
    return header.end(), following.start() if following else len(text)


def _md5(text: str) -> str:
    # The file format says MD5; it protects against slips of the hand, not against attackers.
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _without_file_keys(root: Tree) -> tuple[int, str, dict[str, Tree]]:
    tree = root.children.get(Global.kind, Tree())
    found = {key: plain(tree.values[key]).strip() for key in _FILE_KEYS if key in tree.values}
    revision, checksum = found.get("Revision") or "0", found.get("Checksum") or UNCHECKED
    if not re.fullmatch("[0-9]{1,18}", revision):
        raise InvalidParameter(f"EXAConf: [Global] Revision: {revision!r} is not a whole number, 0 or more")
    values = {key: value for key, value in tree.values.items() if key not in _FILE_KEYS or found[key] == DISABLED}
    if Global.kind not in root.children:
        return int(revision), checksum, root.children
    return int(revision), checksum, {**root.children, Global.kind: Tree(values, tree.children, tree.comments)}


def _units(children: dict[str, Tree]) -> Iterator[tuple[tuple[str, ...], Tree]]:
    """Take the file apart into units of configuration; users and groups are units of their own."""
    for header, tree in children.items():
        kind, name = split_header(header)
        cls = BY_KIND.get(kind)
        if cls is None or cls.form is not Form.INSIDE or name is not None:
            yield (join_header(kind, name),), tree
            continue
        comments = dict(tree.comments)
        members = list(tree.children.items())
        if members and BELOW in comments:
            last = members[-1][1]
            last.comments[BELOW] = last.comments.get(BELOW, ()) + comments.pop(BELOW)
        yield from (((kind, member), child) for member, child in members)
        if tree.values or comments:
            yield (kind,), Tree(tree.values, {}, comments)


def _write(section: Section) -> str:
    tree = to_tree(section)
    if isinstance(section, Global):
        masked = dict.fromkeys(_FILE_KEYS, _PLACEHOLDER)
        # Named twice: they stand first, and win over a kept "Checksum = DISABLED".
        tree = Tree({**masked, **tree.values, **masked}, tree.children, tree.comments)
    return syntax.write(tree, path_of(section))


def _order(sections: Mapping[str, Section]) -> Iterator[tuple[str, str]]:
    """Give what stands before each section, and its key, in the order of the file."""
    opened = ""
    for key in file_order(sections):
        section, blank = sections[key], "\n" if opened else ""
        if section.form is Form.INSIDE:
            yield ("" if opened == section.kind else f"{blank}[{section.kind}]\n"), key
            opened = section.kind
        else:
            yield blank, key
            opened = key


def _rank(section: Section) -> tuple[int, bool, list[tuple[int, int, str]]]:
    kind, name = split_header(section.key)
    holder = isinstance(section, Other)
    if holder and not (kind in BY_KIND and BY_KIND[kind].form is Form.INSIDE and name is None):
        return len(KINDS), False, _natural(section.key)
    return KINDS.index(BY_KIND[kind]), not holder, _natural(name or "")


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort DB2 before DB10; the whole name last decides between DB1 and DB01."""
    words = re.split("([0-9]{1,18})", name)
    return [
        *((0, int(word), "") if word.isdecimal() else (1, 0, word) for word in words if word),
        (-1, 0, name),
    ]
