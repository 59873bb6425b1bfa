"""Where an instance's data is made, out of sight until it is complete: long work, one at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from confd.cluster.exchanging import exchange
from confd.model.errors import NodeError
from confd.services.database.engine.data import remove, sync_directory
from confd.services.database.engine.layout import Account, DataPlace, make_directory
from confd.services.database.keeper.processes import clear, send_group, start_time

_LAST_LINES: Final = 12
_PIPE: Final = 1 << 20


def interrupt(place: DataPlace) -> None:
    """End a program that makes data here; who waits for it sees it fail."""
    try:
        child = json.loads(place.busy.read_text())[2]
    except (OSError, ValueError):
        return
    if child and start_time(child) is not None:
        send_group(child, signal.SIGKILL)


def recover(place: DataPlace) -> None:
    """Put kept data back where a crash came between taking their name away and giving it to the new ones."""
    if place.data.exists() or not place.replaced.exists():
        return
    with place.busy.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if not place.data.exists():
            place.replaced.rename(place.data)


class Workshop:
    """Makes a data directory under an unfinished name; one at a time, also across a crash of the daemon.

    The lock is inherited by the programs it runs: one that outlives the daemon keeps it and is ended first.
    """

    def __init__(self, place: DataPlace, account: Account) -> None:
        self.place, self.account = place, account
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock; leftovers of earlier work are gone inside."""
        with self.place.busy.open("a+") as self._lock:
            self._end_leftover(self._lock)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._note(0)
            self.clear()
            yield

    def clear(self) -> None:
        """Remove what unfinished work left."""
        remove(self.place.unfinished)
        remove(self.place.chain)
        for dead in self.place.segment.glob("pgdata.*.dead"):
            shutil.rmtree(dead, ignore_errors=True)

    def run(
        self,
        argv: list[str],
        stdin: str = "",
        env: dict[str, str] | None = None,
        place: Path | None = None,
        report: Callable[[str], str] = str,
    ) -> str:
        """Run a program of the installation as the server's user; return what it printed.

        :param place: where it works; in the unfinished data when left out.
        :param report: adds to what it printed why it failed.
        :raises NodeError: it failed; with the last lines it printed.
        """
        process = self._spawn(argv, env, place or self.place.unfinished)
        return self._ended(argv, process, process.communicate(stdin.encode())[0], report)

    def feed(self, argv: list[str], pieces: Iterable[bytes]) -> None:
        """Run a program with pieces as its input; it is killed when they end in an error.

        :raises NodeError: it failed; with the last lines it printed.
        """
        process = self._spawn(argv)
        assert process.stdin
        with suppress(OSError):
            fcntl.fcntl(process.stdin, fcntl.F_SETPIPE_SZ, _PIPE)
        try:
            for piece in pieces:
                process.stdin.write(piece)
        except BrokenPipeError:
            # It ended first, and says why.
            pass
        except BaseException:
            self.kill()
            process.wait()
            raise
        self._ended(argv, process, process.communicate()[0])

    def kill(self) -> None:
        """End the program that runs now, if any; used from another thread."""
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _spawn(
        self, argv: list[str], env: dict[str, str] | None = None, place: Path | None = None
    ) -> subprocess.Popen[bytes]:
        assert self._lock is not None
        root = os.getuid() == 0
        process = self._process = subprocess.Popen(
            argv,
            cwd=place or self.place.segment,
            env={"LC_ALL": "C.UTF-8", "PATH": os.defpath} | (env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[self._lock.fileno()],
            umask=0o077,
            user=self.account.uid if root else None,
            group=self.account.gid if root else None,
            extra_groups=[] if root else None,
        )
        self._note(process.pid)
        return process

    @staticmethod
    def _ended(
        argv: list[str], process: subprocess.Popen[bytes], output: bytes, report: Callable[[str], str] = str
    ) -> str:
        printed = output.decode(errors="replace")
        if process.returncode:
            tail = "\n".join(report(printed).strip().splitlines()[-_LAST_LINES:])
            how = f"was ended by signal {-process.returncode}" if process.returncode < 0 else "failed"
            raise NodeError("\n".join(filter(None, [f"{Path(argv[0]).name} {how}{':' if tail else ''}", tail])))
        return printed

    def make(self) -> Path:
        """Make the empty unfinished directory."""
        make_directory(self.place.unfinished, self.account)
        return self.place.unfinished

    def take(self) -> Path:
        """Take the present data for work on it; it is unfinished until then."""
        self._vacate()
        self.place.data.rename(self.place.unfinished)
        sync_directory(self.place.segment)
        return self.place.unfinished

    def finish(self, *, keep: bool = False) -> None:
        """Give the data its name, in place of what was there; ``keep``: that stays as ``replaced``."""
        self._vacate()
        if keep:
            remove(self.place.replaced)
            sync_directory(self.place.unfinished)
            self.place.data.rename(self.place.replaced)
        self.exchange()
        remove(self.place.unfinished)

    def exchange(self) -> None:
        """Give the data its name; what was there has the unfinished name then, at no moment there is neither."""
        sync_directory(self.place.unfinished)
        self._vacate()
        try:
            exchange(self.place.unfinished, self.place.data)
        except OSError:
            # There were none, or this file system cannot exchange names.
            remove(self.place.data)
            self.place.unfinished.rename(self.place.data)
        sync_directory(self.place.segment)

    def stop_servers(self) -> None:
        """Stop servers that a killed program started on unfinished data; they would hold the lock for ever."""
        for directory in (self.place.unfinished, self.place.aside / "data"):
            if directory.exists():
                clear(directory, patience=2.0)

    def _vacate(self) -> None:
        """End what still works in the present data: a server whose keeper was killed while it was shutting down."""
        if self.place.data.exists():
            clear(self.place.data)

    def take_back(self) -> None:
        """Put the data back that were replaced and kept."""
        remove(self.place.data)
        self.place.replaced.rename(self.place.data)
        sync_directory(self.place.segment)

    def _note(self, child: int) -> None:
        assert self._lock is not None
        self._lock.truncate(0)
        self._lock.write(json.dumps([os.getpid(), start_time(os.getpid()), child]))
        self._lock.flush()

    def _end_leftover(self, lock: IO[str]) -> None:
        lock.seek(0)
        try:
            daemon, started, child = json.loads(lock.read())
        except ValueError:
            return
        if child and start_time(daemon) != started and start_time(child) is not None:
            send_group(child, signal.SIGKILL)
            self.stop_servers()
