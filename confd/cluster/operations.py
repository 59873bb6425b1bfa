"""Node operations: the typed functions that commands run.

A service declares what can be done on a node as a plain function whose first parameter is the
``Host`` it runs on::

    @operation("storage.create_segment")
    def create_segment(host: Host, volume: int, size: int) -> str: ...

``create_segment.on(11, volume=3, size=4096)`` makes a ``Command``: data that can be journalled, sent to
node 11 and run there. Arguments and results travel as JSON and are converted by the annotations.
An operation on the master takes a ``Master`` first and is declared with ``@master_operation``.

Operations are repeated after a crash, so each must tolerate that it ran before, wholly or in part.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, get_type_hints

import msgspec

from confd.cluster.host import Host, Master
from confd.model.errors import Internal

P = ParamSpec("P")
R = TypeVar("R")

MASTER: Final = 0
"""Stands for the node whose scheduler runs jobs, whichever that is."""

_OPERATIONS: dict[str, Operation[Any, Any]] = {}


class Command(msgspec.Struct, Generic[R], frozen=True):
    """An operation with its node and arguments, ready to be journalled and sent."""

    name: str
    node: int
    arguments: dict[str, Any]

    @property
    def operation(self) -> Operation[Any, R]:
        """The operation this command runs."""
        return find_operation(self.name)


class Operation(Generic[P, R]):
    """A function registered under a stable name."""

    def __init__(self, name: str, function: Callable[..., R], planned: Callable[..., R] | None) -> None:
        self.name = name
        self.function = function
        self._planned = planned
        hints = get_type_hints(function, include_extras=True)
        self._result: Any = hints.pop("return")
        first, *self._names = inspect.signature(function).parameters
        hints.pop(first)
        self._hints = hints
        # msgspec learns a type when it is used first, and two threads that do so at once can crash it: now, then.
        for kind in (self._result, *hints.values()):
            msgspec.json.Decoder(kind)

    def on(self, node: int, *args: P.args, **kwargs: P.kwargs) -> Command[R]:
        """Make the command that runs this operation on a node."""
        arguments = dict(zip(self._names, args, strict=False)) | kwargs
        # As it will be journalled, so that a command compares equal with its record after a crash.
        return Command(self.name, node, msgspec.json.decode(msgspec.json.encode(arguments)))

    def run(self, place: Host | Master, arguments: dict[str, Any]) -> Any:
        """Run with arguments as they travelled; the result is JSON-able."""
        typed = {name: msgspec.convert(value, self._hints[name], str_keys=True) for name, value in arguments.items()}
        return msgspec.to_builtins(self.function(place, **typed))

    def result(self, travelled: Any) -> R:
        """Give a travelled result its declared type back."""
        converted: R = msgspec.convert(travelled, self._result, str_keys=True)
        return converted

    def planned(self, arguments: dict[str, Any]) -> R | None:
        """What a dry run takes as the result."""
        return self._planned(**arguments) if self._planned else None


def operation(
    name: str, planned: Callable[..., Any] | None = None
) -> Callable[[Callable[Concatenate[Host, P], R]], Operation[P, R]]:
    """Register a function as a node operation.

    :param name: ``service.verb``; journalled, so never reused for something else.
    :param planned: gives the result of a dry run from the arguments; nothing when left out.
    """

    def register(function: Callable[Concatenate[Host, P], R]) -> Operation[P, R]:
        return _register(name, function, planned)

    return register


def master_operation(
    name: str, planned: Callable[..., Any] | None = None
) -> Callable[[Callable[Concatenate[Master, P], R]], Operation[P, R]]:
    """Register a function that runs on the master; make its commands with ``.on(MASTER, ...)``."""

    def register(function: Callable[Concatenate[Master, P], R]) -> Operation[P, R]:
        return _register(name, function, planned)

    return register


def find_operation(name: str) -> Operation[Any, Any]:
    """Look an operation up by its name."""
    try:
        return _OPERATIONS[name]
    except KeyError:
        raise Internal(f"this software has no operation {name!r}; run the same version on all nodes") from None


def _register(name: str, function: Callable[..., R], planned: Callable[..., Any] | None) -> Operation[Any, R]:
    if name in _OPERATIONS:
        raise ValueError(f"operation {name!r} is declared twice")
    _OPERATIONS[name] = declared = Operation[Any, R](name, function, planned)
    return declared
