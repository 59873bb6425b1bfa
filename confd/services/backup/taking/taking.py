"""Takes one backup: the server's stream, compressed and hashed on its way to the volume.

The status is written last. Whatever ends this earlier, nothing that looks like a backup is left.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final

from backports import zstd

from confd.model.errors import Canceled, ConfDError, Conflict, NodeError, StorageFailed
from confd.services.backup.backup import Content, Status
from confd.services.backup.catalogue import read_file, write_status
from confd.services.backup.order import BackupOrder, Progress
from confd.services.backup.taking.source import Source
from confd.services.backup.taking.tar import TarWatch
from confd.services.backup.target import BackupTarget, Writer

MANIFEST: Final = "backup_manifest"
LEVEL: Final = 1
"""Of compression: what costs less time than the disk it spares."""

_PIECE: Final = 1 << 20
_WAITING: Final = 16
_LONGEST_MANIFEST: Final = 1 << 31
_LAST_LINES: Final = 8


class Ticker:
    """What the work tells about itself while it goes on, and how it is told to stop; used by several threads."""

    def __init__(self) -> None:
        self.done = self.total = self.stored = 0
        self.stopped: str = ""
        self._stop: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def stop(self, reason: str) -> None:
        """End the work soon; the reason becomes the error."""
        with self._lock:
            self.stopped = self.stopped or reason
            self._stop()

    def on_stop(self, act: Callable[[], None]) -> None:
        """Do something when the work is to stop, at once if it is already."""
        with self._lock:
            self._stop = act
            if self.stopped:
                act()

    def commit(self, act: Callable[[], None]) -> None:
        """Do the last step, unless the work is to stop; while it is done, ``stop`` waits.

        :raises Canceled: with the reason.
        """
        with self._lock:
            self.check()
            act()

    def check(self) -> None:
        """Raise when the work is to stop.

        :raises Canceled: with the reason.
        """
        if self.stopped:
            raise Canceled(self.stopped)

    def progress(self, name: str) -> Progress:
        """Return how far the work is."""
        return Progress(name=name, done=self.done, total=self.total, stored=self.stored)


def take(
    order: BackupOrder, source: Source, target: BackupTarget, ticker: Ticker, clock: Callable[[], float] = time.time
) -> Status:
    """Take a backup and return what it became.

    :raises ConfDError: it failed; nothing of it is left on the volume.
    """
    location = order.location
    try:
        _check_base(target, order)
        base = read_file(target, order.base.metadata, _LONGEST_MANIFEST) if order.base else None
        data, manifest = _save(order, source, target, ticker, base)
        with target.create(location.metadata) as writer:
            writer.write(manifest)
            ticker.check()
            writer.commit()
        status = Status(
            database=location.database,
            active_nodes=source.active_nodes,
            postgresql=source.version,
            generation=source.generation,
            system_id=source.system_id,
            timeline=source.timeline,
            base=order.base.path if order.base else None,
            began=order.began,
            ended=clock(),
            expires=order.expires,
            data=data,
            manifest=Content(len(manifest), hashlib.sha256(manifest).hexdigest(), len(manifest)),
        )
        _check_base(target, order)
        write_status(target, location, status)
    except BaseException:
        with suppress(ConfDError):
            clean(target, order)
        raise
    return status


def clean(target: BackupTarget, order: BackupOrder) -> None:
    """Remove what is left of a backup that did not become one."""
    prefix = order.location.directory
    target.delete([file.path for file in target.files(prefix)])
    target.sweep()


def _check_base(target: BackupTarget, order: BackupOrder) -> None:
    """Refuse to go on with a backup that could never be restored.

    :raises Conflict: what it builds on was deleted after it had been chosen.
    """
    base = order.base
    if base is not None and not any(file.path.startswith(base.status()) for file in target.files(base.directory)):
        raise Conflict(f"{base.path}, on which the backup builds, was deleted meanwhile; take the backup again")


def _save(
    order: BackupOrder, source: Source, target: BackupTarget, ticker: Ticker, base: bytes | None
) -> tuple[Content, bytes]:
    sizes = source.sizes()
    ticker.total = sum(sizes.values())

    def passed(name: str) -> None:
        place, _, file = name.removeprefix("./").rpartition("/")
        ticker.done += sizes.pop(f"{place}/{file.removeprefix('INCREMENTAL.')}".lstrip("/"), 0)

    watch = TarWatch(MANIFEST, passed)
    with source.wal_kept(), target.create(order.location.path) as writer, _stream(source, ticker, base) as stream:
        sink = _Sink(writer, ticker)
        plain = 0
        compressor = zstd.ZstdCompressor(level=LEVEL)
        with sink:
            while piece := stream.read(_PIECE):
                ticker.check()
                plain += len(piece)
                watch.feed(piece)
                sink.put(compressor.compress(piece))
            sink.put(compressor.flush())
        ticker.check()
        stream.end()
        if not (watch.found and watch.ended):
            raise NodeError("the server's backup ended too early; the log of the database says why")
        writer.commit()
        ticker.done = ticker.total
    return Content(ticker.stored, sink.sha256.hexdigest(), plain), bytes(watch.content)


class _Sink:
    """Hashes and writes in a thread of its own, so that the volume and the compression do not wait for each other."""

    def __init__(self, writer: Writer, ticker: Ticker) -> None:
        self.sha256 = hashlib.sha256()
        self._writer, self._ticker = writer, ticker
        self._queue: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="backup-sink")

    def put(self, data: bytes) -> None:
        """Hand data over; raises what went wrong with earlier data."""
        if self._error:
            raise self._error
        if data:
            self._queue.put(data)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error and error is None:
            raise self._error

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._error is None:
                self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            self.sha256.update(data)
            self._ticker.stored += len(data)
        except ConfDError as error:
            self._error = error
        except Exception as error:
            self._error = StorageFailed(f"the volume took no more: {error!r}")


class _Stream:
    """The running pg_basebackup."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        assert process.stdout
        self._process, self._errors, self._out = process, errors, process.stdout

    def read(self, size: int) -> bytes:
        """Return up to so many bytes, empty at the end."""
        return os.read(self._out.fileno(), size)

    def end(self) -> None:
        """Check that it ended well.

        :raises NodeError: what it said.
        """
        if self._process.wait():
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            raise NodeError("pg_basebackup failed: " + "\n".join(lines[-_LAST_LINES:]))


@contextmanager
def _stream(source: Source, ticker: Ticker, base: bytes | None) -> Iterator[_Stream]:
    with tempfile.TemporaryFile() as errors, source.base_file(base) as base_file:
        process = subprocess.Popen(
            source.command(base_file),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            start_new_session=True,
            cwd="/",
            env={"LC_ALL": "C.UTF-8", "PATH": os.defpath},
            user=source.uid if os.getuid() == 0 else None,
            group=source.gid if os.getuid() == 0 else None,
            extra_groups=[] if os.getuid() == 0 else None,
        )
        assert process.stdout
        ticker.on_stop(lambda: _kill(process))
        with suppress(OSError):
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIECE)
        try:
            yield _Stream(process, errors)
        finally:
            ticker.on_stop(lambda: None)
            _kill(process)
            process.stdout.close()
            process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    # It is not waited for before this: the number is still its own.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
