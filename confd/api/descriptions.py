"""Jobs described for clients: ``job_desc``, ``job_help``, and the texts of the methods themselves."""

from __future__ import annotations

import pprint
from typing import Any, Final

import msgspec

from confd.scheduler.parameters import Parameter
from confd.scheduler.registry import Job


class MethodText(msgspec.Struct, frozen=True):
    """Help of an RPC method: a line, and a line per argument."""

    summary: str
    arguments: dict[str, str] = {}


METHODS: Final[dict[str, MethodText]] = {
    "job_desc": MethodText("Describe a job for programs.", {"job_name": "name of the job"}),
    "job_exec": MethodText(
        "Run a job and wait for its result.",
        {"req": "name of the job", "kwargs": "mapping with the job's parameters under 'params', optional 'dry_run'"},
    ),
    "job_finished": MethodText("Tell whether a job has ended.", {"job_id": "id of the job"}),
    "job_help": MethodText("Describe a job for people.", {"job_name": "name of the job"}),
    "job_info": MethodText("Return everything recorded about a job.", {"kwargs": "mapping with 'job_id'"}),
    "job_list": MethodText("List the names of all jobs."),
    "job_result": MethodText("Return the result of a job.", {"job_id": "id of the job"}),
    "job_start": MethodText(
        "Submit a job and return its id.",
        {"req": "name of the job", "kwargs": "mapping with the job's parameters under 'params', optional 'dry_run'"},
    ),
    "job_wait": MethodText(
        "Wait until a job has ended; False when the time is over first.",
        {"job_id": "id of the job", "kwargs": "mapping with 'timeout' in seconds"},
    ),
    "subscribe": MethodText(
        "Wait for stage changes of jobs.",
        {"kwargs": "mapping with 'after' (cursor), 'timeout' in seconds, 'jobs' (ids)"},
    ),
    "system.listMethods": MethodText("List the names of all methods."),
    "system.methodHelp": MethodText("Describe a method.", {"name": "name of the method"}),
    "system.methodSignature": MethodText("Return the signatures of a method.", {"name": "name of the method"}),
    "unsubscribe": MethodText("Forget a cursor of subscribe.", {"cursor": "the cursor"}),
    "user_init": MethodText("Renew the session token."),
    "user_login": MethodText(
        "Log in; returns a session token for use as Bearer.", {"name": "user", "password": "password"}
    ),
    "user_state": MethodText("Describe the caller."),
}


def method_help(name: str) -> str:
    """Return the help of a method: its line, then ``@argument, text`` lines."""
    text = METHODS[name]
    return "\n".join((text.summary, *(f"@{argument}, {meaning}" for argument, meaning in text.arguments.items())))


def description(job: Job) -> list[Any]:
    """Return the twelve positions of ``job_desc``; 7 to 10 tell intent, group, whether own, and choices."""
    mandatory, optional = _parameters(job)
    return [
        job.summary,
        mandatory or None,
        optional or None,
        job.substitute_table or None,
        list(job.allow.users) or None,
        list(job.allow.groups) or None,
        [dict(example) for example in job.examples] or None,
        str(job.intent),
        job.group,
        job.own,
        {name: list(known.choices) for name, known in job.parameters.items() if known.choices} or None,
        job.description or None,
    ]


def help_text(job: Job) -> str:
    """Return the printable help of a job in the layout clients know."""
    mandatory, optional = _parameters(job)
    parts = (
        f"Description: {_described(job)!r}",
        "Mandatory parameters:",
        pprint.pformat(mandatory, indent=4),
        "Optional parameters:",
        pprint.pformat(optional, indent=4),
        "Substitute parameters:",
        pprint.pformat(job.substitute_table, indent=4),
        f"Allowed users:{list(job.allow.users)!r}",
        f"Allowed groups:{list(job.allow.groups)!r}",
    )
    return "\n".join(parts)


def _described(job: Job) -> str:
    text = "\n\n".join(part for part in (job.summary, job.description) if part)
    if not job.examples:
        return text
    calls = [f"xmlrpc_connection.job_exec({job.name!r}, {{'params': {example!r}}})" for example in job.examples]
    return text + "\n\n\tExample: " + "\n\t".join(calls)


def _parameters(job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    mandatory = {name: _shape(known) for name, known in job.parameters.items() if known.mandatory}
    optional = {name: _shape(known) for name, known in job.parameters.items() if not known.mandatory}
    return mandatory, optional


def _shape(parameter: Parameter) -> dict[str, Any]:
    kinds = ", ".join(f"<class '{name}'>" for name in parameter.types)
    return {"desc": parameter.description, "type": f"({kinds},)" if len(parameter.types) == 1 else f"({kinds})"}
