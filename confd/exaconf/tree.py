"""A section as the file has it: keys with text, subsections, comments; no meaning yet."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from confd.model.secret import Secret

#: Places of comments beside the keys: above and beside the section's own header, and at its end.
ABOVE: Final = ""
BESIDE: Final = "#"
BELOW: Final = "##"

_SECRETIVE: Final = re.compile(
    r"passw|pwd|secret|token|credential|hash|(?:sasl|sync|private|access|api)[ _-]?key", re.IGNORECASE
)


class Tree(msgspec.Struct, frozen=True):
    """The raw content of one section.

    ``comments`` maps a key to the comment lines above it, ``<key>#`` to the comment behind it, and the places
    ABOVE, BESIDE and BELOW to those of the section itself.
    """

    values: dict[str, str | Secret] = msgspec.field(default_factory=dict)
    children: dict[str, Tree] = msgspec.field(default_factory=dict)
    comments: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


#: An unknown key or subsection that is kept as it stands.
Extra = str | Secret | Tree


def beside(key: str) -> str:
    """Return the place of the comment behind a key's value."""
    return key + BESIDE


def plain(value: str | Secret) -> str:
    """Return the text of a value, also of a secret one."""
    return value.reveal() if isinstance(value, Secret) else value


def is_secretive(key: str) -> bool:
    """Tell whether the name of an unknown key says that its value must not be shown."""
    return _SECRETIVE.search(key) is not None


def conceal(tree: Tree, everything: bool = False) -> Tree:
    """Turn the values of secretive keys into secrets."""
    values = {
        key: Secret(plain(value)) if everything or is_secretive(key) else value for key, value in tree.values.items()
    }
    children = {header: conceal(child, everything) for header, child in tree.children.items()}
    return Tree(values, children, tree.comments)


def split_header(header: str) -> tuple[str, str | None]:
    """Split ``Node : 11`` into kind and name; the blanks around the colon may be missing."""
    kind, colon, name = header.partition(":")
    return kind.strip(), name.strip() if colon else None


def join_header(kind: str, name: str | None) -> str:
    """Return the canonical header, with blanks around the colon."""
    return kind if name is None else f"{kind} : {name}"
