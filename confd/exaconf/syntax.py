"""The syntax of the file: text to trees with ConfigObj, trees to text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import configobj

from confd.exaconf.quoting import decode_value, encode_name, encode_value
from confd.exaconf.tree import ABOVE, BELOW, BESIDE, Tree, beside, join_header, plain, split_header
from confd.model.errors import InvalidParameter
from confd.model.secret import Secret

INDENT: Final = "    "
_DEEPEST: Final = 8
_NO_LINE: Final = 'is not a line of EXAConf; expected "[Section]", "Key = value" or "# comment"'
_NO_VALUE: Final = "has a value that cannot be read; quotation marks must pair up"
_PROBLEMS: Final = {
    configobj.DuplicateError: "is there twice; keep one of the two",
    configobj.NestingError: "has a wrong depth; [[x]] must stand below a [section], brackets must pair up",
}


def read(text: str) -> Tree:
    """Read a file as tree; its children are the sections with their headers as they stand.

    :raises InvalidParameter: not the syntax of EXAConf; the message names section, key and line.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    if "\0" in text:
        raise InvalidParameter("EXAConf is not a text file: it holds zero bytes")
    try:
        config = configobj.ConfigObj(lines, list_values=False, interpolation=False)
    except configobj.ConfigObjError as error:
        raise InvalidParameter(_syntax_problem(lines, error)) from None
    if config.scalars:
        number = line_of(text, (), config.scalars[0])
        raise InvalidParameter(f"EXAConf line {number}: {config.scalars[0]!r} stands before any [Section]")
    if not config.sections:
        raise InvalidParameter('EXAConf is empty: it must have sections such as "[Global]"')
    config.comments[config.sections[0]] = config.initial_comment + config.comments[config.sections[0]]
    return _tree(config, config.final_comment, len((config.indent_type or INDENT).expandtabs(4)))


def write(tree: Tree, headers: Sequence[str]) -> str:
    """Write a section that stands below the given headers; the last one is its own."""
    return "".join(line + "\n" for line in _lines(tree, headers[-1], len(headers)))


def line_of(text: str, path: Sequence[str], key: str | None) -> int | None:
    """Return the number of the line with a key, or with a header when no key is asked for."""
    here: list[str] = []
    wanted = [_canonical(name) for name in path]
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            here = [*here[: header[1].count("[") - 1], _canonical(header[2])]
            found = key is None
        else:
            found = key is not None and line.partition("=")[0].strip(" \t\"'") == key
        if found and here == wanted:
            return number
    return None


_HEADER: Final = re.compile(r"\s*+((?:\[\s*+)++)(.*?)(?<!\])(?:\]\s*+)++(?:#.*)?$")


def _canonical(header: str) -> str:
    return join_header(*split_header(header.strip().strip("\"'")))


def _syntax_problem(lines: list[str], error: Any) -> str:
    """Say what is wrong without showing values: the line may hold a password."""
    first = error.errors[0] if getattr(error, "errors", None) else error
    number = first.line_number
    line = lines[number - 1].strip()
    headers = [_canonical(found[2]) for above in lines[: number - 1] if (found := _HEADER.match(above))]
    section = f" in or below [{headers[-1]}]" if headers else ""
    subject = repr(line.partition("=")[0].strip()) if "=" in line or line.startswith("[") else "the text"
    problem = _PROBLEMS.get(type(first), _NO_VALUE if "=" in line else _NO_LINE)
    return f"EXAConf line {number}{section}: {subject} {problem}"


def _tree(section: Any, below: list[str], unit: int) -> Tree:
    """Build a tree; ``below`` are the comment lines between the section and what follows it."""
    if section.depth > _DEEPEST:
        raise InvalidParameter(f"EXAConf: [{section.name}] is nested deeper than {_DEEPEST} sections")
    comments: dict[str, tuple[str, ...]] = {}
    for key in section.scalars:
        _note(comments, key, section.comments[key])
        _note(comments, beside(key), [section.inline_comments[key] or ""])
    # What stands at the end of the file belongs to its last section, indented or not.
    inner, own = _by_indent(below, unit * section.depth) if section.depth else (below, [])
    tails, heads = _between(section, inner, unit)
    _note(comments, BELOW, own if section.sections else below)
    children = {}
    for name, tail in zip(section.sections, tails, strict=True):
        child = _tree(section[name], tail, unit)
        _note(child.comments, ABOVE, heads[name])
        _note(child.comments, BESIDE, [section.inline_comments[name] or ""])
        children[name] = child
    values: dict[str, str | Secret] = {key: decode_value(section[key]) for key in section.scalars}
    return Tree(values, children, comments)


def _between(section: Any, below: list[str], unit: int) -> tuple[list[list[str]], dict[str, list[str]]]:
    """Share out the comments around subsections: indented like content they end the one before."""
    tails: list[list[str]] = []
    heads: dict[str, list[str]] = {}
    for number, name in enumerate(section.sections):
        tail, heads[name] = _by_indent(section.comments[name], unit * section.depth)
        if number:
            tails.append(tail)
        else:
            heads[name] = section.comments[name]
    return [*tails, below] if section.sections else [], heads


def _by_indent(lines: list[str], indent: int) -> tuple[list[str], list[str]]:
    deeper = [line for line in lines if line.strip() and _indent(line) > indent]
    return deeper, [line for line in lines if line.strip() and _indent(line) <= indent]


def _indent(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())


def _note(comments: dict[str, tuple[str, ...]], spot: str, lines: list[str]) -> None:
    kept = tuple(line.strip() for line in lines if line.strip())
    if kept:
        comments[spot] = kept


def _lines(tree: Tree, header: str, depth: int) -> Iterator[str]:
    outer, inner, noted = INDENT * (depth - 1), INDENT * depth, tree.comments
    yield from (outer + line for line in noted.get(ABOVE, ()))
    yield f"{outer}{'[' * depth}{encode_name(header)}{']' * depth}" + _behind(noted.get(BESIDE))
    for key, value in tree.values.items():
        yield from (inner + line for line in noted.get(key, ()))
        text = encode_value(plain(value))
        yield f"{inner}{encode_name(key)} = {text}".rstrip() + _behind(noted.get(beside(key)))
    for name, child in tree.children.items():
        yield from _lines(child, name, depth + 1)
    yield from (inner + line for line in noted.get(BELOW, ()))


def _behind(comment: tuple[str, ...] | None) -> str:
    return f"  {comment[0]}" if comment else ""
