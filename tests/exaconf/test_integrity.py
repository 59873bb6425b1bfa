"""Checksum rules of a file."""

from __future__ import annotations

import pytest

from confd.exaconf import Document, Trust, check, render

EDITED = "[Global]\n    Revision = 3\n    Checksum = {}\n    ClusterName = c\n"


@pytest.mark.parametrize(
    ("stored", "trust"),
    [
        ("COMMIT", Trust.COMMIT),
        ("NONE", Trust.UNCHECKED),
        ("", Trust.UNCHECKED),
        ("DISABLED", Trust.DISABLED),
        ("0" * 32, Trust.BROKEN),
        ("yes", Trust.BROKEN),
        ("commit", Trust.BROKEN),
    ],
)
def test_words(stored: str, trust: Trust) -> None:
    """COMMIT, NONE, nothing and DISABLED are accepted, a wrong checksum and other words are not."""
    verdict = check(EDITED.format(stored))
    assert verdict.trust is trust
    assert verdict.accepted == (trust is not Trust.BROKEN)
    assert bool(verdict.message) == (trust in (Trust.BROKEN, Trust.DISABLED))


def test_missing_key() -> None:
    """Without the key nothing is checked."""
    assert check("[Global]\nClusterName = c\n").trust is Trust.UNCHECKED
    assert check("garbage").trust is Trust.UNCHECKED


def test_written_file_is_verified(full: Document) -> None:
    """A file as written is verified, a changed one is not, a changed revision does not matter."""
    text = render(full.sections, 16)
    assert check(text).trust is Trust.VERIFIED
    assert check(text.replace("Revision = 16", "Revision = 17")).trust is Trust.VERIFIED
    assert check(text.replace("SSHPort = 22", "SSHPort = 23")).trust is Trust.BROKEN


def test_message() -> None:
    """The error starts as users know it, shows both checksums and says what to do."""
    verdict = check(EDITED.format("a" * 32))
    assert verdict.message.startswith("Integrity check failed!")
    assert "a" * 32 in verdict.message and verdict.computed in verdict.message
    assert "Checksum = COMMIT" in verdict.message
