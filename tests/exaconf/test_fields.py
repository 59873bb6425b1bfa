"""Declarations of fields."""

from __future__ import annotations

import pytest

from confd.exaconf.codecs import PORT
from confd.exaconf.fields import plan
from confd.exaconf.section import Section
from confd.exaconf.sections import BY_KIND, KINDS, Database, Form, Node


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_declared(kind: type[Section]) -> None:
    """Each field of a kind has its place in the file, and no key is there twice."""
    declared = plan(kind)
    fields = [key.attribute for key in declared.keys] + [part.attribute for part in declared.parts]
    named = [declared.name[0]] if declared.name else []
    assert sorted([*fields, *named, "extra", "comments", "kept"]) == sorted(kind.__struct_fields__)
    names = [name for key in declared.keys for name in key.names]
    assert len(set(names)) == len(names)
    assert (declared.name is None) == (kind.form is Form.SINGLE)


def test_kinds_differ() -> None:
    """No two kinds share a header."""
    assert len(BY_KIND) == len(KINDS)


def test_plan_of_a_class() -> None:
    """The plan gives names, codecs and defaults of the fields in the order of the file."""
    declared = plan(Node)
    assert declared.name is not None and declared.name[0] == "id"
    assert [key.name for key in declared.keys][:3] == ["Name", "PrivateNet", "PublicNet"]
    assert [(part.kind, part.named) for part in declared.parts] == [("Disk", True)]
    port = next(key for key in plan(Database).keys if key.attribute == "port")
    assert (port.name, port.codec, port.optional, port.required, port.default) == (
        "Port",
        PORT,
        False,
        False,
        8563,
    )
