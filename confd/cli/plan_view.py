"""What a dry run found out, for people: the diff of EXAConf and the commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confd.cli.render import node_name, render_value


def render_plan(plan: Mapping[str, Any]) -> str:
    """Write the answer of a dry run: nothing of it has happened."""
    diff, commands = str(plan.get("diff") or ""), plan.get("commands") or []
    parts = [f"EXAConf would change:\n{diff}" if diff else "EXAConf would not change.\n"]
    if commands:
        parts.append("Commands that would run:\n" + "".join(map(_command, range(1, len(commands) + 1), commands)))
    else:
        parts.append("No command would run.\n")
    if plan.get("result") is not None:
        parts.append("Result:\n" + _indented(plan["result"], 2))
    return "\n".join(parts)


def _command(number: int, command: Mapping[str, Any]) -> str:
    head = f"  {number}. {command.get('name', '?')} on {node_name(command)}\n"
    arguments = command.get("arguments")
    return head + (_indented(arguments, 5) if arguments else "")


def _indented(value: object, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in render_value(value).splitlines())
