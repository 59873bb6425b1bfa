"""Sections to trees of text and back, following the declared fields."""

from __future__ import annotations

from typing import Any, TypeVar

from confd.exaconf.fields import KeyField, PartField, plan
from confd.exaconf.section import Entry, Form, Section
from confd.exaconf.sections import BY_KIND, SECRET_SECTIONS, Other
from confd.exaconf.tree import Extra, Tree, conceal, is_secretive, join_header, plain, split_header
from confd.model.errors import InvalidParameter
from confd.model.secret import Secret

E = TypeVar("E", bound=Entry)


class Misfit(InvalidParameter):
    """A key or header does not fit its section; ``path`` names the headers from the outermost."""

    def __init__(self, path: tuple[str, ...], key: str | None, problem: str) -> None:
        self.path, self.key, self.problem = path, key, problem
        super().__init__(f"{place(path, key)}: {problem}")


def place(path: tuple[str, ...], key: str | None) -> str:
    """Write where something stands: ``[DB : DB1] [[JDBC]] Dir``."""
    headers = [f"{'[' * depth}{header}{']' * depth}" for depth, header in enumerate(path, 1)]
    return " ".join([*headers, key] if key else headers)


def to_tree(entry: Entry) -> Tree:
    """Return an entry as text, with known keys first and in the declared order."""
    values: dict[str, str | Secret] = {}
    children: dict[str, Tree] = {}
    declared = plan(type(entry))
    if declared.name and declared.name_key:
        values[declared.name_key] = declared.name[1].encode(getattr(entry, declared.name[0]))
    for key in declared.keys:
        if is_written(entry, key):
            text = key.codec.encode(getattr(entry, key.attribute))
            values[key.name] = Secret(text) if key.codec.secret else text
    for part in declared.parts:
        children |= _part_trees(getattr(entry, part.attribute), part)
    for name, item in entry.extra.items():
        if isinstance(item, Tree):
            children[name] = item
        else:
            values[name] = item
    return Tree(values, children, entry.comments)


def is_written(entry: Entry, key: KeyField) -> bool:
    """Tell whether the key stands in the file."""
    return not key.optional or key.name in entry.kept or bool(getattr(entry, key.attribute) != key.default)


def path_of(section: Section) -> tuple[str, ...]:
    """Return the headers under which a section stands in the file."""
    if section.form is Form.INSIDE:
        return section.kind, split_header(section.key)[1] or ""
    return (section.key,)


def from_tree(path: tuple[str, ...], tree: Tree) -> Section:
    """Read the section whose canonical headers are ``path``.

    :raises Misfit: a value or the header cannot be read.
    """
    kind, name = path if len(path) == 2 else split_header(path[0])
    cls = BY_KIND.get(kind)
    if cls is None or (cls.form is Form.INSIDE) != (len(path) == 2) or (name and cls.form is Form.SINGLE):
        concealed = conceal(tree, everything=kind in SECRET_SECTIONS)
        return Other(path[0], extra={**concealed.values, **concealed.children}, comments=tree.comments)
    if cls.form is Form.NAMED and not name:
        raise Misfit(path, None, f"the name is missing: write [{kind} : <name>]")
    return _entry(cls, path, name, tree)


def _part_trees(value: Any, part: PartField) -> dict[str, Tree]:
    if not part.named:
        return {part.kind: to_tree(value)}
    return {join_header(part.kind, name): to_tree(entry) for name, entry in value.items()}


def _entry(cls: type[E], path: tuple[str, ...], name: str | None, tree: Tree) -> E:
    declared = plan(cls)
    values, children = dict(tree.values), dict(tree.children)
    found: dict[str, Any] = {}
    kept: list[str] = []
    if declared.name and name is not None:
        found[declared.name[0]] = _decoded(path, None, declared.name[1], name)
        if declared.name_key and plain(values.pop(declared.name_key, name)) != name:
            raise Misfit(path, declared.name_key, f"must be {name!r} like in the header")
    for key in declared.keys:
        _take_key(key, path, values, found, kept)
    for part in declared.parts:
        _take_part(part, path, children, found)
    extra: dict[str, Extra] = {
        key: Secret(plain(value)) if is_secretive(key) else value for key, value in values.items()
    }
    extra |= {header: conceal(child) for header, child in children.items()}
    return cls(**found, extra=extra, comments=tree.comments, kept=tuple(kept))


def _take_key(
    key: KeyField,
    path: tuple[str, ...],
    values: dict[str, str | Secret],
    found: dict[str, Any],
    kept: list[str],
) -> None:
    name = next((name for name in key.names if name in values), None)
    if name is None:
        if key.required:
            raise Misfit(path, None, f"the key {key.name} is missing ({key.codec.expected})")
        return
    value = _decoded(path, name, key.codec, plain(values.pop(name)))
    found[key.attribute] = value
    if key.optional and value == key.default:
        kept.append(key.name)


def _take_part(part: PartField, path: tuple[str, ...], children: dict[str, Tree], found: dict[str, Any]) -> None:
    entries: dict[str, Entry] = {}
    for header in list(children):
        kind, name = split_header(header)
        if kind != part.kind or (name is not None) != part.named:
            continue
        if name == "" or (name or "") in entries:
            raise Misfit((*path, header), None, "every subsection needs its own name")
        entries[name or ""] = _entry(part.type, (*path, header), name, children.pop(header))
    if part.named:
        found[part.attribute] = entries
    elif entries:
        found[part.attribute] = entries[""]


def _decoded(path: tuple[str, ...], key: str | None, codec: Any, text: str) -> Any:
    try:
        return codec.decode(text)
    except (ValueError, InvalidParameter):
        shown = "the value" if codec.secret else repr(text)
        raise Misfit(path, key, f"{shown} is not valid; expected {codec.expected}") from None
