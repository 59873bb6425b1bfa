"""What the tests of EXAConf share."""

from __future__ import annotations

from pathlib import Path

import pytest

from confd.exaconf import Conf, Document, Section, parse
from confd.model.secret import Vault


@pytest.fixture
def full_text() -> str:
    """The full example of a file."""
    return Path(__file__).with_name("full.EXAConf").read_text()


@pytest.fixture
def full(full_text: str) -> Document:
    """The full example, read."""
    return parse(full_text)


@pytest.fixture
def conf(full: Document) -> Conf:
    """The full example as configuration."""
    return Conf(full.revision, full.sections)


@pytest.fixture
def vault() -> Vault:
    """A vault with a key of its own."""
    return Vault(Vault.new_key())


def put(conf: Conf, *sections: Section) -> Conf:
    """Return the configuration with sections added or replaced."""
    return conf.with_changes({section.key: section for section in sections}, conf.revision + 1)
