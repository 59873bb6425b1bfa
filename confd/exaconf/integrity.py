"""Whether a file may be trusted: its checksum says if it was edited by hand."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import msgspec

from confd.exaconf.conf import DISABLED
from confd.exaconf.text import UNCHECKED, checksum, stored_checksum

COMMIT: Final = "COMMIT"


class Trust(Enum):
    """What the checksum of a file says."""

    VERIFIED = "verified"
    """The checksum fits the content."""
    COMMIT = "commit"
    """Edited on purpose: take the content in as the next revision."""
    UNCHECKED = "unchecked"
    """No checksum yet; the next commit computes it."""
    DISABLED = "disabled"
    """Never checked; worth a warning."""
    BROKEN = "broken"
    """Edited without saying so, or damaged: refuse the file."""


class Verdict(msgspec.Struct, frozen=True):
    """The result of a check."""

    trust: Trust
    stored: str
    computed: str

    @property
    def accepted(self) -> bool:
        """Whether the file may be read."""
        return self.trust is not Trust.BROKEN

    @property
    def message(self) -> str:
        """What to tell the user; empty if there is nothing to say."""
        if self.trust is Trust.DISABLED:
            return "The checksum of EXAConf is DISABLED: edits by hand are not noticed."
        if self.trust is not Trust.BROKEN:
            return ""
        return (
            f"Integrity check failed! The checksum stored in EXAConf is '{self.stored}', "
            f"the one computed from its content is '{self.computed}'. If the file was edited on purpose, "
            f"set 'Checksum = {COMMIT}' in section [Global] and run 'exaconf commit'; "
            "otherwise restore it from a copy."
        )


def check(text: str) -> Verdict:
    """Judge a file by its checksum."""
    stored = stored_checksum(text) or UNCHECKED
    return Verdict(_trust(stored, computed := checksum(text)), stored, computed)


def _trust(stored: str, computed: str) -> Trust:
    words = {COMMIT: Trust.COMMIT, UNCHECKED: Trust.UNCHECKED, DISABLED: Trust.DISABLED}
    if stored in words:
        return words[stored]
    hexadecimal = re.fullmatch("[0-9a-fA-F]{32}", stored)
    return Trust.VERIFIED if hexadecimal and stored.lower() == computed else Trust.BROKEN
