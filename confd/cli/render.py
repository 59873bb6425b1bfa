"""Results, warnings and job files as text for a terminal or a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import yaml

from confd.api import jsonrpc
from confd.model.states import Stage

_OK: Final = "OK"
_STAGES: Final = [str(stage) for stage in Stage]


class Rendered(msgspec.Struct, frozen=True):
    """What to write where, and whether the job succeeded; both texts end with a newline or are empty."""

    stdout: str = ""
    stderr: str = ""
    ok: bool = True


class _BlockDumper(yaml.SafeDumper):
    """PyYAML's safe dumper without ``&id001``: values that are the same object are written twice."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def render_result(envelope: Mapping[str, object], *, as_json: bool = False) -> Rendered:
    """Show a result envelope: its output or ``OK`` on stdout, the description of a failure on stderr.

    Warnings (key ``result_warnings``) follow ``OK`` on stdout; beside an output they go to stderr, where
    they do not spoil what a program reads.
    """
    if envelope.get("result_code") != 0:
        return Rendered(stderr=_line(str(envelope.get("result_desc", "unknown error"))), ok=False)
    warnings = "".join(f"WARNING: {warning}\n" for warning in _warnings(envelope))
    output = envelope.get("result_output")
    if as_json:
        return Rendered(render_json(_OK if output is None else output), warnings)
    if output is None:
        return Rendered(f"{_OK}\n{warnings}")
    return Rendered(render_value(output), warnings)


def _warnings(envelope: Mapping[str, object]) -> Sequence[object]:
    warnings = envelope.get("result_warnings")
    return warnings if isinstance(warnings, list | tuple) else ()


def render_value(value: object) -> str:
    """Write a value in YAML block style; a text bare, as it is."""
    if isinstance(value, str):
        return _line(value)
    text = yaml.dump(value, Dumper=_BlockDumper, default_flow_style=False)
    # PyYAML closes a lone scalar with a document end.
    return text.removesuffix("...\n")


def render_json(value: object) -> str:
    """Write a value as indented JSON."""
    return msgspec.json.format(jsonrpc.encode(value), indent=2).decode() + "\n"


def _line(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def render_job_file(info: Mapping[str, Any]) -> str:
    """Write everything recorded about a job (the answer of ``job_info``) as readable text."""
    sections = [_head(info)]
    if params := info.get("params"):
        sections.append("Parameters\n" + _indented(params))
    if stages := info.get("stages"):
        sections.append("Stages\n" + _stages(stages))
    sections += [_command(number, command) for number, command in enumerate(info.get("commands") or (), 1)]
    if progress := info.get("progress"):
        sections.append("Progress\n" + _indented(progress))
    if (result := info.get("result")) is not None:
        sections.append("Result\n" + _indented(result))
    return "\n".join(sections)


def _head(info: Mapping[str, Any]) -> str:
    lines = [f"Job {info.get('job_id', '?')}  {info.get('job_name', '?')}"]
    lines += [_field(name, info[name]) for name in ("intent", "user", "stage") if info.get(name)]
    if (revision := _revision(info)) is not None:
        lines.append(_field("revision", revision))
    if locks := info.get("locks"):
        lines.append(_field("locks", _words(locks)))
    if request := info.get("request"):
        lines.append(_field("request", _words(request)))
    return "\n".join(lines) + "\n"


def _field(name: str, value: object) -> str:
    return f"  {name:<10}{value}"


def _words(value: object) -> str:
    """Write a short collection on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(item) for item in value)
    return str(value)


def _revision(info: Mapping[str, Any]) -> str | None:
    base, revision = info.get("base_revision"), info.get("revision")
    if revision is None:
        return None if base is None else f"{base} (unchanged)"
    return f"{base} -> {revision}" if base is not None else str(revision)


def _stages(stages: Mapping[str, object]) -> str:
    lines, before = [], None
    # Named in their order, because XML-RPC structs have none.
    for name in sorted(stages, key=lambda name: _STAGES.index(name) if name in _STAGES else len(_STAGES)):
        lines.append(f"  {name:<10} {stages[name]}{_took(before, stages[name])}\n")
        before = stages[name]
    return "".join(lines)


def _took(start: object, end: object) -> str:
    try:
        seconds = datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))
    except (ValueError, TypeError):
        return ""
    return f"  +{seconds.total_seconds():.3f} s"


def _command(number: int, command: Mapping[str, Any]) -> str:
    started, finished = command.get("started"), command.get("finished")
    took = _took(started, finished) or ("  not finished" if started else "")
    where = f" on {place}" if (place := node_name(command)) else ""
    lines = [f"Command {number}  {command.get('name', '?')}{where}{took}\n"]
    for name in ("arguments", "result", "output", "error"):
        value = command.get(name)
        if value is not None and value not in ("", {}, []):
            lines.append(f"  {name}:\n{_indented(value, 4)}")
    return "".join(lines)


def node_name(command: Mapping[str, Any]) -> str:
    """Name where a command of a job runs, as people do; nothing for what the job learned by itself."""
    node = command.get("node")
    if node:
        return f"n{node}"
    return "the master" if "arguments" in command else ""


def _indented(value: object, by: int = 2) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in render_value(value).splitlines())
