"""Sections in store and journal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from confd.exaconf import Document, Plugin, Section, User, from_stored, to_stored
from confd.model.errors import InvalidParameter
from confd.model.secret import Secret, Vault
from tests.exaconf.strategies import sections

VAULT = Vault(Vault.new_key())


@given(sections())
@settings(max_examples=100, deadline=None)
def test_any_section_survives_the_store(section: Section) -> None:
    """A section comes back from JSON with all values, unknown keys and comments."""
    assert from_stored(json.loads(json.dumps(to_stored(section, VAULT))), VAULT) == section


def test_no_secret_is_stored_in_the_clear(full: Document, vault: Vault) -> None:
    """All secrets of the example are sealed."""
    text = json.dumps([to_stored(section, vault) for section in full.sections.values()])
    for secret in ("$6$<salt>", "base64 of 16", "MTIzNDU2Nzg5QUJDREVG", "eEZXNmtq", "cmVhZA==", "d3JpdGU="):
        assert secret not in text


def test_kind_is_named(full: Document, vault: Vault) -> None:
    """Stored sections name their kind and headers."""
    stored = to_stored(full.sections["Users : root"], vault)
    assert (stored["kind"], stored["path"]) == ("Users", ["Users", "root"])
    assert stored["values"]["Group"] == "root"


def test_text_that_looks_sealed(vault: Vault) -> None:
    """Ordinary text that looks like sealed text comes back as text."""
    plugin = Plugin("p", dir="sealed:not really")
    assert from_stored(to_stored(plugin, vault), vault) == plugin


def test_another_data_key(vault: Vault) -> None:
    """A section sealed with another key cannot be read."""
    stored = to_stored(User("u", 1, "g", passwd=Secret("x")), VAULT)
    with pytest.raises(ValueError, match="another data key"):
        from_stored(stored, vault)


@pytest.mark.parametrize("data", [{}, {"path": ["Global"]}, {"path": ["Node : x"], "values": {}}, {"path": 1}])
def test_garbage_is_refused(data: dict[str, object], vault: Vault) -> None:
    """What is not a stored section is refused."""
    with pytest.raises(InvalidParameter):
        from_stored(data, vault)
