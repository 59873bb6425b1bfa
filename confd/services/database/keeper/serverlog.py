"""The log of a database server, written by its keeper; standard library only.

The server writes into a pipe. Its entries (a line and the indented ones after it) are written to the log with the
passwords in them replaced by ``***``: statements with ``PASSWORD '...'`` and connection texts with ``password=``.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

_LIMIT = 16 << 20
_KEPT = 10
_PIPE = 1 << 20
_CHUNK = 1 << 18

_GAP = r"(?:\s|/\*.*?\*/|--[^\n]*\n)*"
_LITERAL = r"""(?:[eE]'(?:[^'\\]|\\.|'')*'|(?:[uU]&)?'(?:[^']|'')*')"""
_PASSWORD = re.compile(
    rf"""(?P<before>\bPASSWD\b|\bPASSWORD\b){_GAP}=?{_GAP}(?:
        (?P<nested>'{{2,}})(?=[^\s',;)])[^']*'*       # inside of another literal
        | {_LITERAL}(?:\s*\n\s*'(?:[^']|'')*')*       # a literal, also in pieces
        | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$             # quoted by dollars
        | (?<==)[^\s'";,)]+                           # a word of a connection text
    )""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def without_passwords(text: str) -> str:
    """Return log entries with the passwords in them hidden."""
    return _PASSWORD.sub(lambda found: f"{found['before']} '***'", text)


class ServerLog:
    """Takes what a server prints and writes it to a file, whose older pieces end in ``.1.log`` to ``.10.log``.

    ``sink`` is for the server, ``source`` becomes readable when there is something to ``take``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.source, self.sink = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.source, False)
        # Servers wait when the pipe is full; a refused size only makes that likelier.
        try:
            fcntl.fcntl(self.sink, fcntl.F_SETPIPE_SZ, _PIPE)
        except OSError:
            pass
        self._rest = b""

    def take(self) -> None:
        """Write what is there now; an entry that came in half waits for its other half."""
        while True:
            try:
                chunk = os.read(self.source, _CHUNK)
            except BlockingIOError:
                break
            self._rest += chunk
            if len(self._rest) > _LIMIT:
                self._write(b"")
        cut = self._rest.rfind(b"\n") + 1
        self._write(self._rest[cut:])

    def _write(self, rest: bytes) -> None:
        whole, self._rest = self._rest[: len(self._rest) - len(rest)], rest
        if not whole:
            return
        text = without_passwords(whole.decode(errors="surrogateescape"))
        try:
            self._rotate()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            # A full disk costs entries, not the server.
            return
        with os.fdopen(descriptor, "wb") as file:
            try:
                self._own(descriptor)
                file.write(text.encode(errors="surrogateescape"))
                file.flush()
            except OSError:
                return

    def _own(self, descriptor: int) -> None:
        if os.getuid() == 0:
            directory = self._path.parent.stat()
            os.fchown(descriptor, directory.st_uid, directory.st_gid)

    def _rotate(self) -> None:
        if not self._path.exists() or self._path.stat().st_size < _LIMIT:
            return
        for number in range(_KEPT - 1, 0, -1):
            older = self._path.with_suffix(f".{number}.log")
            if older.exists():
                older.replace(self._path.with_suffix(f".{number + 1}.log"))
        self._path.replace(self._path.with_suffix(".1.log"))
