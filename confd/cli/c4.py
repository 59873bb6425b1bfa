"""``c4``: make clusters on this machine, look at them, get into them, stop and delete them."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from confd import __version__
from confd.model.errors import ConfDError, RequestError

if TYPE_CHECKING:
    from confd.play.listing import NodeStatus
    from confd.play.record import Play, PlayNode
    from confd.play.settings import Settings
    from confd.play.ssh import Machines

F = TypeVar("F", bound=Callable[..., Any])
_USAGE = 2


class _Commands(click.Group):
    """Shows the product's errors as one message: 2 for wrong input, 1 for everything else."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfDError as error:
            print(f"c4: {error.message}", file=sys.stderr)
            sys.exit(_USAGE if isinstance(error, RequestError) else 1)
        except PermissionError as error:
            print(f"c4: {error}; set CCC_HOME to a directory of yours", file=sys.stderr)
            sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="c4")
def main() -> None:
    r"""Clusters on this machine: make, look at, get into, stop, delete.

    \b
    c4 host play                       make and start a cluster of three nodes
    c4 ps                              what runs
    c4 connect -t 1/cos                a shell with confd_client on its first node
    c4 connect -t 1.12/cos -- COMMAND  one command on n12
    c4 stop -t 1, c4 start -t 1        all of it down, and up again
    c4 store etcd -t 1 --endpoint URL  keep its configuration and jobs in etcd
    c4 rm -t 1                         stop and delete
    """


@main.group()
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

    sources = [*_sources(), parameters.read_words(assignments)]
    if file is not None:
        sources.insert(1, parameters.read_file(file))
    texts = parameters.merge(*sources)
    for idle in parameters.without_effect(texts):
        print(f"c4: {idle.name} has no effect yet ({idle.meaning})", file=sys.stderr)
    made = _make(settle(texts), texts["CCC_HOST_IMAGE_PASSWORD"])
    _print_welcome(made)


def _make(settings: Settings, password: str) -> Play:
    """Make and start a play on this machine or on others; show generated passwords as soon as they are in effect."""
    from confd.play.starting import DatabaseGround, ground_here, make_database, run_here, start_new

    if settings.ssh is None:
        from confd.play.making import Workshop

        made = Workshop(settings).make()
        _say(f"play {made.play.number} ({made.play.id}): starting {', '.join(node.name for node in made.play.nodes)}")
        start_new(made.play)
        ground, run = ground_here(made.play, settings), run_here(made.play)
    else:
        from confd.play import remote, ssh

        machines = ssh.Machines(settings.ssh, password, ssh.ask_person())
        there = remote.make(settings, machines, _say)
        made, ground = there.made, DatabaseGround(there.room, there.memory, 1)
        run = functools.partial(remote.run_job, made.play, machines)
    _print_passwords(made.play, made.generated)
    if settings.with_db:
        make_database(settings, made.play.postgresql, ground, run, _say)
    return made.play


def _machines(play: Play) -> Machines:
    """Return the machines of a play elsewhere; a password for SSH comes from the configuration again."""
    from confd.play import parameters, ssh

    assert play.ssh is not None
    password = parameters.merge(*_sources())["CCC_HOST_IMAGE_PASSWORD"]
    return ssh.Machines(play.ssh, password, ssh.ask_person())


def _look(play: Play) -> list[NodeStatus]:
    from confd.play import listing, remote

    return listing.look(play) if play.ssh is None else remote.look(play, _machines(play))


@host.command()
@click.argument("token")
def join(token: str) -> None:
    """Make this machine a node of a cluster that exists, by a token (c4 host token).

    The node gets the address that it was added with; on the machine of a play it becomes a further node of that play.
    A - instead of the token reads it from stdin, so that nobody else sees it.
    """
    from confd.play.joining import join as join_cluster

    begun = time.monotonic()
    made = join_cluster(sys.stdin.readline() if token == "-" else token, _say)  # noqa: S105 - no password
    seconds = time.monotonic() - begun
    _say(f"{made.node.name} is a node of the cluster now, as play {made.play.number} ({made.play.id}); {seconds:.1f} s")


@host.command("token")
@click.option("-t", "--target", help="Play (and node to ask), such as 1; needed when there are several.")
@click.option("--lifetime", type=click.IntRange(min=1), default=3600, show_default=True, help="Seconds it is good for.")
@click.argument("node")
def make_token(target: str | None, lifetime: int, node: str) -> None:
    """Print a token with which a machine joins as NODE, which was added with node_add; it is good once."""
    from confd.play import home, processes, remote
    from confd.play.calls import run_job

    known = home.plays()
    found, place, _ = _find(target or (str(known[0].number) if len(known) == 1 else None), None)
    wanted = home.parse_target(f"{found.number}.{node}").node
    params = {"nid": wanted, "lifetime": lifetime}
    if found.ssh is not None:
        print(remote.run_job(found, _machines(found), "node_token", params, 60.0))
        return
    running = [one for one in (place, *found.nodes) if processes.daemon(one)]
    print(run_job((running or [place])[0].socket, "node_token", params, 60.0))


def _target(command: F) -> F:
    options = (
        click.option("-t", "--target", help="PLAY[.NODE][/SUBSYSTEM], such as 1, 1.11 or 1.11/cos."),
        click.option("-i", "--play-id", help="Id (or number) of the play, instead of -t."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
def ps() -> None:
    """List the nodes of all plays."""
    from confd.play import home, listing

    print(listing.table([(known, _look(known)) for known in home.plays()]))


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_target
@click.option("-n", "--node", help="Node, such as 11 or n11.")
@click.option("-s", "--subsystem", help="cos (default), host or db.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def connect(
    target: str | None, play_id: str | None, node: str | None, subsystem: str | None, command: tuple[str, ...]
) -> None:
    """Open a shell on a node, or run one command there (after --); its exit status is passed on."""
    from confd.play.connecting import launch

    found, place, named = _find(target, play_id, node)
    wanted = subsystem or named or "cos"
    started = launch(found, place, wanted, command, sys.stdin.isatty(), os.environ)
    sys.stdout.flush()
    os.chdir(started.directory)
    os.execvpe(started.words[0], started.words, started.environment)  # noqa: S606 - the words are the point


@main.command()
@_target
@click.argument("name", required=False)
@click.option("--stage", help="Stage to wait for: c for ConfD, d for the database. Default: the last one the play has.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds to wait.")
def wait(target: str | None, play_id: str | None, name: str | None, stage: str | None, timeout: float) -> None:
    """Wait until all nodes of a play are at a stage."""
    from confd.play import listing
    from confd.play.starting import wait_stage

    found, _, _ = _find(target, play_id or name)
    wanted = listing.check_stage(stage or ("d" if found.database else "c"))
    wait_stage(lambda: listing.has_reached(_look(found), wanted), timeout, f"stage {wanted} of play {found.number}")


@main.command()
@_target
def stop(target: str | None, play_id: str | None) -> None:
    """Stop the daemons and databases of a play; nothing is deleted."""
    from confd.play import remote, stopping

    found, _, _ = _find(target, play_id)
    if found.ssh is None:
        stopping.stop(found)
    else:
        remote.stop(found, _machines(found))
    _say(f"play {found.number} is stopped; start it with: c4 start -t {found.number}")


@main.command()
@_target
def start(target: str | None, play_id: str | None) -> None:
    """Start what does not run of a play; databases that ran come back with it."""
    from confd.play import remote, starting

    found, _, _ = _find(target, play_id)
    started = starting.start(found) if found.ssh is None else remote.start(found, _machines(found))
    names = ", ".join(node.name for node in started)
    _say(f"play {found.number}: started {names}" if started else f"play {found.number} runs already")


@main.command()
@_target
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def rm(target: str | None, play_id: str | None, yes: bool) -> None:
    """Stop a play and delete it with all its data; asks first when a person is there to answer.

    With a node (-t 1.14) only the files of that node, which the cluster must not have any more (job node_remove).
    """
    from confd.play import home, remote, stopping

    found, place, _ = _find(target, play_id)
    if target is not None and home.parse_target(target).node is not None:
        if found.ssh is not None:
            remote.remove_node(found, place, _machines(found))
        else:
            stopping.remove_node(found, place)
        _say(f"{place.name} of play {found.number} is deleted")
        return
    if not yes and sys.stdin.isatty():
        click.confirm(f"Delete play {found.number} ({found.id}) with all its data in {found.directory}?", abort=True)
    if found.ssh is None:
        stopping.remove(found)
    else:
        remote.remove(found, _machines(found))
    _say(f"play {found.number} is deleted")


@main.command()
@click.option("-F", "--full", is_flag=True, help="With defaults and meaning.")
@click.option("-K", "--key", help="Only parameters whose name contains this text.")
@click.option("-e", "--expression", help="Print one value, such as .play.confd_port.")
def config(full: bool, key: str | None, expression: str | None) -> None:
    """Show the parameters as the next c4 host play would use them."""
    from confd.play import showing

    print(showing.show(_sources(), full, key, expression))


@main.command(hidden=True)
@click.argument("verb")
def machine(verb: str) -> None:
    """Do what c4 on another machine wants of this one: JSON on stdin, JSON on stdout."""
    from confd.play import machine as local

    if verb not in local.verbs():
        raise click.UsageError(f"there is no {verb}; the other side has another version")
    answered, status = local.answer(verb, sys.stdin.buffer.read())
    sys.stdout.buffer.write(answered)
    sys.stdout.buffer.flush()
    sys.exit(status)


@main.command()
@click.option("-i", "--interactive", is_flag=True, help="Ask for the password.")
@click.argument("password", required=False)
def pwdhash(interactive: bool, password: str | None) -> None:
    """Make the SCRAM verifier of a password, for default_sys_passwd_hash.

    The password comes from the command line (others may see it there), from a question (-i), or from stdin.
    """
    from confd.model.secret import Secret
    from confd.services.database.scram import make_verifier

    if password is None and (interactive or sys.stdin.isatty()):
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    elif password is None:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("the password is empty")
    print(make_verifier(Secret(password)).reveal())


@main.group()
def store() -> None:
    """Where a cluster keeps its configuration and jobs."""


@store.command("etcd")
@_target
@click.option("--endpoint", "endpoints", multiple=True, help="URL of a member of an etcd that exists; may be repeated.")
@click.option("--ca", help="File with the certificates that sign etcd's, on all nodes.")
@click.option("--certificate", help="File with the nodes' certificate towards etcd, on all nodes.")
@click.option("--key", help="File with the key of that certificate, on all nodes.")
@click.option("--user", help="Name of the nodes' user in etcd.")
@click.option("--password-file", help="File with that user's password, on all nodes.")
@click.option("--prefix", help="What all keys in etcd begin with.")
@click.option("--port", type=click.IntRange(1, 65534), help="Port of etcd that the nodes run (CCC_PLAY_ETCD_PORT).")
@click.option("--binary", help="Program of etcd that the nodes run (CCC_PLAY_ETCD_BINARY).")
def store_etcd(target: str | None, play_id: str | None, endpoints: tuple[str, ...], **given: Any) -> None:
    """Move a running cluster into etcd, with its history; without --endpoint, its data nodes run etcd for it."""
    from confd.play.storing import etcd_params, move

    _say(move(*_find(target, play_id)[:2], etcd_params(list(endpoints), given, _sources())))


@store.command("sqlite")
@_target
def store_sqlite(target: str | None, play_id: str | None) -> None:
    """Move a running cluster into the embedded store, with its history."""
    from confd.play.storing import move

    found, node, _ = _find(target, play_id)
    _say(move(found, node, {"kind": "sqlite"}))


@store.command("recover")
@_target
@click.option("--yes-others-are-down", is_flag=True, help="Confirm that nothing runs on the nodes that do not answer.")
def store_recover(target: str | None, play_id: str | None, yes_others_are_down: bool) -> None:
    """Go on from a survivor (-t PLAY.NODE) after the loss of etcd's majority, or of its data."""
    from confd.play.storing import recover

    if not yes_others_are_down:
        raise click.UsageError("stop what still runs on the other nodes, then confirm with --yes-others-are-down")
    _, node, _ = _find(target, play_id)
    _say(recover(node))


def _find(target: str | None, play_id: str | None, node: str | None = None) -> tuple[Play, PlayNode, str | None]:
    from confd.model.errors import MissingParameter
    from confd.play import home

    if target is None and play_id is None:
        raise MissingParameter("which play? give -t, such as -t 1; c4 ps lists all")
    wanted = home.parse_target(target or f"{play_id}")
    chosen = home.parse_target(f"{wanted.play}.{node}").node if node else wanted.node
    found = home.find(wanted.play)
    return found, home.pick(found, chosen), wanted.subsystem


def _sources() -> list[dict[str, str]]:
    from confd.play import home, parameters

    path = home.config_file()
    environment = {name: text for name, text in os.environ.items() if name.startswith(parameters.PREFIX)}
    return [parameters.read_file(path) if path.exists() else {}, environment]


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


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
