"""Shell completion: what may stand at the cursor."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from typing import Any, Final

from confd.cli.exits import CommandError, Exit
from confd.cli.job_index import Index, JobHint, ParameterHint, job_index
from confd.cli.place import Place, connect
from confd.cli.spelling import word

SHELLS: Final = ("bash", "zsh", "fish")
_KEY: Final = re.compile(r"([A-Za-z_]\w*):")
_SECONDS: Final = 1.0
_OPTIONS: Final = {
    "-c": "job",
    "-a": "parameters as one word",
    "--json": "print JSON",
    "--dry-run": "show what would happen",
    "--url": "cluster to talk to",
    "--user": "user of the cluster",
    "--ca": "certificate of the cluster",
    "--insecure": "do not check certificates",
    "--help": "help",
}
_VALUED: Final = ("-c", "-a", "--url", "--user", "--ca")
_OWN: Final = {"help": "jobs, or one job", "job": "history of jobs", "completion": "script for a shell"}
_VIEWS: Final = {"list": "list jobs", "show": "show a job", "watch": "follow a job"}

#: Where live names come from: the job, and how its output gives names (True: numbers where there are any).
_LIVE: Final[dict[str, tuple[str, Callable[[Any, bool], list[str]]]]] = {
    "databases": ("db_list", lambda names, _: list(names)),
    "volumes": ("st_volume_list", lambda volumes, _: [volume["name"] for volume in volumes]),
    "nodes": ("node_list", lambda nodes, number: [key if number else node["name"] for key, node in nodes.items()]),
    "users": ("user_list", lambda users, _: list(users)),
    "groups": ("group_list", lambda groups, _: list(groups)),
}

Candidates = dict[str, str]


def script(argv: Sequence[str]) -> str:
    """Return the completion script of a shell.

    :raises CommandError: no such shell.
    """
    if len(argv) != 1 or argv[0] not in SHELLS:
        raise CommandError(f"write confd_client completion {' | '.join(SHELLS)}", Exit.USAGE)
    return resources.files("confd.cli").joinpath("completion", f"confd_client.{argv[0]}").read_text()


def answer(argv: Sequence[str]) -> str:
    """Answer a completion script: the shell, and the words up to the cursor (bash: the line up to there)."""
    shell, *given = argv or ("",)
    *before, current = _split(given[0]) if shell == "bash" and given else given or [""]
    found = candidates(before, current, job_index(), _live_names(_place(before)))
    matching = {name: text for name, text in found.items() if name.startswith(current.lstrip("'\""))}
    if shell == "bash":
        # Bash has split the line at colons and replaces only what follows the last one.
        done = current.rfind(":") + 1
        return "".join(f"{_quoted(name)[done:]}\n" for name in matching)
    return "".join(f"{name}\t{text}\n" for name, text in matching.items())


def _quoted(name: str) -> str:
    """Quote what bash inserts as it is; the other shells quote themselves."""
    return name if _KEY.fullmatch(name) else word(name)


def candidates(before: Sequence[str], current: str, index: Index, live: Callable[[str, bool], list[str]]) -> Candidates:
    """Return what may stand at the cursor, with explanations.

    :param before: the words before it, without the program.
    :param live: gives the names of a kind, or the numbers.
    """
    last = before[-1] if before else ""
    jobs = {name: hint.summary for name, hint in index.items()}
    if last in _VALUED:
        return jobs if last == "-c" else {}
    loose = list(_loose(before))
    if current.startswith("-") and not _KEY.fullmatch(last):
        return _OPTIONS
    if not loose:
        return jobs | _OWN
    if loose[0] in _OWN:
        return _of_own(loose, jobs, live)
    return _of_job(index.get(loose[0]), last, loose, live)


def _of_own(loose: Sequence[str], jobs: Candidates, live: Callable[[str, bool], list[str]]) -> Candidates:
    if loose[0] == "help":
        return jobs if len(loose) == 1 else {}
    if loose[0] == "completion":
        return dict.fromkeys(SHELLS, "")
    if len(loose) == 1:
        return _VIEWS
    return dict.fromkeys(live("job ids", False), "") if loose[1] in {"show", "watch"} and len(loose) == 2 else {}


def _of_job(job: JobHint | None, last: str, loose: Sequence[str], live: Callable[[str, bool], list[str]]) -> Candidates:
    if job is None:
        return {}
    if (key := _KEY.fullmatch(last)) and (parameter := job.parameters.get(key[1])):
        return dict.fromkeys(_values(parameter, live), "")
    given = {key[1] for word in loose if (key := _KEY.fullmatch(word))}
    return {f"{name}:": known.text for name, known in job.parameters.items() if name not in given}


def _values(parameter: ParameterHint, live: Callable[[str, bool], list[str]]) -> list[str]:
    if parameter.choices:
        return list(parameter.choices)
    return live(parameter.live, parameter.number) if parameter.live else []


def _loose(words: Sequence[str]) -> Iterator[str]:
    """Give the words that are no options; the value of -c is the job."""
    values = iter(words)
    for value in values:
        if value == "-c":
            yield next(values, "")
        elif value in _VALUED:
            next(values, "")
        elif not value.startswith("-"):
            yield value


def _live_names(place: Place) -> Callable[[str, bool], list[str]]:
    def names(kind: str, number: bool) -> list[str]:
        try:
            if kind == "job ids":
                params = {"params": {"limit": 20}}
                return [job["job_id"] for job in _ask(place, "job_history", params)]
            if kind == "jobs":
                return list(job_index())
            job, read = _LIVE[kind]
            return [str(name) for name in read(_ask(place, job, {}), number)]
        except (CommandError, LookupError, TypeError):
            # Nobody can be told in the middle of a command line.
            return []

    return names


def _ask(place: Place, job: str, options: dict[str, Any]) -> Any:
    return connect(place, _SECONDS, ask=False).call("job_exec", job, options)["result_output"]


def _place(words: Sequence[str]) -> Place:
    options = dict(itertools.pairwise(words))
    return Place(options.get("--url"), options.get("--user"), options.get("--ca"), "--insecure" in words)


def _split(line: str) -> list[str]:
    """Split a line as the shell does; its last word may be unfinished, its first is the program."""
    for closing in ("", '"', "'"):
        try:
            words = shlex.split(line + closing)
        except ValueError:
            continue
        if not closing and (not line or line[-1].isspace()):
            words.append("")
        return words[1:] or [""]
    return [""]
