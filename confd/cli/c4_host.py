"""``c4 host``: clusters on hosts that exist, and further nodes of them."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from confd.cli.c4_target import configured, find_play, machines_of, say

if TYPE_CHECKING:
    from confd.play.record import Play
    from confd.play.settings import Settings


@click.group()
def host() -> None:
    """Clusters on hosts that exist."""


@host.command()
@click.option("-i", "--input", "file", type=click.Path(path_type=Path), help="File with lines NAME=VALUE.")
@click.argument("assignments", nargs=-1, metavar="[NAME=VALUE]...")
def play(file: Path | None, assignments: tuple[str, ...]) -> None:
    """Make a cluster and start it; c4 config lists the parameters.

    A file counts less than the environment, the environment less than the command line.
    """
    from confd.play import parameters
    from confd.play.settings import settle

    sources = [*configured(), parameters.read_words(assignments)]
    if file is not None:
        sources.insert(1, parameters.read_file(file))
    texts = parameters.merge(*sources)
    for idle in parameters.without_effect(texts):
        print(f"c4: {idle.name} has no effect yet ({idle.meaning})", file=sys.stderr)
    made = _make(settle(texts), texts["CCC_HOST_IMAGE_PASSWORD"])
    _print_welcome(made)


def _make(settings: Settings, password: str) -> Play:
    """Make and start a play on this machine or on others; show generated passwords as soon as they are in effect."""
    from confd.play.starting import DatabaseGround, complete, ground_here, make_database, run_here, start_new

    if settings.ssh is None:
        from confd.play.making import Workshop

        made = Workshop(settings).make()
        say(f"play {made.play.number} ({made.play.id}): starting {', '.join(node.name for node in made.play.nodes)}")
        start_new(made.play, say)
        ground, run = ground_here(made.play, settings), run_here(made.play)
    else:
        from confd.play import remote, ssh

        machines = ssh.Machines(settings.ssh, password, ssh.ask_person())
        there = remote.make(settings, machines, say)
        made, ground = there.made, DatabaseGround(there.room, there.memory, 1)
        run = functools.partial(remote.run_job, made.play, machines)
    _print_passwords(made.play, made.generated)
    if settings.with_db:
        make_database(settings, made.play.postgresql, ground, run, say)
    complete(made.play)
    return made.play


def _print_passwords(made: Play, generated: dict[str, str]) -> None:
    for name, password in generated.items():
        print(f"{name}={password}")
    if generated:
        from confd.play.record import PASSWORDS

        print(f"(generated, shown once, kept in {made.directory / PASSWORDS})")


def _print_welcome(made: Play) -> None:
    first = next(node for node in made.nodes if node.node in made.active)
    print(f"ConfD:    https://{first.address}:{made.confd_port}  user admin")
    if made.database:
        print(f"Database: {first.address}:{made.db_port}  user sys, database {made.database}")
    print(f"Shell:    c4 connect -t {made.number}/cos")


@host.command()
@click.argument("token")
def join(token: str) -> None:
    """Make this machine a node of a cluster that exists, by a token (c4 host token).

    The node gets the address that it was added with; on the machine of a play it becomes a further node of that play.
    A - instead of the token reads it from stdin, so that nobody else sees it.
    """
    from confd.play.joining import join as join_cluster

    begun = time.monotonic()
    made = join_cluster(sys.stdin.readline() if token == "-" else token, say)  # noqa: S105 - no password
    seconds = time.monotonic() - begun
    say(f"{made.node.name} is a node of the cluster now, as play {made.play.number} ({made.play.id}); {seconds:.1f} s")


@host.command("token")
@click.option("-t", "--target", help="Play (and node to ask), such as 1; needed when there are several.")
@click.option("--lifetime", type=click.IntRange(min=1), default=3600, show_default=True, help="Seconds it is good for.")
@click.argument("node")
def make_token(target: str | None, lifetime: int, node: str) -> None:
    """Print a token with which a machine joins as NODE, which was added with node_add; it is good once."""
    from confd.play import home, processes
    from confd.play.calls import run_job

    if target is None and len(known := home.plays()) == 1:
        target = str(known[0].number)
    found, place, _ = find_play(target, None)
    wanted = home.parse_target(f"{found.number}.{node}").node
    params = {"nid": wanted, "lifetime": lifetime}
    if found.ssh is not None:
        from confd.play import remote

        print(remote.run_job(found, machines_of(found), "node_token", params, 60.0))
        return
    running = [one for one in (place, *found.nodes) if processes.daemon(one)]
    print(run_job((running or [place])[0].socket, "node_token", params, 60.0))
