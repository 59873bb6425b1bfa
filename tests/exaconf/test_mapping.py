"""Sections and trees of text."""

from __future__ import annotations

import pytest

from confd.exaconf import Database, DriverSource, Other, Plugin, User
from confd.exaconf.mapping import Misfit, from_tree, path_of, place, to_tree
from confd.exaconf.tree import Tree, is_secretive, split_header
from confd.model.secret import Secret


def test_known_keys_come_first() -> None:
    """A tree has the known keys in their order, then the unknown ones."""
    plugin = Plugin("p", extra={"New": "x", "Sub": Tree({"a": "b"})})
    tree = to_tree(plugin)
    assert list(tree.values) == ["BucketFS", "Bucket", "Dir", "New"]
    assert tree.children == {"Sub": Tree({"a": "b"})}


def test_path() -> None:
    """The path names the headers from the outermost."""
    assert path_of(Plugin("p")) == ("Plugin : p",)
    assert path_of(User("u : v", 1, "g")) == ("Users", "u : v")
    assert place(("Users", "u"), "ID") == "[Users] [[u]] ID"


@pytest.mark.parametrize("path", [("Global : x",), ("Users",), ("Users : x",), ("Plugin", "x"), ("Foo",)])
def test_headers_that_no_class_fits(path: tuple[str, ...]) -> None:
    """A header that no class fits is kept as another section."""
    assert from_tree(path, Tree({"a": "b"})) == Other(path[0], extra={"a": "b"})


def test_secretive_keys_become_secrets() -> None:
    """Unknown keys whose name says that they are secret are not shown."""
    section = from_tree(("SSL",), Tree({"CertPassword": "x"}, {"S": Tree({"apiToken": "y", "z": "1"})}))
    assert section.extra == {"CertPassword": Secret("x"), "S": Tree({"apiToken": Secret("y"), "z": "1"})}
    for key in ("SaslPassword", "AuthenticationToken", "SyncKey", "Passwd", "client_secret", "pwd", "APIKey"):
        assert is_secretive(key)
    for key in ("BucketFS", "CertKey", "Keys", "Path"):
        assert not is_secretive(key)


def test_errors_carry_their_place() -> None:
    """A value that cannot be read is reported with headers and key, so that its line can be found."""
    with pytest.raises(Misfit) as caught:
        from_tree(("DB : d",), Tree({"ID": "i", "Version": "1", "MemSize": "x"}))
    assert caught.value.path == ("DB : d",)
    assert caught.value.key == "MemSize"


def test_subsection_that_is_missing_has_its_default() -> None:
    """A database without [[Oracle]] has the usual one."""
    tree = Tree(
        {
            "ID": "i",
            "Version": "1",
            "MemSize": "1 GiB",
            "Nodes": "11",
            "NumActiveNodes": "1",
            "DataVolume": "v",
        },
        {"JDBC": Tree()},
    )
    database = from_tree(("DB : d",), tree)
    assert isinstance(database, Database)
    assert database.oracle == DriverSource(dir="drivers/oracle")
    assert database.jdbc == DriverSource()


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("Global", ("Global", None)),
        ("Node:11", ("Node", "11")),
        ("DB : a : b", ("DB", "a : b")),
        ("X:", ("X", "")),
    ],
)
def test_headers(header: str, parts: tuple[str, str | None]) -> None:
    """The name is the text after the first colon, stripped."""
    assert split_header(header) == parts
