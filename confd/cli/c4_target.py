"""Which play and node a command of ``c4`` means, with the configuration and the machines behind it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from confd.play.record import Play, PlayNode
    from confd.play.ssh import Machines

F = TypeVar("F", bound=Callable[..., Any])


def with_target(command: F) -> F:
    """Give a command the options that name a play: -t and -i."""
    options = (
        click.option("-t", "--target", help="PLAY[.NODE][/SUBSYSTEM], such as 1, 1.11 or 1.11/cos."),
        click.option("-i", "--play-id", help="Id (or number) of the play, instead of -t."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def find_play(target: str | None, play_id: str | None, node: str | None = None) -> tuple[Play, PlayNode, str | None]:
    """Return the play, the node and the subsystem that are meant; without a node its first one.

    :raises MissingParameter: no play is named.
    """
    from confd.model.errors import MissingParameter
    from confd.play import home

    if target is None and play_id is None:
        raise MissingParameter("which play? give -t, such as -t 1; c4 ps lists all")
    wanted = home.parse_target(target or f"{play_id}")
    chosen = home.parse_target(f"{wanted.play}.{node}").node if node else wanted.node
    found = home.find(wanted.play)
    return found, home.pick(found, chosen), wanted.subsystem


def find_part(target: str | None, play_id: str | None) -> tuple[Play, PlayNode | None]:
    """Return the play that is meant, and the node when one is named.

    :raises MissingParameter: no play is named.
    """
    from confd.play import home

    found, place, _ = find_play(target, play_id)
    named = home.parse_target(target or f"{play_id}").node is not None
    return found, place if named else None


def machines_of(play: Play) -> Machines:
    """Return the machines of a play elsewhere; a password for SSH comes from the configuration again."""
    from confd.play import parameters, ssh

    assert play.ssh is not None
    password = parameters.merge(*configured())["CCC_HOST_IMAGE_PASSWORD"]
    return ssh.Machines(play.ssh, password, ssh.ask_person())


def configured() -> list[dict[str, str]]:
    """Return the parameters of the configuration file and of the environment; the later counts more."""
    from confd.play import home, parameters

    path = home.config_file()
    environment = {name: text for name, text in os.environ.items() if name.startswith(parameters.PREFIX)}
    return [parameters.read_file(path) if path.exists() else {}, environment]


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)
