"""Help: the usage, the list of all jobs, the page of one job."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confd.cli.connection import Connection
from confd.cli.exits import CommandError, Exit
from confd.cli.place import Place, connect
from confd.cli.spelling import command_line

USAGE: Final = """\
Usage: confd_client [OPTIONS] JOB [name: value ...]
       confd_client [OPTIONS] -c JOB [-a '{name: value, ...}']
       confd_client help [JOB]
       confd_client job list | show ID | watch [ID]
       confd_client completion bash | zsh | fish

Runs a job of the cluster and prints its result as YAML.

Parameters: a word that ends in a colon opens a parameter, what follows is its value.
A value with blanks is quoted; lists and mappings are written '[a, b]' and '{a: 1}'.
'"{< PATH}"' stands for the content of a file, '"{< -}"' for standard input.

Options, before or after the parameters:
  -c JOB, -a ARGS  job, and its parameters as one word
  -j, --json       print the result as JSON
  --dry-run        show what would change and which commands would run; change nothing
  --url URL        cluster to talk to, https://ADDRESS:20003; this node without it
  --user NAME      user there (default admin); the password comes from CONFD_PASSWORD or is asked for
  --ca FILE        certificate or authority that the cluster's certificate must fit
  --insecure       do not check the cluster's certificate
  -h, --help       this text, or with JOB the help of a job

Without --ca and --insecure a certificate that no authority vouches for is shown once, and when you
trust it, pinned in ~/.config/openconfd/known_clusters.

Environment: CONFD_SOCKET socket of the daemon (default: the one of the node at EXA_ROOT, /exa),
             CONFD_PASSWORD password for --url

Exit status: 0 done, 1 the job failed, 2 wrong usage, 3 not reachable or not let in
"""

_WORDS: Final = {
    "str": "text",
    "int": "number",
    "bool": "true|false",
    "list": "[list]",
    "tuple": "[list]",
    "dict": "{mapping}",
}
_CHUNK: Final = 1000

Description = list[Any]


def all_jobs(place: Place, *, as_json: bool = False) -> str:
    """Return all jobs by group, a line each."""
    known = _all_descriptions(place)
    if as_json:
        from confd.cli.render import render_json

        return render_json({name: page[0] for name, page in known.items()})
    width = max(map(len, known), default=0)
    groups: dict[str, list[str]] = {}
    for name, page in sorted(known.items()):
        line = _clip(f"  {name:<{width}}  {page[0]}")
        groups.setdefault(str(_at(page, 8) or "jobs"), []).append(line)
    parts = ["\n".join([f"{group}:", *lines]) for group, lines in sorted(groups.items())]
    return "\n\n".join([*parts, "confd_client help JOB shows the parameters of a job.\n"])


def job_page(job: str, place: Place, *, as_json: bool = False) -> str:
    """Return the help of one job.

    :raises CommandError: no such job; the message names the nearest one.
    """
    page = _description(job, place)
    if as_json:
        from confd.cli.render import render_json

        return render_json(page)
    return render_page(job, page)


def render_page(job: str, page: Description) -> str:
    """Write a job's description (``job_desc``) for people."""
    parts = [_wrapped(f"{job}: {page[0]}"), _wrapped(_usage(job, page), "    ")]
    if long := _at(page, 11):
        parts.append("\n\n".join(_wrapped(paragraph) for paragraph in str(long).split("\n\n")))
    parts += [_parameters(page), _substitutes(page), _examples(job, page), _allowed(page)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _usage(job: str, page: Description) -> str:
    mandatory = [f"{name}: {_type(known)}" for name, known in (page[1] or {}).items()]
    optional = [f"[{name}: {_type(known)}]" for name, known in (page[2] or {}).items()]
    return " ".join(["confd_client", job, *mandatory, *optional])


def _parameters(page: Description) -> str:
    known = {**(page[1] or {}), **(page[2] or {})}
    if not known:
        return "It takes no parameters."
    width = max(len(name) for name in known)
    choices = _at(page, 10) or {}
    lines = []
    for name, parameter in known.items():
        kind = "|".join(choices.get(name) or [_type(parameter)])
        needed = "" if name in (page[1] or {}) else ", optional"
        lines.append(textwrap.fill(
            f"{parameter['desc']} ({kind}{needed})", _width(),
            initial_indent=f"  {name:<{width}}  ", subsequent_indent=" " * (width + 4),
        ))  # fmt: skip
    return "\n".join(["Parameters:", *lines])


def _type(parameter: Mapping[str, Any]) -> str:
    kinds = re.findall(r"'(\w+)'", str(parameter.get("type", "")))
    return "|".join(dict.fromkeys(_WORDS.get(kind, kind) for kind in kinds)) or "value"


def _substitutes(page: Description) -> str:
    table: Mapping[str, Sequence[str]] = _at(page, 3) or {}
    pairs = {tuple(sorted([name, *others])) for name, others in table.items()}
    return "\n".join(f"Give one of {' and '.join(pair)}." for pair in sorted(pairs))


def _examples(job: str, page: Description) -> str:
    examples = [command_line(job, example) for example in _at(page, 6) or ()]
    return "\n".join(["Examples:", *(f"  {line}" for line in examples)]) if examples else ""


def _allowed(page: Description) -> str:
    users, groups = _at(page, 4) or [], _at(page, 5) or []
    who = [{"_owner": "the owner", "_self": "users for themselves"}.get(user, f"user {user}") for user in users]
    if groups:
        who.append(f"members of {', '.join(groups)}")
    effect = {"read": "It changes nothing", "modify": "It may change configuration and cluster"}.get(_at(page, 7))
    allowed = f"Allowed: {'; '.join(who)}." if who else ""
    return _wrapped(" ".join(part for part in (f"{effect}." if effect else "", allowed) if part))


def _description(job: str, place: Place) -> Description:
    try:
        found, page = connect(place).call("job_desc", job)
    except CommandError as error:
        found, page = _without_server(place, error, job)
    if not found:
        raise CommandError(str(page), Exit.USAGE)
    return list(page)


def _all_descriptions(place: Place) -> dict[str, Description]:
    try:
        pages = _ask_all(connect(place))
    except CommandError as error:
        from confd.scheduler import registry

        pages = {name: _without_server(place, error, name) for name in registry.load()}
    return {name: page for name, (found, page) in pages.items() if found}


def _ask_all(connection: Connection) -> dict[str, tuple[bool, Any]]:
    names = connection.call("job_list")
    calls = [{"methodName": "job_desc", "params": [name]} for name in names]
    answers: list[Any] = []
    for start in range(0, len(calls), _CHUNK):
        answers += connection.call("system.multicall", calls[start : start + _CHUNK])
    return {name: answer[0] for name, answer in zip(names, answers, strict=True) if isinstance(answer, list)}


def _without_server(place: Place, error: CommandError, job: str) -> tuple[bool, Any]:
    """Describe a job as this program knows it; those of another cluster only it can tell."""
    if place.url or error.status is not Exit.UNREACHABLE:
        raise error
    from confd.api.descriptions import description
    from confd.model.errors import UnknownJob
    from confd.scheduler import registry

    registry.load()
    try:
        return True, description(registry.find(job))
    except UnknownJob as unknown:
        return False, unknown.message


def _at(page: Description, position: int) -> Any:
    return page[position] if len(page) > position else None


def _width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 110)


def _clip(line: str) -> str:
    limit = shutil.get_terminal_size((200, 24)).columns
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _width(), initial_indent=indent, subsequent_indent=indent * 2,
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip
