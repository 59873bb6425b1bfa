"""A node's shelf, as it answers streams of other nodes.

A message is ``[call, argument, ...]`` with the data that the call takes; the answer ``[0, result]`` or ``[code, text]``
of an error. ``append`` is not answered: its error is the answer of the next call. After ``read`` the copy follows in
messages of data, the last one empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from confd.cluster.host import Host
from confd.cluster.transport.streams import Channel, stream
from confd.model.errors import ConfDError, Internal, StorageError
from confd.services.archive.index import Index, Upload
from confd.services.archive.layout import Layout
from confd.services.archive.opening import local_shelf
from confd.services.archive.remote import STREAM
from confd.services.archive.shelf import Copy, Lease, Shelf

log = structlog.get_logger("archive")

_PIECE: Final = 1 << 20


@stream(STREAM)
def serve(host: Host, channel: Channel) -> None:
    """Let another node use this node's shelf; its locks are held as long as the stream."""
    head, _ = channel.receive()
    shelf = local_shelf(host.node, host.root, msgspec.convert(head, Layout, str_keys=True))
    session = _Session(shelf, channel)
    try:
        session.run()
    finally:
        session.close()


class _Session:
    """One conversation: calls on the shelf, and on the one upload that it may write."""

    def __init__(self, shelf: Shelf, channel: Channel) -> None:
        self._shelf, self._channel = shelf, channel
        self._lease: Lease | None = None
        self._late: ConfDError | None = None
        self._calls: dict[str, Callable[..., Any]] = {
            "look": shelf.look,
            "begin": self._begin,
            "table": lambda copy: shelf.table(msgspec.convert(copy, Copy)),
            "suspect": lambda copy, index, offset: shelf.suspect(
                msgspec.convert(copy, Copy), msgspec.convert(index, Index), offset
            ),
            "remove": shelf.remove,
            "clear": shelf.clear,
            "forget": shelf.forget,
            "free": lambda: self._writing().free(),
            "open": lambda share, number: self._writing().open(share, number),
            "reserve": lambda size: self._writing().reserve(size),
            "seal": lambda table: self._writing().seal(table),
            "publish": lambda index: self._writing().publish(msgspec.convert(index, Index)),
            "close": self.close,
        }

    def run(self) -> None:
        """Answer calls until the other side is gone."""
        while True:
            (call, *arguments), data = self._channel.receive()
            if call == "append":
                self._append(data)
            elif call == "read":
                self._read(*arguments)
            else:
                self._answer(call, arguments, data)

    def close(self) -> None:
        """Give up what was not published."""
        lease, self._lease, self._late = self._lease, None, None
        if lease is not None:
            lease.close()

    def _answer(self, call: str, arguments: list[Any], data: bytes) -> None:
        try:
            if self._late is not None and call != "close":
                raise self._late
            result = self._calls[call](*arguments, *([data] if call == "seal" else []))
        except ConfDError as error:
            self._channel.send([error.code, error.message])
        except Exception as error:
            log.exception("shelf_failed", call=call)
            self._channel.send([Internal.code, f"{call} failed: {type(error).__name__}: {error}"])
        else:
            self._channel.send([0], msgspec.msgpack.encode(result))

    def _append(self, data: bytes) -> None:
        try:
            if self._late is None:
                self._writing().append(data)
        except ConfDError as error:
            self._late = error

    def _read(self, copy: Any, offset: int) -> None:
        try:
            source = self._shelf.read(msgspec.convert(copy, Copy), offset)
        except StorageError as error:
            self._channel.send([error.code, error.message])
            return
        self._channel.send([0])
        try:
            # A disk that fails in the middle ends the copy early, and the reader takes another one.
            while data := _piece(source.read):
                self._channel.send([], data)
        finally:
            source.close()
        self._channel.send([])

    def _begin(self, upload: Any) -> None:
        self.close()
        self._lease = self._shelf.begin(msgspec.convert(upload, Upload))

    def _writing(self) -> Lease:
        if self._lease is None:
            raise Internal("no upload was begun on this stream")
        return self._lease


def _piece(read: Callable[[int], bytes]) -> bytes:
    try:
        return read(_PIECE)
    except OSError as error:
        log.warning("copy_not_read", error=str(error))
        return b""
