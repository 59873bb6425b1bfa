"""``exaconf``: look at the configuration, take in a file edited by hand, go back to an earlier revision."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from confd.cli.exaconf_file import file_of_node, note_commit, problems, public_sections, read_text, value_of
from confd.cli.exits import CommandError, Exit
from confd.cli.place import Place, connect
from confd.cli.plan_view import render_plan
from confd.cli.render import render_result
from confd.cli.running import Envelope, run_job
from confd.cli.table import table


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run a command line; return the exit status."""
    try:
        status = _exaconf.main(list(argv), "exaconf", standalone_mode=False)
    except CommandError as error:
        return _stop(error.message, error.status)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return Exit.USAGE
    except click.ClickException as error:
        return _stop(error.format_message(), Exit.USAGE)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    return status if isinstance(status, int) else Exit.OK


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def _exaconf() -> None:
    """Look at EXAConf and its revisions; change it from a file edited by hand.

    The file is <EXA_ROOT>/etc/EXAConf of this node. The cluster keeps the configuration itself: an edited
    file counts once it is committed. Single settings are changed by jobs, see confd_client help.
    """


@_exaconf.command("show")
@click.argument("section", required=False)
@click.option("--revision", "-r", type=int, help="Of an earlier revision.")
def _show(section: str | None, revision: int | None) -> int:
    """Print this node's EXAConf without secrets.

    All of it, or SECTION.
    SECTION is a header such as Global or 'DB : DB1', or a kind such as DB. A number means a revision.
    """
    if section is not None and section.isdecimal() and revision is None:
        revision = int(section)
        section = None
    if revision is None:
        sys.stdout.write(public_sections(read_text(file_of_node()), section))
        return Exit.OK
    params = {"revision": revision, **({"section": section} if section else {})}
    return _print(_run("exaconf_show", params))


@_exaconf.command("get")
@click.argument("section")
@click.argument("key")
def _get(section: str, key: str) -> int:
    """Print the value of KEY in this node's file.

    It is printed as it stands there, also a secret one.
    Subsections are written after their section: exaconf get 'DB : DB1/JDBC' Dir
    """
    print(value_of(read_text(file_of_node()), section, key))
    return Exit.OK


@_exaconf.command("validate")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def _validate(file: Path | None) -> int:
    """Check this node's EXAConf, or FILE.

    All problems are listed: checksum, syntax, values, and what does not fit together.
    """
    path = file or file_of_node()
    text = read_text(path)
    found = problems(text)
    for problem in found.errors:
        print(problem, file=sys.stderr)
    for warning in found.warnings:
        print(f"WARNING: {warning}")
    if found.errors:
        return Exit.FAILED
    print("OK")
    return Exit.OK


@_exaconf.command("commit")
@click.option("--verbose", "-v", is_flag=True, help="Show what changed in detail.")
def _commit(verbose: bool) -> int:
    """Take in the file that was edited by hand.

    Set 'Checksum = COMMIT' in its section [Global] first.
    """
    text = read_text(file_of_node())
    found = problems(text)
    if found.errors:
        raise CommandError("\n".join(found.errors), Exit.FAILED)
    diff = _planned_diff(text) if verbose else ""
    envelope = _run("exaconf_commit", {"text": text})
    if envelope.get("result_code"):
        return _print(envelope)
    sys.stdout.write(diff)
    status = _print_changes(envelope)
    if envelope.get("result_output"):
        _note_commit(envelope.get("result_revision"))
    return status


def _note_commit(revision: object) -> None:
    """Note on this node which revision was made by hand; tools that watch for manual changes read it."""
    path = file_of_node().with_name("EXAConf.commited.manually")
    try:
        note_commit(path, revision, datetime.now())  # noqa: DTZ005 - administrators read it in the time of their machine
    except OSError as error:
        print(f"WARNING: the commit is not noted in {path}: {error.strerror}")


@_exaconf.command("log")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many at most.")
def _log(limit: int) -> int:
    """List the latest revisions and what changed."""
    envelope = _run("exaconf_log", {"limit": limit})
    if envelope.get("result_code"):
        return _print(envelope)
    head = ("REVISION", "TIME (UTC)", "USER", "JOB", "CHANGED")
    rows = [(row["revision"], row["time"], row["user"], row["job_id"], _some(row["sections"]))
            for row in envelope.get("result_output") or []]  # fmt: skip
    sys.stdout.write(table(head, rows))
    return Exit.OK


@_exaconf.command("diff")
@click.argument("old", type=int, required=False)
@click.argument("new", type=int, required=False)
def _diff(old: int | None, new: int | None) -> int:
    """Show what changed between two revisions.

    From OLD to NEW, or to the newest. Without any, show what committing this node's edited file would change.
    """
    if old is None:
        sys.stdout.write(_planned_diff(read_text(file_of_node())))
        return Exit.OK
    envelope = _run("exaconf_diff", {"old": old, **({} if new is None else {"new": new})})
    if envelope.get("result_code"):
        return _print(envelope)
    sys.stdout.write(str(envelope.get("result_output") or ""))
    return Exit.OK


@_exaconf.command("rollback")
@click.argument("revision", type=int)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
def _rollback(revision: int, dry_run: bool) -> int:
    """Go back to the content of an earlier REVISION."""
    envelope = run_job(connect(Place()), "exaconf_rollback", {"revision": revision}, dry_run=dry_run)
    if envelope.get("result_code"):
        return _print(envelope)
    if dry_run:
        sys.stdout.write(render_plan(envelope["result_output"]))
        return Exit.OK
    return _print_changes(envelope)


@_exaconf.command("passwd-user")
@click.option("-n", "--name", required=True, help="User whose password changes.")
@click.option("-p", "--passwd", help="New password; asked for without it, because others see command lines.")
@click.option("-e", "--encode", is_flag=True, help="Hash the password also when it looks like a hash.")
def _passwd_user(name: str, passwd: str | None, encode: bool) -> int:
    """Set the password of a user."""
    password = passwd if passwd is not None else _new_password(name)
    return _print(_run("user_passwd", {"username": name, "password": password, "encode_passwd": encode}))


def _new_password(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password: str = click.prompt(f"New password of {name}", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _run(job: str, params: dict[str, Any]) -> Envelope:
    return run_job(connect(Place()), job, params)


def _planned_diff(text: str) -> str:
    envelope = run_job(connect(Place()), "exaconf_commit", {"text": text}, dry_run=True)
    if envelope.get("result_code"):
        raise CommandError(str(envelope.get("result_desc")), Exit.FAILED)
    return str(envelope["result_output"].get("diff") or "")


def _print_changes(envelope: Envelope) -> int:
    changed = envelope.get("result_output") or []
    if not changed:
        print("Nothing changed.")
        return Exit.OK
    print(f"Revision {envelope.get('result_revision', '?')}; changed: {', '.join(changed)}")
    for warning in envelope.get("result_warnings") or ():
        print(f"WARNING: {warning}")
    return Exit.OK


def _print(envelope: Envelope) -> int:
    shown = render_result(envelope)
    sys.stdout.write(shown.stdout)
    sys.stderr.write(shown.stderr)
    return Exit.OK if shown.ok else Exit.FAILED


def _some(sections: Sequence[str]) -> str:
    more = len(sections) - 4
    return ", ".join(sections[:4]) + (f" and {more} more" if more > 0 else "")


def _stop(message: str, status: Exit) -> int:
    sys.stdout.flush()
    print(f"exaconf: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
