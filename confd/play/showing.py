"""The parameters in effect, as ``c4 config`` shows them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from confd.model.errors import NotFound
from confd.model.secret import HIDDEN
from confd.play import parameters
from confd.play.parameters import PREFIX, TABLE, Kind, Parameter


def show(sources: Sequence[Mapping[str, str]], full: bool, key: str | None, expression: str | None) -> str:
    """Return the parameters as text, one per line; passwords hidden.

    :param full: with meaning and default.
    :param key: only those whose name contains this.
    :param expression: only the value of one, such as ``.play.confd_port``.
    """
    texts = parameters.merge(*sources)
    if expression is not None:
        return texts[_named(expression)]
    rows = [known for known in TABLE if key is None or key.upper() in known.name]
    return "\n".join(_full(known, texts) if full else _line(known, texts) for known in rows)


def _named(expression: str) -> str:
    name = PREFIX + expression.strip().lstrip(".").replace(".", "_").upper()
    if name in {known.name for known in TABLE}:
        return name
    paths = ["." + known.name.removeprefix(PREFIX).lower().replace("_", ".", 1) for known in TABLE]
    near = difflib.get_close_matches(expression, paths, n=1)
    hint = f"did you mean {near[0]}?" if near else "such as .play.confd_port"
    raise NotFound(f"there is no parameter {expression}; {hint}")


def _line(known: Parameter, texts: Mapping[str, str]) -> str:
    text = texts[known.name]
    return f"{known.name}={HIDDEN if text and known.kind is Kind.SECRET else text}"


def _full(known: Parameter, texts: Mapping[str, str]) -> str:
    effect = "" if known.effect else "; no effect yet"
    default = f"; default {known.default}" if known.default else ""
    return f"{_line(known, texts)}\n    {known.meaning} ({known.kind}{default}{effect})"
