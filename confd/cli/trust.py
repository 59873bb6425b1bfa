"""Which certificate of a remote cluster is trusted: pinned when first seen, as ssh does with host keys.

Out of the box a cluster's certificate is self-signed, so a check against authorities alone would teach
everybody to switch checks off.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from confd.cli.exits import Unreachable

_HINT: Final = "give --ca FILE with its certificate or authority, or --insecure to go without a check"


def fingerprint(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate as db_info shows it: 64 upper case hexadecimal digits."""
    return hashlib.sha256(certificate).hexdigest().upper()


def pins_file() -> Path:
    """Return the file with the certificates this user trusts."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "openconfd" / "known_clusters"


class Pins:
    """The certificates trusted so far, ``host:port fingerprint`` per line.

    :param ask: asks a person yes or no; None when nobody is there to ask.
    """

    def __init__(self, file: Path, ask: Callable[[str], bool] | None) -> None:
        self._file, self._ask = file, ask

    def known(self, place: str) -> str | None:
        """Return the fingerprint trusted for a place."""
        try:
            lines = self._file.read_text().splitlines()
        except OSError:
            return None
        pins = dict(line.split(maxsplit=1) for line in lines if len(line.split()) == 2)
        return pins.get(place)

    def check(self, place: str, certificate: bytes) -> None:
        """Accept the pinned certificate; a new one only when a person says so.

        :raises Unreachable: another certificate than the pinned one, or nobody has confirmed it.
        """
        seen, pinned = fingerprint(certificate), self.known(place)
        if seen == pinned:
            return
        if pinned is not None:
            raise Unreachable(
                f"{place} shows another certificate than before: {seen}, trusted is {pinned}. If it was replaced "
                f"on purpose (cert_update), remove the line of {place} from {self._file}; otherwise do not log in."
            )
        question = f"{place} shows a certificate that no authority vouches for.\nIts SHA-256 is {seen}."
        if self._ask is None:
            raise Unreachable(f"{question}\nConfirm it once in a terminal; or {_HINT}")
        if not self._ask(f"{question}\nTrust it from now on?"):
            raise Unreachable(f"not trusted; {_HINT}")
        self._add(place, seen)

    def _add(self, place: str, seen: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._file.open("a") as file:
            file.write(f"{place} {seen}\n")


def person() -> Callable[[str], bool] | None:
    """Return how to ask the person at the terminal, None when there is none."""
    return _ask if sys.stdin.isatty() and sys.stderr.isatty() else None


def _ask(question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
