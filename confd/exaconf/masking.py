"""Sections as people may see them: without secrets."""

from __future__ import annotations

import re
from typing import Any, Final

from confd.exaconf.fields import plan
from confd.exaconf.mapping import is_written, to_tree
from confd.exaconf.section import Entry
from confd.exaconf.tree import Tree, join_header
from confd.model.secret import HIDDEN, Secret

# Secrets inside otherwise public text: delegation_token=abc, -ldapPassword=abc, https://user:abc@host/
# Only where a word begins, and without going back: the time grows with the text and not with its square.
_WORD: Final = re.compile(
    r"(?<![\w-])(?=[\w-]*(?:passw|secret|token|access_key))([\w-]++\s*+=\s*+)[^\s,]+", re.IGNORECASE
)
_URL: Final = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)")


def mask(value: str | Secret) -> str:
    """Return the text of a value with ``***`` for what is secret; an empty secret stays empty."""
    if isinstance(value, Secret):
        return HIDDEN if value else ""
    return _URL.sub(rf"\g<1>{HIDDEN}", _WORD.sub(rf"\g<1>{HIDDEN}", value))


def public_view(section: Entry) -> dict[str, Any]:
    """Return a section under its key names: integers and booleans as such, the rest as text of the file."""
    view = _masked(to_tree(section))
    for key in plan(type(section)).keys:
        value = getattr(section, key.attribute)
        # A size is an int too, but stands in the file with its unit.
        native = isinstance(value, int) and key.codec.encode(value) == str(value)
        if native and is_written(section, key):
            view[key.name] = value
    for part in plan(type(section)).parts:
        value = getattr(section, part.attribute)
        entries = {join_header(part.kind, name): entry for name, entry in value.items()} if part.named else {}
        view |= {header: public_view(entry) for header, entry in entries.items()}
        if not part.named:
            view[part.kind] = public_view(value)
    return view


def _masked(tree: Tree) -> dict[str, Any]:
    values: dict[str, Any] = {key: mask(value) for key, value in tree.values.items()}
    return values | {header: _masked(child) for header, child in tree.children.items()}
