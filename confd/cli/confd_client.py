"""``confd_client``: run jobs from a shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from confd.cli.exits import CommandError, Exit
from confd.cli.place import Place, connect
from confd.cli.words import Invocation, UsageError, parse_words

_VALUED: Final = frozenset({"--url", "--user", "--ca"})


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run a command line; return the exit status."""
    try:
        status = _dispatch(argv)
        sys.stdout.flush()
    except UsageError as error:
        return _stop(error.message, Exit.USAGE)
    except CommandError as error:
        return _stop(error.message, error.status)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read has seen enough (| head); the flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    return status


def _dispatch(argv: Sequence[str]) -> int:
    first = _first_word(argv)
    if first is not None and (own := _OWN.get(argv[first])):
        return own([*argv[first + 1 :], *argv[:first]])
    line = parse_words(argv, _read_file)
    if line.help:
        return _help(line, "-h" in argv or "--help" in argv)
    return _run_job(line)


def _first_word(argv: Sequence[str]) -> int | None:
    """Return where the first word stands that is neither an option nor the value of one."""
    skip = False
    for number, word in enumerate(argv):
        if skip or word.startswith("-"):
            skip = not skip and word in _VALUED | {"-c", "-a"}
        else:
            return number
    return None


def _run_job(line: Invocation) -> int:
    from confd.cli.running import run_job

    assert line.job is not None
    envelope = run_job(connect(place_of(line)), line.job, line.params, dry_run=line.dry_run)
    from confd.cli.render import render_result

    shown = render_result(envelope, as_json=line.json)
    if shown.ok and line.dry_run and not line.json:
        from confd.cli.plan_view import render_plan

        sys.stdout.write(render_plan(envelope["result_output"]))
    else:
        sys.stdout.write(shown.stdout)
    sys.stderr.write(shown.stderr)
    return Exit.OK if shown.ok else Exit.FAILED


def place_of(line: Invocation) -> Place:
    """Return the daemon a command line means."""
    return Place(line.url, line.user, line.ca, line.insecure)


def _help(line: Invocation, usage: bool) -> int:
    from confd.cli import manual

    if line.job is not None:
        sys.stdout.write(manual.job_page(line.job, place_of(line), as_json=line.json))
    elif usage:
        sys.stdout.write(manual.USAGE)
    else:
        sys.stdout.write(manual.all_jobs(place_of(line), as_json=line.json))
    return Exit.OK


def _job(argv: Sequence[str]) -> int:
    from confd.cli.job_view import run_view

    return run_view(argv)


def _completion(argv: Sequence[str]) -> int:
    from confd.cli.candidates import script

    sys.stdout.write(script(argv))
    return Exit.OK


def _complete(argv: Sequence[str]) -> int:
    from confd.cli.candidates import answer

    sys.stdout.write(answer(argv))
    return Exit.OK


_OWN: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "job": _job,
    "completion": _completion,
    "_complete": _complete,
}


def _read_file(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


def _stop(message: str, status: Exit) -> int:
    sys.stdout.flush()
    print(message if message.startswith(("\n", "Usage:")) else f"confd_client: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
