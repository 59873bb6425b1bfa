"""EXAConf as text that may be shown to people: without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from confd.exaconf import syntax
from confd.exaconf.mapping import path_of, to_tree
from confd.exaconf.masking import mask
from confd.exaconf.sections import Section
from confd.exaconf.text import file_order
from confd.exaconf.tree import Tree


def public_text(sections: Mapping[str, Section]) -> str:
    """Write sections in the syntax and order of the file, ``***`` for secrets, without revision and checksum."""
    return "\n".join("".join(block) for block in _blocks(sections))


def _blocks(sections: Mapping[str, Section]) -> Iterator[list[str]]:
    """Give what stands together: a section, or all that is below one header."""
    header, block = "", list[str]()
    for key in file_order(sections):
        *above, _ = path = path_of(sections[key])
        if not above or above[0] != header:
            if block:
                yield block
            header, block = (above[0], [f"[{above[0]}]\n"]) if above else ("", [])
        block.append(syntax.write(_masked(to_tree(sections[key])), path))
    if block:
        yield block


def _masked(tree: Tree) -> Tree:
    return Tree(
        {key: mask(value) for key, value in tree.values.items()},
        {header: _masked(child) for header, child in tree.children.items()},
        {spot: tuple(mask(line) for line in lines) for spot, lines in tree.comments.items()},
    )
