"""How the demo talks: headings, the commands it runs, and how long they took."""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

WIDTH: Final = 80
_COLOURS: Final = sys.stdout.isatty() and "NO_COLOR" not in os.environ

_QUOTED: Final = re.compile(r"'[^']*'")


def head(text: str) -> None:
    """Begin a part."""
    print(f"\n{_styled(f'== {text} '.ljust(WIDTH, '='), '1;36')}", flush=True)


def echo(prompt: str, text: str, joint: str = "") -> None:
    """Show what is typed; ``joint`` ends each line that goes on below."""
    room = WIDTH - len(prompt) - len(joint) - 1
    # A parameter and its value stay on one line, as does what is quoted: a shell would take the break for part of it.
    kept = _QUOTED.sub(lambda found: found[0].replace(" ", "\0"), text).replace(": ", ":\0")
    lines = textwrap.wrap(kept, room, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
    shown = (_styled(line.replace("\0", " "), "1") for line in lines)
    print(f"{_styled(prompt, '1')} " + f"{joint}\n".join(shown), flush=True)


@contextmanager
def timed() -> Iterator[None]:
    """Show how long something took, below what it printed."""
    began = time.monotonic()
    yield
    print(_styled(f"({time.monotonic() - began:.2f} s)", "2"), flush=True)


def _styled(text: str, style: str) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if _COLOURS else text
