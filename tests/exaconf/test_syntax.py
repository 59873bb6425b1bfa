"""Text and trees."""

from __future__ import annotations

import pytest

from confd.exaconf.syntax import line_of, read, write
from confd.exaconf.tree import Tree
from confd.model.errors import InvalidParameter

TEXT = "[A]\nx = 1\n\n[ B:1 ]\nx = 2\n[[C]]\nx = 3\n[[D]]\ny = 4\n[E]\n"


@pytest.mark.parametrize(
    ("path", "key", "line"),
    [
        (("A",), "x", 2),
        (("B : 1",), None, 4),
        (("B : 1",), "x", 5),
        (("B : 1", "C"), "x", 7),
        (("B : 1", "D"), "y", 9),
        (("E",), None, 10),
        (("E",), "x", None),
        (("B : 1", "D"), "x", None),
    ],
)
def test_line_of(path: tuple[str, ...], key: str | None, line: int | None) -> None:
    """The line of a key or header is found in nested sections."""
    assert line_of(TEXT, path, key) == line


def test_values_are_unquoted_and_comments_apart() -> None:
    """Comments behind a value are no part of it."""
    tree = read('[A]\nx = "1 # 2" # c\ny = z#c\n')
    assert tree.children["A"] == Tree({"x": "1 # 2", "y": "z"}, {}, {"x#": ("# c",), "y#": ("#c",)})


def test_write() -> None:
    """Sections are indented by 4 blanks per level, empty values have no blank at the end."""
    tree = Tree({"a": "", "b c": "1"}, {"D : e": Tree({"=": "2"})})
    assert write(tree, ("Top", "Mine")) == (
        '    [[Mine]]\n        a =\n        b c = 1\n        [[[D : e]]]\n            "=" = 2\n'
    )


def test_depth_is_limited() -> None:
    """A file of endlessly nested sections is refused."""
    text = "\n".join(f"{'[' * depth}a{']' * depth}" for depth in range(1, 1000))
    with pytest.raises(InvalidParameter, match="nested deeper"):
        read(text)


def test_values_over_several_lines() -> None:
    """A value in triple quotation marks may span lines."""
    assert read("[A]\nx = '''1\n2'''\n").children["A"].values == {"x": "1\n2"}


@pytest.mark.parametrize("line", ["[" + " " * 50_000 + "x", "[" + "]" * 50_000 + "x", "[a" + " " * 50_000 + "x"])
def test_a_long_line_that_is_no_header_is_passed_by(line: str) -> None:
    """A pattern that goes back over blanks and brackets would never end with these."""
    assert line_of(f"{line}\n[[ 'DB : A' ] ]  # note\nPort = 1", ["DB : A"], "Port") == 3
