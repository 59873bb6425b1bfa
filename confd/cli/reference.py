"""``python -m confd.cli.reference DIR``: the reference pages of all jobs, from the registry."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from confd.api.descriptions import description
from confd.cli.spelling import command_line, flow
from confd.scheduler import registry
from confd.scheduler.parameters import Parameter
from confd.scheduler.registry import OWNER, SELF, Job

_TYPES: Final = {"str": "text", "int": "number", "bool": "bool", "list": "list", "tuple": "list", "dict": "mapping"}
_EFFECTS: Final = {"read": "changes nothing", "modify": "may change configuration and cluster"}
_INTRODUCTION: Final = (
    "Made from the code by `make docs`. Run a job with `confd_client JOB name: value ...`, or over XML-RPC with "
    "`job_exec(JOB, {'params': {...}})`."
)
_PSEUDO: Final = {OWNER: "the owner of the object", SELF: "users for themselves"}


def main() -> None:
    """Write the pages into the directory of the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m confd.cli.reference DIR")
    write(Path(sys.argv[1]))


def write(directory: Path) -> None:
    """Write all pages; pages of groups that no longer exist are removed."""
    directory.mkdir(parents=True, exist_ok=True)
    made = pages(registry.load())
    for old in directory.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (directory / name).write_text(text)


def pages(jobs: Mapping[str, Job]) -> dict[str, str]:
    """Return the pages by file name: one per group, and ``README.md`` that lists all jobs."""
    groups: dict[str, list[Job]] = {}
    for _, job in sorted(jobs.items()):
        groups.setdefault(job.group, []).append(job)
    made = {f"{group}.md": _group(group, members) for group, members in sorted(groups.items())}
    return {"README.md": _contents(groups), **made}


def _contents(groups: Mapping[str, list[Job]]) -> str:
    parts = ["# Jobs", _INTRODUCTION]
    for group, jobs in sorted(groups.items()):
        rows = "\n".join(f"| [{job.name}]({group}.md#{job.name}) | {_cell(job.summary)} |" for job in jobs)
        parts.append(f"## {_title(group)}\n\n| job | does |\n|---|---|\n{rows}")
    return "\n\n".join(parts) + "\n"


def _group(group: str, jobs: list[Job]) -> str:
    return "\n\n".join([f"# {_title(group)}", *map(_job, jobs)]) + "\n"


def _job(job: Job) -> str:
    own = " It is an addition of OpenConfD." if job.own else ""
    parts = [f"## {job.name}", job.summary, job.description, _parameters(job), _substitutes(job)]
    parts += [f"This job {_EFFECTS[job.intent]}.{own} {_allowed(job)}", _examples(job)]
    return "\n\n".join(part for part in parts if part)


def _parameters(job: Job) -> str:
    if not job.parameters:
        return "No parameters."
    rows = [f"| `{known.name}` | {_type(known)} | {_need(known, job)} | {_cell(known.description)} |"
            for known in job.parameters.values()]  # fmt: skip
    return "\n".join(["| parameter | type | | meaning |", "|---|---|---|---|", *rows])


def _type(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(f"`{choice}`" for choice in parameter.choices)
    return " or ".join(dict.fromkeys(_TYPES[kind] for kind in parameter.types))


def _need(parameter: Parameter, job: Job) -> str:
    if parameter.mandatory:
        others = job.substitute_table.get(parameter.name)
        return f"mandatory, or `{'`, `'.join(others)}`" if others else "mandatory"
    if parameter.default is None:
        return "optional"
    return f"optional, default `{flow(_plain(parameter.default))}`"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


def _substitutes(job: Job) -> str:
    return " ".join(
        f"`{pair.number}` and `{pair.name}` stand for each other"
        + (f"; `{pair.number}` counts when both are given." if pair.number_wins else "; give one of them.")
        for pair in job.substitutes
    )


def _allowed(job: Job) -> str:
    users = [_PSEUDO.get(user, f"user `{user}`") for user in job.allow.users]
    groups = ", ".join(f"`{group}`" for group in job.allow.groups)
    who = "; ".join([*users, *([f"members of {groups}"] if groups else [])])
    return f"Allowed: {who}." if who else "Nobody is allowed to run it from outside."


def _examples(job: Job) -> str:
    examples: list[dict[str, Any]] = description(job)[6] or []
    if not examples:
        return ""
    shell = "\n".join(command_line(job.name, example) for example in examples)
    python = "\n".join(_call(job.name, example) for example in examples)
    return f"```sh\n{shell}\n```\n\n```python\n{python}\n```"


def _call(name: str, params: dict[str, Any]) -> str:
    return f"connection.job_exec({name!r}, {{'params': {params!r}}})" if params else f"connection.job_exec({name!r})"


def _title(group: str) -> str:
    return group.replace("_", " ").capitalize()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
