"""The registry: a job is one function, declared with ``@job``.

Everything that is said about a job elsewhere (RPC descriptions, CLI help, completion, reference pages)
is read from the function: parameters from its signature, texts from its docstring. A docstring has a
first line, an optional longer text, ``:param name:`` lines, and an ``Examples:`` block with one YAML flow
mapping of parameters per line.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, get_type_hints

import msgspec
import yaml

from confd.exaconf import Conf
from confd.model.errors import InvalidParameter, MissingParameter, UnknownJob, UnknownParameter
from confd.model.secret import Secret
from confd.model.states import Intent
from confd.scheduler.locks import Lock
from confd.scheduler.parameters import MISSING, Parameter, types_of

READ: Final = Intent.READ
MODIFY: Final = Intent.MODIFY

OWNER: Final = "_owner"
SELF: Final = "_self"

Values = dict[str, Any]
LockRule = Callable[[Conf, Mapping[str, Any]], Iterable[Lock]]
OwnerRule = Callable[[Conf, Mapping[str, Any]], tuple[int, int] | None]
Refusal = Callable[[Mapping[str, Any], Mapping[str, Any]], None]


class Allow(msgspec.Struct, frozen=True):
    """Who may run a job: named users (also ``_owner``, ``_self``) or members of groups."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class Substitute(msgspec.Struct, frozen=True):
    """Two parameters of which one is given: ``number`` (an id) or ``name``.

    ``number_wins`` is for the pairs whose documentation says so; for all others giving both is an error.
    """

    number: str
    name: str
    number_wins: bool = False


class JobFunction(Protocol):
    """What ``@job`` decorates."""

    __name__: str

    def __call__(self, ctx: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run the job."""


class Job(msgspec.Struct, frozen=True):
    """A declared job."""

    name: str
    intent: Intent
    summary: str
    description: str
    parameters: dict[str, Parameter]
    substitutes: tuple[Substitute, ...]
    allow: Allow
    example_lines: tuple[str, ...]
    group: str
    own: bool
    lockless: bool
    function: Callable[..., Any]
    lock_rules: tuple[LockRule, ...]
    owner_rule: OwnerRule | None
    secrets: frozenset[str]
    _aliases: dict[str, str]
    without_quorum: bool = False
    waits: bool = False
    answers_secret: bool = False
    refuses: Refusal | None = None

    @property
    def examples(self) -> tuple[Values, ...]:
        """Parameters of calls, as the docstring shows them in YAML."""
        # Read when somebody asks: a daemon that starts would spend a tenth of its time on it.
        return tuple(yaml.safe_load(line) for line in self.example_lines)

    @property
    def substitute_table(self) -> dict[str, list[str]]:
        """Substitutes in the form of ``job_desc``: both directions."""
        table: dict[str, list[str]] = {}
        for pair in self.substitutes:
            table.setdefault(pair.number, []).append(pair.name)
            table.setdefault(pair.name, []).append(pair.number)
        return table

    def read(self, given: Mapping[str, Any]) -> Values:
        """Check and convert a caller's parameters; parameters left out get their defaults.

        :raises RequestError: the message names the parameter and what is allowed.
        """
        renamed = self._canonical(given)
        for pair in self.substitutes:
            self._settle(pair, renamed)
        values: Values = {}
        for name, parameter in self.parameters.items():
            values[name] = self._value(parameter, renamed)
        return values

    def locks(self, conf: Conf, values: Mapping[str, Any]) -> tuple[Lock, ...]:
        """Name everything the job changes or relies on."""
        return tuple(dict.fromkeys(lock for rule in self.lock_rules for lock in rule(conf, values)))

    def _canonical(self, given: Mapping[str, Any]) -> Values:
        renamed: Values = {}
        for name, value in given.items():
            known = name if name in self.parameters else self._aliases.get(name)
            if known is None:
                raise UnknownParameter(self._unknown(str(name)))
            if known in renamed:
                raise InvalidParameter(f"{name}: means the same as {known}; give one of them")
            renamed[known] = value
        return renamed

    def _unknown(self, name: str) -> str:
        if not self.parameters:
            return f"{name}: {self.name} takes no parameters"
        near = nearest(name, self.parameters)
        known = ", ".join(self.parameters)
        return f"{name}: {self.name} has no such parameter{near}; it takes {known}"

    def _settle(self, pair: Substitute, given: Values) -> None:
        number, name = given.get(pair.number), given.get(pair.name)
        if number is not None and name is not None:
            if not pair.number_wins:
                raise InvalidParameter(f"{pair.number}, {pair.name}: both are given; give one of them")
            del given[pair.name]
        elif number is None and name is None and self._needs(pair):
            raise MissingParameter(f"{self.name} needs {pair.number} or {pair.name}")

    def _needs(self, pair: Substitute) -> bool:
        return self.parameters[pair.number].mandatory or self.parameters[pair.name].mandatory

    def _value(self, parameter: Parameter, given: Mapping[str, Any]) -> Any:
        value = given.get(parameter.name, MISSING)
        if value is not MISSING:
            return parameter.read(value)
        if not parameter.mandatory:
            return parameter.default
        others = self.substitute_table.get(parameter.name)
        if others:
            return None
        needed = ", ".join(name for name, known in self.parameters.items() if known.mandatory)
        raise MissingParameter(f"{parameter.name}: {self.name} needs this parameter; mandatory are {needed}")


_JOBS: dict[str, Job] = {}


def job(
    intent: Intent,
    *,
    allow: Allow,
    locks: LockRule | Sequence[LockRule] = (),
    substitutes: Sequence[Substitute] = (),
    owner: OwnerRule | None = None,
    own: bool = False,
    lockless: bool = False,
    without_quorum: bool = False,
    waits: bool = False,
    refuses: Refusal | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function as a job of the same name; the function itself stays callable.

    :param intent: READ or MODIFY.
    :param allow: who may run it.
    :param locks: what a modify job changes or relies on.
    :param substitutes: pairs of parameters that stand for each other.
    :param owner: finds the owner (uid, gid) of the object named, for ``_owner`` among the users.
    :param own: True for a job that the documented ConfD does not have.
    :param lockless: True for a modify job that runs at once whatever is locked (abort, cancel).
    :param without_quorum: True for a modify job that the master takes when too few nodes are online; it decides itself.
    :param waits: True for a read job that waits for something: it must not keep others from being answered.
    :param refuses: raises for a call that must not wait for its locks first; gets runtime records and parameters.
    """
    rules = (locks,) if callable(locks) else tuple(locks)

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        declared = _declare(function, intent, allow, rules, tuple(substitutes), owner, own, lockless)
        declared = msgspec.structs.replace(declared, without_quorum=without_quorum, waits=waits, refuses=refuses)
        if declared.name in _JOBS:
            raise ValueError(f"job {declared.name!r} is declared twice")
        _JOBS[declared.name] = declared
        return function

    return register


def load() -> dict[str, Job]:
    """Import every module of ``confd.jobs`` and return all jobs by name, sorted."""
    package = importlib.import_module("confd.jobs")
    for module in pkgutil.iter_modules(package.__path__, "confd.jobs."):
        importlib.import_module(module.name)
    return dict(sorted(_JOBS.items()))


def find(name: object) -> Job:
    """Look a job up.

    :raises UnknownJob: names the nearest known job.
    """
    known = _JOBS.get(name) if isinstance(name, str) else None
    if known is None:
        raise UnknownJob(f"there is no job {str(name)[:80]!r}{nearest(str(name), _JOBS)}; job_list shows all")
    return known


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant: `` (did you mean x?)``, or nothing."""
    close = difflib.get_close_matches(name[:80], list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


_PARAM = re.compile(r"^:param (\w+):\s*(.*)$")


def _declare(
    function: Callable[..., Any],
    intent: Intent,
    allow: Allow,
    rules: tuple[LockRule, ...],
    substitutes: tuple[Substitute, ...],
    owner: OwnerRule | None,
    own: bool,
    lockless: bool,
) -> Job:
    text = _Docstring(inspect.getdoc(function) or "")
    hints = get_type_hints(function, include_extras=True)
    parameters = _parameters(function, text.parameters, hints)
    aliases = {alias: name for name, known in parameters.items() for alias in known.aliases}
    # A group that outgrows its module goes on in another: database, database_settings.
    group = function.__module__.rpartition(".")[2].partition("_")[0]
    return Job(
        function.__name__, intent, text.summary, text.description, parameters, substitutes, allow,
        tuple(text.examples), group, own, lockless, function, rules, owner,
        frozenset(name for name, parameter in parameters.items() if parameter.secret), aliases,
        answers_secret=hints.get("return") is Secret,
    )  # fmt: skip


def _parameters(
    function: Callable[..., Any], described: Mapping[str, str], hints: Mapping[str, Any]
) -> dict[str, Parameter]:
    names = list(inspect.signature(function).parameters.values())[1:]
    found: dict[str, Parameter] = {}
    for argument in names:
        kinds, nullable, rules = types_of(hints[argument.name])
        default = MISSING if argument.default is argument.empty else argument.default
        known = (rule.description for rule in rules if rule.description)
        description = described.get(argument.name) or next(known, "")
        if not description:
            raise ValueError(f"{function.__name__}: the docstring does not describe {argument.name}")
        found[argument.name] = Parameter(argument.name, kinds, description, default, nullable, rules)
    return found


class _Docstring:
    """The parts of a job's docstring."""

    def __init__(self, text: str) -> None:
        self.summary, _, rest = text.partition("\n")
        self.parameters: dict[str, str] = {}
        self.examples: list[str] = []
        body: list[str] = []
        sink: Callable[[str], None] = body.append
        for line in rest.splitlines():
            match = _PARAM.match(line)
            if match:
                self.parameters[match[1]] = match[2]
                sink = self._continue(match[1])
            elif line.strip() == "Examples:":
                sink = self._example
            else:
                sink(line)
        self.description = "\n".join(body).strip()

    def _continue(self, name: str) -> Callable[[str], None]:
        def more(line: str) -> None:
            self.parameters[name] = f"{self.parameters[name]} {line.strip()}".strip()

        return more

    def _example(self, line: str) -> None:
        if line.strip():
            self.examples.append(line.strip())
