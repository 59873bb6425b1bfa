"""The EXAConf file of this node, as it stands: reading, checking, single values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from confd.cli.exits import CommandError, Exit
from confd.cli.place import root
from confd.exaconf import Form, Trust, check, parse, syntax
from confd.exaconf.mapping import Misfit, from_tree
from confd.exaconf.public import public_text
from confd.exaconf.sections import BY_KIND
from confd.exaconf.tree import Tree, join_header, plain, split_header
from confd.exaconf.validation import validate
from confd.model.errors import ConfDError
from confd.scheduler.registry import nearest

_LINE: Final = re.compile(r"EXAConf line (\d+)")
_PLACE: Final = re.compile(r"((?:\[+[^\[\]]+\]+ ?)+)(\w+)?")
_MOST_ERRORS: Final = 20


class Problems(msgspec.Struct, frozen=True):
    """What is wrong with a file, and what is only worth knowing."""

    errors: list[str] = []
    warnings: list[str] = []


def file_of_node() -> Path:
    """Return where this node has its EXAConf."""
    return root() / "etc/EXAConf"


def read_text(path: Path) -> str:
    """Read a file.

    :raises CommandError: it cannot be read; the message says why.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "; run it on a node, or set EXA_ROOT" if path == file_of_node() else ""
        raise CommandError(f"there is no file {path}{hint}", Exit.FAILED) from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", Exit.FAILED) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CommandError(f"{path} line {line}: not UTF-8 text", Exit.FAILED) from None


def note_commit(path: Path, revision: object, now: datetime) -> None:
    """Add a line about a file that was committed by hand; only its owner may read the list, as the file itself.

    :raises OSError: it cannot be written.
    """
    line = f"'/exa/etc/EXAConf' : revision {revision} : {now:%d.%m.%Y - %H:%M:%S}\n"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
        file.write(line)


def problems(text: str) -> Problems:
    """Check the text of a file: all that is wrong, each with its line where it has one.

    What does not fit together is only looked for when every line can be read.
    """
    verdict = check(text)
    broken = [verdict.message] if not verdict.accepted else []
    warnings = [verdict.message] if verdict.trust is Trust.DISABLED else []
    readable, unreadable = _readable(text)
    unreadable += _misfits(text, readable, complete=not unreadable)
    if unreadable:
        return Problems([*broken, *unreadable], warnings)
    try:
        sections = parse(text).sections
    except ConfDError as error:
        return Problems([*broken, error.message], warnings)
    return Problems([*broken, *(_with_line(text, problem) for problem in validate(sections))], warnings)


def _readable(text: str) -> tuple[str, list[str]]:
    """Return the text without the lines that are no EXAConf, and what is wrong with these."""
    found: list[str] = []
    lines = text.split("\n")
    while len(found) < _MOST_ERRORS:
        try:
            syntax.read("\n".join(lines))
        except ConfDError as error:
            found.append(error.message)
            place = _LINE.match(error.message)
            if place is None:
                return "", found
            # The reader stops at the first one: go on without this line.
            lines[int(place[1]) - 1] = ""
        else:
            return "\n".join(lines), found
    return "", found


def _misfits(text: str, readable: str, *, complete: bool) -> list[str]:
    """Return values that cannot be read; keys are only missing when the text is complete."""
    found: list[str] = []
    for path, tree in _units(readable):
        try:
            from_tree(path, tree)
        except Misfit as misfit:
            if complete or misfit.key:
                found.append(_at_line(syntax.line_of(text, misfit.path, misfit.key), misfit.message))
    return found


def _units(text: str) -> Iterator[tuple[tuple[str, ...], Tree]]:
    for header, tree in syntax.read(text).children.items() if text else ():
        kind, name = split_header(header)
        if kind in BY_KIND and BY_KIND[kind].form is Form.INSIDE and name is None:
            yield from (((kind, member), child) for member, child in tree.children.items())
        else:
            yield (join_header(kind, name),), tree


def public_sections(text: str, name: str | None) -> str:
    """Return a file's text, or one section of it, without secrets.

    :raises CommandError: the file cannot be read, or has no such section.
    """
    try:
        sections = parse(text).sections
    except ConfDError as error:
        raise CommandError(error.message, Exit.FAILED) from None
    if name is None:
        return public_text(sections)
    wanted = _canonical(name)
    found = {key: section for key, section in sections.items() if wanted in {key, section.kind}}
    if not found:
        raise _no_section(wanted, sections)
    return public_text(found)


def value_of(text: str, section: str, key: str) -> str:
    """Return the value of a key as it stands.

    :raises CommandError: no such section or key; the message names the nearest one.
    """
    try:
        tree = syntax.read(text)
    except ConfDError as error:
        raise CommandError(error.message, Exit.FAILED) from None
    for name in section.split("/"):
        tree = _child(tree, _canonical(name))
    if key not in tree.values:
        raise CommandError(f"[{section}] has no key {key}{nearest(key, tree.values)}", Exit.FAILED)
    return plain(tree.values[key])


def _child(tree: Tree, wanted: str) -> Tree:
    children = {_canonical(header): child for header, child in tree.children.items()}
    if wanted not in children:
        raise _no_section(wanted, children)
    return children[wanted]


def _no_section(wanted: str, known: Mapping[str, object]) -> CommandError:
    return CommandError(f"EXAConf has no section [{wanted}]{nearest(wanted, known)}", Exit.FAILED)


def _canonical(header: str) -> str:
    return join_header(*split_header(header.strip().strip("[]")))


def _with_line(text: str, problem: str) -> str:
    """Put the line in front of a problem that begins with the headers of its section, and perhaps a key."""
    place = _PLACE.match(problem)
    if place is None:
        return _at_line(None, problem)
    headers = [_canonical(header) for header in re.findall(r"\[+([^\[\]]+)\]+", place[1])]
    kind, name = split_header(headers[0])
    paths = [headers, [kind, name or "", *headers[1:]]]
    lines = [syntax.line_of(text, path, key) for key in (place[2] or None, None) for path in paths]
    return _at_line(next(filter(None, lines), None), problem)


def _at_line(line: int | None, problem: str) -> str:
    return f"EXAConf line {line}: {problem}" if line else f"EXAConf: {problem}"
