"""The keeper: parent of one database server, so that the server outlives the daemon and can still be stopped.

``python -m confd.services.database.keeper.keeper <state directory> <socket> <data directory> <log file>``

It goes into the background, holds a lock on its state directory (a second one does not start), stops a server
that an earlier keeper left behind, and answers one JSON line per connection on its socket:

    {"do": "status"}
    {"do": "start", "argv": [...], "env": {...}, "uid": 998, "gid": 998,
     "writable": true, "lease": hold}                                      answered when ready or failed
    {"do": "stop", "mode": "fast" | "immediate", "patience": seconds}      answered when the server is gone
    {"do": "leave", ...}                                                   the same, then the keeper ends
    {"do": "hold", "lease": hold, "until": deadline, "shorten": false}     bind the server to the node's lease
    {"do": "release"}                                                      bind it to none
    {"do": "elevate", "lease": hold}                                       it is about to become writable

What the server prints goes through the keeper into the log, which thereby never holds a password.

A server that was ready and dies is started again in place, at growing intervals, up to ten times in a row;
one that never became ready is not. When the keeper itself dies, the kernel tells the server to stop (fast): a
server without keeper is one that nobody can fence. SIGTERM stops the server and ends the keeper.

A keeper that was given a deadline stops a writable server at once when it passes, and stays, so that its status tells
why. It makes a server writable only by an order that was given under the hold of the lease that it knows.

Standard library only and few modules: there is one of these per instance.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from confd.services.background.process import Background, reply
from confd.services.database.keeper.deadline import Deadline
from confd.services.database.keeper.processes import clear, postmaster_status, processes_in, send, start_time
from confd.services.database.keeper.serverlog import ServerLog
from confd.services.database.keeper.spawning import adopt_orphans, become_server

_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_LOOK_WHILE_STARTING = 0.01
_LONGEST_PAUSE = 5.0
_PROVEN = 5.0
_MOST_RESTARTS = 10
_LAPSE_PATIENCE = 0.4
_REFUSED = "the order was given under another lease of the node than it holds now, or its lease has run out"


class Keeper:
    """State and event loop of one keeper."""

    def __init__(self, listener: socket.socket, data: Path, log: Path) -> None:
        self._listener, self._data, self._log = listener, data, ServerLog(log)
        self._order: dict[str, Any] | None = None
        self._server = 0
        self._ready = self._was_ready = self._leaving = self._forced = False
        self._writable = self._lapsed = False
        self._deadline = Deadline()
        self._restarts = self._failures = 0
        self._exit: int | None = None
        self._began = 0.0
        self._restart_at: float | None = None
        self._force_at: float | None = None
        self._starters: list[socket.socket] = []
        self._stoppers: list[socket.socket] = []
        self._woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop("fast", 60.0, leave=True))

    def run(self) -> None:
        """Serve until told to leave and the server is gone."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        poll.register(self._log.source, select.POLLIN)
        poll.register(self._deadline.timer, select.POLLIN)
        while not (self._leaving and not self._server):
            ready = {fd for fd, _ in poll.poll(self._pause())}
            if self._woken in ready:
                os.read(self._woken, 4096)
            self._deadline.hush()
            # Before anything is served: who slept through the deadline must not hear of a later one first.
            self._check_deadline()
            if self._listener.fileno() in ready:
                self._serve()
            self._log.take()
            self._look()
        self._log.take()
        self._answer(self._stoppers)

    def _pause(self) -> int | None:
        if self._server and not self._ready:
            return int(_LOOK_WHILE_STARTING * 1000)
        due = [at for at in (self._restart_at, self._force_at) if at is not None]
        return max(0, int((min(due) - time.monotonic()) * 1000) + 1) if due else None

    def _check_deadline(self) -> None:
        runs = self._server or self._restart_at is not None
        if self._writable and runs and self._deadline.passed and not self._lapsed:
            self._lapsed = True
            self._stop("immediate", _LAPSE_PATIENCE, leave=False)
            self._forced = True

    def _look(self) -> None:
        self._reap()
        if self._server and not self._ready:
            self._ready = postmaster_status(self._data, self._server) == "ready"
            self._was_ready |= self._ready
        if self._ready or not self._server:
            self._answer(self._starters)
        now = time.monotonic()
        if self._restart_at is not None and now >= self._restart_at:
            self._restart_at = None
            self._restarts += 1
            self._spawn()
        if self._force_at is not None and now >= self._force_at:
            self._force()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._server:
                self._ended(os.waitstatus_to_exitcode(status))

    def _ended(self, status: int) -> None:
        self._server, self._exit, self._force_at = 0, status, None
        self._log.take()
        proven = self._ready and time.monotonic() - self._began > _PROVEN
        self._failures = 0 if proven else self._failures + 1
        self._ready = False
        if self._order and (not self._was_ready or self._failures > _MOST_RESTARTS):
            self._order = None
        if self._order:
            pause = 0.0 if self._failures <= 2 else min(_LONGEST_PAUSE, 0.1 * 2.0 ** min(self._failures, 9))
            self._restart_at = time.monotonic() + pause
        self._answer(self._stoppers)

    def _spawn(self) -> None:
        # Backends that outlived a killed postmaster would keep the new one from starting.
        clear(self._data)
        assert self._order is not None
        self._ready, self._began = False, time.monotonic()
        keeper = os.getpid()
        self._server = os.fork()
        if not self._server:
            become_server(self._order, self._data, self._log.sink, keeper)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(1.0)
        try:
            request = json.loads(connection.makefile("r").readline(1 << 20))
            self._handle(connection, request)
        except (OSError, ValueError, LookupError, TypeError) as error:
            _reply(connection, {"error": repr(error)})

    def _handle(self, connection: socket.socket, request: dict[str, Any]) -> None:
        match request["do"]:
            case "start" | "elevate" if not self._may(request):
                _reply(connection, self._status() | {"refused": _REFUSED})
            case "start":
                self._start(request)
                self._starters.append(connection)
            case "stop" | "leave":
                leave = request["do"] == "leave"
                self._stop(request.get("mode", "fast"), float(request.get("patience", 60)), leave)
                self._stoppers.append(connection)
                if not self._server:
                    self._answer(self._stoppers)
            case "hold":
                self._deadline.hold(request["lease"], float(request["until"]), bool(request.get("shorten", False)))
                _reply(connection, self._status())
            case "release":
                self._deadline.release()
                _reply(connection, self._status())
            case "elevate":
                self._writable = True
                _reply(connection, self._status())
            case _:
                _reply(connection, self._status())

    def _may(self, request: dict[str, Any]) -> bool:
        writable = request["do"] == "elevate" or request.get("writable", False)
        return not writable or self._deadline.allows(request.get("lease", ""))

    def _start(self, request: dict[str, Any]) -> None:
        if self._server or self._leaving:
            return
        self._order = request
        self._restart_at, self._exit = None, None
        self._was_ready = self._lapsed = False
        self._writable = bool(request.get("writable", False))
        self._restarts = self._failures = 0
        self._spawn()

    def _stop(self, mode: str, patience: float, leave: bool) -> None:
        self._order = self._restart_at = None
        self._leaving |= leave
        if self._server:
            send(self._server, _SIGNALS[mode])
            self._forced, self._force_at = False, time.monotonic() + patience

    def _force(self) -> None:
        # Backends of a killed postmaster may work on for a while.
        for pid in processes_in(self._data) if self._forced else ():
            send(pid, signal.SIGKILL)
        send(self._server, signal.SIGKILL if self._forced else signal.SIGQUIT)
        self._forced, self._force_at = True, None if self._forced else time.monotonic() + 5.0

    def _answer(self, connections: list[socket.socket]) -> None:
        for connection in connections:
            _reply(connection, self._status())
        connections.clear()

    def _status(self) -> dict[str, Any]:
        return {
            "keeper": os.getpid(),
            "server": self._server,
            "wanted": self._order is not None,
            "ready": self._ready,
            "restarts": self._restarts,
            "exit": self._exit,
            "lease": self._deadline.name,
            "until": self._deadline.until,
            "writable": self._writable and self._server != 0,
            "lapsed": self._lapsed,
        }


def _reply(connection: socket.socket, answer: dict[str, Any]) -> None:
    reply(connection, json.dumps(answer).encode())


def main() -> None:
    """Run the keeper that the command line describes."""
    state, path, data, log = (Path(word) for word in sys.argv[1:5])
    background = Background(state / "keeper", path)
    os.chdir("/")
    adopt_orphans()
    clear(data)
    keeper = Keeper(background.listen(), data, log)
    background.run(json.dumps([os.getpid(), start_time(os.getpid())]), keeper.run)


if __name__ == "__main__":
    main()
