"""How parameters are written on a command line: the reverse of reading it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Final

from confd.cli.values import read_value

_BARE: Final = re.compile(r"[A-Za-z0-9_./+*@%-][A-Za-z0-9_./+*@%=-]*(?: [A-Za-z0-9_./+*@%=-]+)*")
_KEY: Final = re.compile(r"[A-Za-z_]\w*:")


def command_line(job: str, params: Mapping[str, object]) -> str:
    """Write the call of a job as typed into a shell; parameters without a value are left out."""
    words = [f"{name}: {word(value)}" for name, value in params.items() if value is not None]
    return " ".join(["confd_client", job, *words])


def word(value: object) -> str:
    """Write a value as one word of a shell."""
    if isinstance(value, str):
        plain = read_value(value) == value and not _KEY.fullmatch(value) and value.lstrip()[:1] not in {"[", "{"}
        return shlex.quote(value if plain else json.dumps(value, ensure_ascii=False))
    return shlex.quote(flow(value))


def flow(value: object) -> str:
    """Write a value in YAML's flow style, texts bare where that reads back the same."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if _BARE.fullmatch(text) and text != "null" else json.dumps(text, ensure_ascii=False)
