"""What auditing asks of a server: that every connection and every statement is in its log. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from confd.model.errors import InvalidParameter

_AUDIT: Final = {"log_connections": "on", "log_disconnections": "on", "log_statement": "all"}
_LEVEL: Final = "log_min_messages"
_QUIET: Final = frozenset({"fatal", "panic"})
"""Levels at which the server leaves connections and statements out of its log."""


_ON: Final = frozenset({"on", "1", "t", "tr", "tru", "true", "y", "ye", "yes"})
"""How PostgreSQL lets one write that something is on."""


def enforced(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of auditing, which hold whatever other settings say."""
    quiet = settings.get(_LEVEL, "").lower() in _QUIET
    return _AUDIT | ({_LEVEL: "log"} if quiet else {})


def check_auditing(settings: Mapping[str, str]) -> None:
    """Refuse settings that auditing does not leave as they are.

    :raises InvalidParameter: names the first one.
    """
    for name, value in enforced(settings).items():
        if _meaning(settings.get(name, value)) != value:
            raise InvalidParameter(
                f"params: {name}={settings[name]} contradicts enable_auditing, which logs every connection and every "
                "statement; leave it out, or set enable_auditing to false"
            )


def _meaning(text: str) -> str:
    lowered = text.strip().lower()
    return "on" if lowered in _ON else lowered
