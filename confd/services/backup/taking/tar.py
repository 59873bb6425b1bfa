"""Watches a tar go by: which files are in it, and the content of one of them. Pure."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import Final

_BLOCK: Final = 512


class TarWatch:
    """Fed with a tar in pieces of any size; nothing of it is kept but the files wanted.

    :param wanted: name of the file to keep.
    :param passed: called with the name of every file whose header went by.
    """

    def __init__(self, wanted: str, passed: Callable[[str], None]) -> None:
        self._wanted, self._passed = wanted, passed
        self._header = bytearray()
        self._skip = self._keep = 0
        self.content = bytearray()
        self.found = self.ended = False

    def feed(self, data: bytes) -> None:
        """Take the next piece.

        :raises tarfile.TarError: it is no tar.
        """
        at, length = 0, len(data)
        while at < length:
            if self._skip:
                step = min(self._skip, length - at)
                if self._keep:
                    self.content += data[at : at + min(step, self._keep)]
                    self._keep -= min(step, self._keep)
                self._skip -= step
                at += step
            else:
                step = min(_BLOCK - len(self._header), length - at)
                self._header += data[at : at + step]
                at += step
                if len(self._header) == _BLOCK:
                    self._read_header()

    def _read_header(self) -> None:
        header, self._header = bytes(self._header), bytearray()
        if not any(header):
            self.ended = True
            return
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        self._skip = -(-member.size // _BLOCK) * _BLOCK if member.isreg() else 0
        if member.name == self._wanted:
            self.found, self._keep = True, member.size
        self._passed(member.name)
