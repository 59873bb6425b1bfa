"""What changed between two configurations, in the syntax of the file and without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from confd.exaconf.mapping import path_of, to_tree
from confd.exaconf.masking import mask, public_view
from confd.exaconf.sections import Section
from confd.exaconf.text import file_order
from confd.exaconf.tree import Tree

__all__ = ["diff", "public_view"]

_INDENT = "    "
_NOTHING = Tree()


def diff(old: Mapping[str, Section], new: Mapping[str, Section]) -> str:
    """Write the differences; lines start with ``-`` (old), ``+`` (new) or a blank (where it is).

    A changed secret shows as ``- Passwd = ***`` and ``+ Passwd = ***``. No differences give an empty text.
    """
    changed = {key: section for key, section in {**old, **new}.items() if old.get(key) != new.get(key)}
    lines = [
        line for key in file_order(changed) for line in _section(path_of(changed[key]), old.get(key), new.get(key))
    ]
    return "".join(f"{line}\n" for line in lines)


def _section(path: tuple[str, ...], old: Section | None, new: Section | None) -> Iterator[str]:
    *above, own = path
    yield from (_line(" ", depth, _header(name, depth)) for depth, name in enumerate(above))
    yield from _tree(to_tree(old) if old else None, to_tree(new) if new else None, own, len(above))


def _tree(old: Tree | None, new: Tree | None, header: str, depth: int) -> Iterator[str]:
    sign = "+" if old is None else "-" if new is None else " "
    yield _line(sign, depth, _header(header, depth))
    before, after = old or _NOTHING, new or _NOTHING
    for key in {**before.values, **after.values}:
        gone, come = before.values.get(key), after.values.get(key)
        if gone != come:
            yield from (
                _line(sign, depth + 1, f"{key} = {mask(value)}".rstrip())
                for sign, value in (("-", gone), ("+", come))
                if value is not None
            )
    for name in {**before.children, **after.children}:
        if before.children.get(name) != after.children.get(name):
            yield from _tree(before.children.get(name), after.children.get(name), name, depth + 1)
    yield from _comments(before, after, depth + 1)


def _comments(old: Tree, new: Tree, depth: int) -> Iterator[str]:
    for spot in {**old.comments, **new.comments}:
        gone, come = old.comments.get(spot, ()), new.comments.get(spot, ())
        if gone != come:
            yield from (_line("-", depth, mask(text)) for text in gone)
            yield from (_line("+", depth, mask(text)) for text in come)


def _header(name: str, depth: int) -> str:
    return f"{'[' * (depth + 1)}{name}{']' * (depth + 1)}"


def _line(sign: str, depth: int, text: str) -> str:
    return f"{sign} {_INDENT * depth}{text}"
