"""Sections as they are kept in store and journal: JSON-able, with secrets sealed."""

from __future__ import annotations

from typing import Any

from confd.exaconf.mapping import from_tree, path_of, to_tree
from confd.exaconf.sections import Section
from confd.exaconf.tree import Tree
from confd.model.errors import InvalidParameter
from confd.model.secret import Secret, Vault, is_sealed


def to_stored(section: Section, vault: Vault) -> dict[str, Any]:
    """Return a section as builtins: kind, headers, and its keys with the text they have in the file."""
    return {"kind": section.kind, "path": list(path_of(section)), **_sealed(to_tree(section), vault)}


def from_stored(data: dict[str, Any], vault: Vault) -> Section:
    """Read what ``to_stored`` gave.

    :raises InvalidParameter: not a stored section, or one this version cannot read.
    :raises ValueError: sealed with another data key.
    """
    try:
        path = tuple(data["path"])
        tree = _opened(data, vault)
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidParameter(f"not a stored section: {type(error).__name__} {error}") from None
    return from_tree(path, tree)


def _sealed(tree: Tree, vault: Vault) -> dict[str, Any]:
    stored: dict[str, Any] = {"values": {key: _seal(value, vault) for key, value in tree.values.items()}}
    if tree.children:
        stored["sections"] = {header: _sealed(child, vault) for header, child in tree.children.items()}
    if tree.comments:
        stored["comments"] = {spot: list(lines) for spot, lines in tree.comments.items()}
    return stored


def _seal(value: str | Secret, vault: Vault) -> str:
    # Ordinary text that looks sealed is sealed too: so all that looks sealed can be opened.
    if isinstance(value, Secret):
        return vault.seal(value)
    return vault.seal(Secret(value)) if is_sealed(value) else value


def _opened(data: dict[str, Any], vault: Vault) -> Tree:
    return Tree(
        {key: vault.open(value) if is_sealed(value) else value for key, value in data["values"].items()},
        {header: _opened(child, vault) for header, child in data.get("sections", {}).items()},
        {spot: tuple(lines) for spot, lines in data.get("comments", {}).items()},
    )
