"""``c4``: make clusters on this machine, look at them, get into them, stop and delete them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from confd import __version__
from confd.cli.c4_host import host
from confd.cli.c4_store import store
from confd.cli.c4_target import configured, find_part, find_play, machines_of, say, with_target
from confd.model.errors import ConfDError, RequestError

# What a command needs is loaded by it: what is for other machines takes longer than most commands do.
if TYPE_CHECKING:
    from confd.play.listing import NodeStatus
    from confd.play.record import Play, PlayNode

_USAGE = 2
_EXAMPLES = """
c4 host play                       make and start a cluster of three nodes
c4 ps                              what runs
c4 connect -t 1/cos                a shell with confd_client on its first node
c4 connect -t 1.12/cos -- COMMAND  one command on n12
c4 stop -t 1, c4 start -t 1        all of it down, and up again
c4 store etcd -t 1                 keep its configuration and jobs in etcd
c4 rm -t 1                         stop and delete
"""
# click leaves the lines of a paragraph alone that begins with a backspace character.
_HELP = f"Clusters on this machine: make, look at, get into, stop, delete.\n\n\b{_EXAMPLES}"


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


@click.group(cls=_Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="c4")
def main() -> None:
    """Take the command line."""


main.add_command(host)
main.add_command(store)


def _look(play: Play) -> list[NodeStatus]:
    if play.ssh is None:
        from confd.play import listing

        return listing.look(play)
    from confd.play import remote

    return remote.look(play, machines_of(play))


@main.command()
def ps() -> None:
    """List the nodes of all plays."""
    from confd.play import home, listing

    plays, unusable = home.look()
    seen = [(known, _look(known)) for known in plays]
    troubles = "".join(listing.troubles(nodes) for _, nodes in seen)
    lost = "".join(f"\n{one.error.message}" for one in unusable)
    print(listing.table(seen) + troubles + listing.gaps(plays) + lost)


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@with_target
@click.option("-n", "--node", help="Node, such as 11 or n11.")
@click.option("-s", "--subsystem", help="cos (default), host or db.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def connect(
    target: str | None, play_id: str | None, node: str | None, subsystem: str | None, command: tuple[str, ...]
) -> None:
    """Open a shell on a node, or run one command there (after --); its exit status is passed on."""
    from confd.play.connecting import launch

    found, place, named = find_play(target, play_id, node)
    wanted = subsystem or named or "cos"
    started = launch(found, place, wanted, command, sys.stdin.isatty(), os.environ)
    sys.stdout.flush()
    os.chdir(started.directory)
    os.execvpe(started.words[0], started.words, started.environment)  # noqa: S606 - the words are the point


@main.command()
@with_target
@click.argument("name", required=False)
@click.option("--stage", help="Stage to wait for: c for ConfD, d for the database. Default: the last one the play has.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds to wait.")
def wait(target: str | None, play_id: str | None, name: str | None, stage: str | None, timeout: float) -> None:
    """Wait until all nodes of a play are at a stage."""
    from confd.play import home, listing, unfinished
    from confd.play.starting import wait_stage

    found, _, _ = find_play(target, play_id or name)
    wanted = listing.check_stage(stage or ("d" if found.database else "c"))

    def look() -> dict[str, str]:
        # Read anew: it may be made, or no more, meanwhile.
        unfinished.check_stage(home.find(found.id), wanted)
        return {status.node.name: status.trouble for status in listing.short_of(_look(found), wanted)}

    wait_stage(look, timeout, f"stage {wanted} of play {found.number}", say)


@main.command()
@with_target
def stop(target: str | None, play_id: str | None) -> None:
    """Stop the daemons and databases of a play, or with a node (-t 1.12) of that node; nothing is deleted."""
    found, only = find_part(target, play_id)
    if found.ssh is None:
        from confd.play import stopping

        stopping.stop(found, only)
    else:
        from confd.play import remote

        remote.stop(found, machines_of(found), only)
    what, where = f"play {found.number}", f"{found.number}"
    if only is not None:
        what, where = f"{only.name} of {what}", f"{where}.{only.node}"
    say(f"{what} is stopped; start it with: c4 start -t {where}")


@main.command()
@with_target
def start(target: str | None, play_id: str | None) -> None:
    """Start what does not run of a play, or one node (-t 1.12); databases that ran come back with it."""
    from confd.play import home
    from confd.play.unfinished import missing

    found, only = find_part(target, play_id)
    if found.ssh is None:
        from confd.play import starting

        started = starting.start(found, only, say)
    else:
        from confd.play import remote

        started = remote.start(found, machines_of(found), only, say)
    names = ", ".join(node.name for node in started)
    what = f"play {found.number}" if only is None else f"{only.name} of play {found.number}"
    say(f"play {found.number}: started {names}" if started else f"{what} runs already")
    if why := missing(home.find(found.id)):
        say(why)


@main.command()
@with_target
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def rm(target: str | None, play_id: str | None, yes: bool) -> None:
    """Stop a play and delete it with all its data; asks first when a person is there to answer.

    With a node (-t 1.14) only the files of that node, which the cluster must not have any more (job node_remove).
    """
    found, only = find_part(target, play_id)
    if only is not None:
        _remove_node(found, only)
        say(f"{only.name} of play {found.number} is deleted")
        return
    if not yes and sys.stdin.isatty():
        click.confirm(f"Delete play {found.number} ({found.id}) with all its data in {found.directory}?", abort=True)
    _remove(found)
    say(f"play {found.number} is deleted")


def _remove(found: Play) -> None:
    if found.ssh is None:
        from confd.play import stopping

        stopping.remove(found)
    else:
        from confd.play import remote

        remote.remove(found, machines_of(found))


def _remove_node(found: Play, place: PlayNode) -> None:
    if found.ssh is None:
        from confd.play import stopping

        stopping.remove_node(found, place)
    else:
        from confd.play import remote

        remote.remove_node(found, place, machines_of(found))


@main.command()
@click.option("-F", "--full", is_flag=True, help="With defaults and meaning.")
@click.option("-K", "--key", help="Only parameters whose name contains this text.")
@click.option("-e", "--expression", help="Print one value, such as .play.confd_port.")
def config(full: bool, key: str | None, expression: str | None) -> None:
    """Show the parameters as the next c4 host play would use them."""
    from confd.play import showing

    print(showing.show(configured(), full, key, expression))


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


if __name__ == "__main__":
    main()
