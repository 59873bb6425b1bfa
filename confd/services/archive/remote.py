"""The shelf of another node, over its node port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import msgspec

from confd.cluster.transport.stream_client import ClientChannel
from confd.model.errors import NodeOffline, error_from
from confd.services.archive.index import Index, Upload
from confd.services.archive.layout import Layout
from confd.services.archive.shelf import Copy, Look
from confd.services.archive.stripes import Data

R = TypeVar("R")

STREAM: Final = "archive"
_KEPT: Final = 2
_AWAY_SECONDS: Final = 3.0


class RemoteShelf:
    """The shelf of a node that is reached over streams; a few of them are kept for the next calls.

    :param connect: opens a stream to the node.
    """

    def __init__(self, layout: Layout, connect: Callable[[], ClientChannel]) -> None:
        self._layout, self._connect = msgspec.to_builtins(layout, str_keys=True), connect
        self._idle: list[ClientChannel] = []
        self._lock = threading.Lock()
        self._away: tuple[float, NodeOffline] | None = None

    def look(self) -> Look:
        """Return what is there."""
        return self._call(lambda channel: ask(channel, Look, "look"))

    def begin(self, upload: Upload) -> RemoteLease:
        """Begin an upload; its stream belongs to it until it is closed."""
        channel = self._call(lambda channel: _begun(channel, upload), keep=False)
        return RemoteLease(channel, self._keep)

    def table(self, copy: Copy) -> bytes:
        """Return the table of a copy."""
        return self._call(lambda channel: ask(channel, bytes, "table", copy))

    def read(self, copy: Copy, offset: int) -> RemoteSource:
        """Read a copy from an offset."""
        return RemoteSource(self._call(lambda channel: _reading(channel, copy, offset), keep=False), self._keep)

    def suspect(self, copy: Copy, index: Index, offset: int) -> None:
        """Have the node look at a stripe again."""
        self._call(lambda channel: _tell(channel, "suspect", copy, index, offset))

    def remove(self, files: Iterable[str]) -> None:
        """Delete files for ever."""
        self._tell_files("remove", files)

    def clear(self, uploads: Iterable[str]) -> None:
        """Remove what is left of dead uploads."""
        self._tell_files("clear", uploads)

    def forget(self, files: Iterable[str]) -> None:
        """Drop tombstones."""
        self._tell_files("forget", files)

    def close(self) -> None:
        """Close the streams that are kept."""
        while (channel := self._kept()) is not None:
            channel.close()

    def _tell_files(self, call: str, files: Iterable[str]) -> None:
        named = sorted(files)
        self._call(lambda channel: _tell(channel, call, named))

    def _call(self, act: Callable[[ClientChannel], R], *, keep: bool = True) -> R:
        """Do something on a stream; one that broke while it was kept is replaced by a new one, once."""
        kept = self._kept()
        if kept is not None:
            try:
                return self._act(kept, act, keep=keep)
            except NodeOffline:
                pass
        return self._act(self._opened(), act, keep=keep)

    def _act(self, channel: ClientChannel, act: Callable[[ClientChannel], R], *, keep: bool) -> R:
        try:
            result = act(channel)
        except BaseException:
            channel.close()
            raise
        if keep:
            self._keep(channel)
        return result

    def _opened(self) -> ClientChannel:
        # A node that is away is not waited for by every single call.
        if self._away is not None and time.monotonic() < self._away[0]:
            raise self._away[1]
        try:
            channel = self._connect()
        except NodeOffline as error:
            self._away = time.monotonic() + _AWAY_SECONDS, error
            raise
        self._away = None
        channel.send(self._layout)
        return channel

    def _kept(self) -> ClientChannel | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, channel: ClientChannel) -> None:
        with self._lock:
            if len(self._idle) < _KEPT:
                self._idle.append(channel)
                return
        channel.close()


class RemoteLease:
    """The right to write one upload on another node."""

    def __init__(self, channel: ClientChannel, done: Callable[[ClientChannel], None]) -> None:
        self._channel: ClientChannel | None = channel
        self._done = done

    def free(self) -> dict[int, int]:
        """Return the bytes left by share."""
        return ask(self._stream(), dict[int, int], "free")

    def open(self, share: int, number: int) -> None:
        """Begin a copy of a part."""
        _tell(self._stream(), "open", share, number)

    def reserve(self, size: int) -> int:
        """Make room."""
        return ask(self._stream(), int, "reserve", size)

    def append(self, data: Data) -> None:
        """Write the next bytes; an error shows at the next call."""
        self._stream().send(["append"], data)

    def seal(self, table: bytes) -> None:
        """Make the open copy durable."""
        _tell(self._stream(), "seal", data=table)

    def publish(self, index: Index) -> None:
        """Make the file exist there."""
        _tell(self._stream(), "publish", index)

    def close(self) -> None:
        """End; the other node gives back what was not published, at the latest when the stream breaks."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        try:
            _tell(channel, "close")
        except NodeOffline:
            channel.close()
        else:
            self._done(channel)

    def _stream(self) -> ClientChannel:
        if self._channel is None:
            raise NodeOffline("this upload is closed")
        return self._channel


class RemoteSource:
    """A copy on another node that is being read."""

    def __init__(self, channel: ClientChannel, done: Callable[[ClientChannel], None]) -> None:
        self._channel, self._done = channel, done
        self._ready = b""
        self._open = True

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, empty at the end."""
        if not self._ready and self._open:
            _, self._ready = self._channel.receive()
            if not self._ready:
                self._open = False
                self._done(self._channel)
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def close(self) -> None:
        """End reading; a copy that was not read to its end takes its stream with it."""
        if self._open:
            self._open = False
            self._channel.close()


def ask(channel: ClientChannel, kind: type[R], call: str, *arguments: Any) -> R:
    """Make a call and return its result.

    :raises ConfDError: what the shelf raised.
    """
    return msgspec.msgpack.decode(_tell(channel, call, *arguments), type=kind)


def _tell(channel: ClientChannel, call: str, *arguments: Any, data: bytes = b"") -> bytes:
    channel.send([call, *arguments], data)
    head, result = channel.receive()
    _check(head)
    return result


def _begun(channel: ClientChannel, upload: Upload) -> ClientChannel:
    _tell(channel, "begin", upload)
    return channel


def _reading(channel: ClientChannel, copy: Copy, offset: int) -> ClientChannel:
    channel.send(["read", copy, offset])
    head, _ = channel.receive()
    _check(head)
    return channel


def _check(head: list[Any]) -> None:
    if head[0]:
        raise error_from(head[0], head[1])
