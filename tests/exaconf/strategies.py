"""Generated sections of every kind, made from the declared fields."""

from __future__ import annotations

import types
from enum import StrEnum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from confd.exaconf.codecs import SSH_KEYS
from confd.exaconf.fields import Key, Name, Part, Parts, plan
from confd.exaconf.sections import KINDS, Entry, Global, Other, Section
from confd.exaconf.tree import ABOVE, BELOW, BESIDE, Tree, beside, conceal
from confd.model.secret import Secret
from confd.model.sizes import Bytes

#: Text that is hard to write: quotation marks, comment signs, line ends of all sorts.
HARD = st.text(alphabet="ab 01'\"#,;:=\\[]{}$%\n\r\t\x0b\x0c\x1c\x85\u2028é", max_size=12)
TEXT = st.one_of(st.text(max_size=12), HARD)
SOME_TEXT = TEXT.filter(lambda text: text not in ("", "None"))
NAMES = st.from_regex(r"[A-Za-z0-9_.](?:[A-Za-z0-9_. -]{0,8}[A-Za-z0-9_.])?", fullmatch=True)
NUMBERS = st.integers(1, 9)
SSH_KEY = st.builds("ssh-ed25519 AAAA{} {}".format, st.text("abcXYZ019+/", max_size=5), HARD).map(str.strip)
COMMENT = st.text(alphabet="ab #=[]'\",é", max_size=8).map(lambda text: f"# {text}".strip())

BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    bool: st.booleans(),
    int: NUMBERS,
    Bytes: st.integers(1, 2**70).map(Bytes),
    Secret: TEXT.map(Secret),
    tuple[int, int]: st.tuples(NUMBERS, NUMBERS),
    tuple[tuple[int, int], ...]: st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3).map(tuple),
    tuple[int, ...]: st.lists(st.integers(0, 10**6), max_size=3).map(tuple),
    tuple[str, ...]: st.lists(TEXT.filter(lambda text: text.strip() != ""), max_size=3).map(tuple),
}
SOME_BY_TYPE = {str: SOME_TEXT, Secret: SOME_TEXT.map(Secret)}


def sections() -> st.SearchStrategy[Section]:
    """Make one section of any kind."""
    return st.one_of([entries(kind) for kind in KINDS] + [others()])


def configurations() -> st.SearchStrategy[dict[str, Section]]:
    """Make sections with different keys, Global among them."""
    many = st.lists(sections().filter(lambda section: not isinstance(section, Global)), max_size=6)
    return st.builds(lambda first, more: {section.key: section for section in [first, *more]}, entries(Global), many)


@st.composite
def entries(draw: st.DrawFn, cls: type[Any]) -> Any:
    """Make a section or subsection of a class with values in all fields."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if get_origin(hint) is Annotated:
            values[name] = draw(_field(*get_args(hint)))
    entry = cls(**values, extra=draw(extras()), comments=draw(comments(cls)))
    return cls(**values, extra=entry.extra, comments=entry.comments, kept=draw(_kept(entry)))


@st.composite
def others(draw: st.DrawFn) -> Other:
    """Make a section of an unknown kind."""
    header = draw(NAMES.map("Unknown{}".format))
    extra = draw(extras())
    spots = draw(st.sets(st.sampled_from([ABOVE, BELOW, BESIDE])))
    return Other(header, extra=extra, comments={spot: (draw(COMMENT),) for spot in spots})


@st.composite
def extras(draw: st.DrawFn) -> dict[str, Any]:
    """Make unknown keys, some of them secret by their name, and an unknown subsection."""
    keys = st.one_of(HARD.filter(_can_be_key), NAMES).map("X{}".format)
    tree = Tree(draw(st.dictionaries(keys, TEXT, max_size=2)))
    tree.values.update({f"{name}Password": draw(TEXT) for name in draw(st.lists(NAMES, max_size=1))})
    if draw(st.booleans()):
        child = Tree(dict(tree.values), {"Deeper": Tree({"a": draw(TEXT)})}, {ABOVE: (draw(COMMENT),)})
        tree.children[f"Unknown : {draw(NAMES)}"] = child
    concealed = conceal(tree)
    return {**concealed.values, **concealed.children}


@st.composite
def comments(draw: st.DrawFn, cls: type[Entry]) -> dict[str, tuple[str, ...]]:
    """Make comments at the section itself and at keys that are always written."""
    always = [key.name for key in plan(cls).keys if not key.optional]
    spots = [ABOVE, BELOW, *always]
    single = [BESIDE, *map(beside, always)]
    found = {spot: tuple(draw(st.lists(COMMENT, min_size=1, max_size=2))) for spot in draw(_some(spots))}
    return found | {spot: (draw(COMMENT),) for spot in draw(_some(single))}


def _some(spots: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(spots), max_size=2, unique=True)


def _kept(entry: Entry) -> st.SearchStrategy[tuple[str, ...]]:
    unset = [
        key.name for key in plan(type(entry)).keys if key.optional and getattr(entry, key.attribute) == key.default
    ]
    return st.lists(st.booleans(), min_size=len(unset), max_size=len(unset)).map(
        lambda chosen: tuple(name for name, keep in zip(unset, chosen, strict=True) if keep)
    )


def _field(hint: Any, mark: Any) -> st.SearchStrategy[Any]:
    if isinstance(mark, Name):
        return st.integers(0, 99) if hint is int else NAMES
    if isinstance(mark, Parts):
        part = get_args(hint)[1]
        return st.lists(entries(part), max_size=2).map(lambda found: {entry.name: entry for entry in found})
    if isinstance(mark, Part):
        return entries(hint)
    assert isinstance(mark, Key)
    if mark.codec is SSH_KEYS:
        return st.lists(SSH_KEY, max_size=2).map(tuple)
    return _value(hint)


def _value(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        inner = next(arm for arm in get_args(hint) if arm is not type(None))
        return st.none() | SOME_BY_TYPE.get(inner, BY_TYPE[inner])
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    return BY_TYPE[hint]


def _can_be_key(text: str) -> bool:
    both = "'" in text and '"' in text
    return not both and text.isprintable()
