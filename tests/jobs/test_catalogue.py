"""The registry agrees with the catalogue of the documented jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from confd.scheduler.parameters import Parameter
from confd.scheduler.registry import SELF, Job, load

_CATALOGUE = Path(__file__).parent.parent / "catalogue"
_NOT_GROUPS = {"own", "pending"}
_PSEUDO_USERS = {"xmlrpc user": SELF}


def _load(name: str) -> Any:
    return yaml.safe_load((_CATALOGUE / f"{name}.yaml").read_text())


CATALOGUE: dict[str, Any] = {
    name: entry
    for path in sorted(_CATALOGUE.glob("*.yaml"))
    if path.stem not in _NOT_GROUPS
    for name, entry in _load(path.stem).items()
}
OWN: dict[str, Any] = _load("own")
PENDING: list[str] = _load("pending")
JOBS = load()
IMPLEMENTED = [JOBS[name] for name in JOBS if name in CATALOGUE]

each_job = pytest.mark.parametrize("job", IMPLEMENTED, ids=lambda job: job.name)


def _documented(job: Job) -> dict[str, Parameter]:
    return {name: parameter for name, parameter in job.parameters.items() if not parameter.own}


def test_every_job_of_the_catalogue_is_implemented_or_pending() -> None:
    """A job of the catalogue is either there or listed as pending, never both and never neither."""
    implemented = {job.name for job in IMPLEMENTED}
    assert len(CATALOGUE) == 144
    assert implemented & set(PENDING) == set()
    assert implemented | set(PENDING) == set(CATALOGUE)


def test_own_jobs_are_listed() -> None:
    """A job that the documented ConfD does not have is declared as own and listed."""
    beyond = {name for name in JOBS if name not in CATALOGUE}
    assert beyond == set(OWN["jobs"])
    assert {name for name, job in JOBS.items() if job.own} == beyond


@each_job
def test_own_parameters_are_optional_and_listed(job: Job) -> None:
    """A parameter of our own never has to be given."""
    own = {name: parameter for name, parameter in job.parameters.items() if parameter.own}
    assert sorted(own) == sorted((OWN["parameters"] or {}).get(job.name, []))
    assert not any(parameter.mandatory for parameter in own.values())


@each_job
def test_parameters_agree(job: Job) -> None:
    """Names, and which of them are mandatory, are those of the catalogue."""
    wanted = {name: entry["required"] for name, entry in CATALOGUE[job.name]["params"].items()}
    assert {name: parameter.mandatory for name, parameter in _documented(job).items()} == wanted


@each_job
def test_types_agree(job: Job) -> None:
    """Types are those of the catalogue, in its order."""
    wanted = {name: entry["type"] for name, entry in CATALOGUE[job.name]["params"].items()}
    assert {name: list(parameter.types) for name, parameter in _documented(job).items()} == wanted


@each_job
def test_limits_agree(job: Job) -> None:
    """Choices and ranges that the catalogue states are those that are checked."""
    for name, entry in CATALOGUE[job.name]["params"].items():
        parameter = job.parameters[name]
        rules = parameter.rules
        if "choices" in entry:
            assert list(parameter.choices) == [str(choice) for choice in entry["choices"]], name
        for extra in entry.get("choices_extra", ()):
            assert parameter.read(extra) == extra, name
        for limit in ("minimum", "maximum"):
            # Limits that are sizes are texts there and checks here.
            if isinstance(entry.get(limit), int):
                assert entry[limit] in [getattr(rule, limit) for rule in rules], (name, limit)


@each_job
def test_defaults_agree(job: Job) -> None:
    """Defaults that the catalogue states are ours; where it describes one in words, ours is None."""
    for name, entry in CATALOGUE[job.name]["params"].items():
        if "default" not in entry:
            continue
        default = job.parameters[name].default
        in_words = isinstance(entry["default"], str) and entry["default"].startswith("all ")
        shown = list(default) if isinstance(default, tuple) else default
        assert shown == (None if in_words else entry["default"]), name


@each_job
def test_substitutes_agree(job: Job) -> None:
    """Parameters stand for each other in both directions as in the catalogue."""
    assert job.substitute_table == CATALOGUE[job.name]["substitutes"]


@each_job
def test_rights_agree(job: Job) -> None:
    """Who may run the job is what the catalogue says."""
    users = [_PSEUDO_USERS.get(user, user) for user in CATALOGUE[job.name]["allowed_users"]]
    assert sorted(job.allow.users) == sorted(users)
    assert sorted(job.allow.groups) == sorted(CATALOGUE[job.name]["allowed_groups"])


@each_job
def test_intents_agree(job: Job) -> None:
    """Reading jobs read, modifying ones modify."""
    assert str(job.intent) == CATALOGUE[job.name]["kind"]


@each_job
def test_examples_agree_and_can_be_called(job: Job) -> None:
    """The examples of the documentation are shown, and each is a valid call."""
    assert list(job.examples) == CATALOGUE[job.name]["examples"]
    for example in job.examples:
        assert set(example) <= set(job.read(example))


@pytest.mark.parametrize("job", JOBS.values(), ids=lambda job: job.name)
def test_everything_is_described(job: Job) -> None:
    """A job and each of its parameters have a text."""
    assert job.summary.endswith(".")
    assert job.examples
    assert all(parameter.description.endswith((".", "?")) for parameter in job.parameters.values())
