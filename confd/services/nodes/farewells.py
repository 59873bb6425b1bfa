"""What else has to be done when a node leaves the cluster for good: registered by those who keep something for nodes.

A farewell gives master operations that are run, and repeated until they succeed, once the node is out of EXAConf::

    @farewell
    def dismiss_member(conf: Configuration, node: int) -> Iterable[Command[Any]]: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from confd.cluster.operations import Command
from confd.exaconf import Configuration

Farewell = Callable[[Configuration, int], Iterable[Command[Any]]]
_FAREWELLS: list[Farewell] = []


def farewell(function: Farewell) -> Farewell:
    """Register what is to be done for each node that leaves; the configuration still has it."""
    _FAREWELLS.append(function)
    return function


def farewells(conf: Configuration, node: int) -> list[Command[Any]]:
    """Return all that is to be done when a node leaves."""
    return [command for function in _FAREWELLS for command in function(conf, node)]
