"""The load generator: the same program for every server that is measured.

Runs as a process of its own (``python -m bench.load``): a plan as JSON on stdin, figures as JSON on stdout.
One thread polls all connections; each sends its next request as soon as it has its answer. Python's own
HTTP clients cost several times as much per request and would be measured instead of the server.

For servers that close after each answer, a plan without ``keep_alive`` connects anew for each request, with a full
TLS handshake: no session is resumed. That never blocks, so all connections do it side by side, and the latency of
a request counts from the beginning of its connection.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Final

_PATIENCE: Final = 30.0
_CHUNK: Final = 65_536


@dataclass(frozen=True)
class Plan:
    """What to send: each connection repeats its own bodies until the time is over."""

    address: str
    port: int
    authorization: str
    connections: list[list[str]]
    warm_up: float
    seconds: float
    wanted: str
    """What every good answer contains."""
    keep_alive: bool = True
    """Whether connections are used again; if not, each request has one of its own."""


@dataclass(frozen=True)
class Load:
    """What came back. ``busy`` is the share of one core that the generator itself used."""

    answers: int
    seconds: float
    busy: float
    latencies: list[float] = field(repr=False)
    wrong: int = 0
    example: str = ""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds


class WrongAnswersError(Exception):
    """A server answered something else than success."""


def drive(plan: Plan) -> Load:
    """Run a plan in a process of its own.

    :raises WrongAnswersError: some answers were no success.
    """
    patience = plan.warm_up + plan.seconds + 2 * _PATIENCE
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(
        command, input=json.dumps(asdict(plan)), capture_output=True, text=True, timeout=patience, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr[-2000:]}")
    load = Load(**json.loads(done.stdout))
    if load.wrong:
        raise WrongAnswersError(f"{load.wrong} of {load.answers} answers were no success, such as {load.example}")
    return load


class _Poll:
    """Tells which connections can go on."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}

    def add(self, number: int, connection: _Connection, events: int) -> None:
        """Watch a new file descriptor; its end is the end of its watch."""
        self._connections[number] = connection
        self._poll.register(number, events)

    def change(self, number: int, events: int) -> None:
        """Watch for something else."""
        self._poll.modify(number, events)

    def answers(self) -> Iterator[tuple[_Connection, bytes]]:
        """Wait until something can go on; the answers that are whole by then."""
        events = self._poll.poll(_PATIENCE)
        if not events:
            raise TimeoutError(f"no answer within {_PATIENCE:g} s")
        for number, _ in events:
            connection = self._connections[number]
            answer = connection.proceed()
            if answer is not None:
                yield connection, answer


class _Connection:
    """One connection at a time, with at most one request on its way."""

    def __init__(self, plan: Plan, context: ssl.SSLContext, bodies: list[str], poll: _Poll) -> None:
        self._place = (plan.address, plan.port)
        self._is_kept = plan.keep_alive
        self._context = context
        self._requests = itertools.cycle([_request(plan, body) for body in bodies])
        self._poll = poll
        self._raw: socket.socket | None = None
        self._socket: ssl.SSLSocket | None = None
        self._is_open = False
        self._received = b""
        self._expected = 0
        self.began = 0.0

    def send(self) -> None:
        """Send the next request, over a new connection if there is none."""
        self._received, self._expected = b"", 0
        self.began = time.perf_counter()
        if self._socket is None:
            self._connect()
        else:
            self._request(self._socket)

    def proceed(self) -> bytes | None:
        """Go on as far as possible; the whole answer, None as long as parts of it are missing."""
        if self._raw is not None:
            _raise(self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            self._wrap(self._raw)
        assert self._socket is not None
        try:
            if not self._is_open:
                self._socket.do_handshake()
                self._is_open = True
                self._request(self._socket)
            while not self._complete():
                chunk = self._socket.recv(_CHUNK)
                if not chunk:
                    raise ConnectionError("the server closed a connection before it had answered")
                self._received += chunk
        except ssl.SSLWantReadError:
            return None
        if not self._is_kept:
            self.close()
        return self._received

    def close(self) -> None:
        """Close it; the next request connects anew."""
        for one in (self._raw, self._socket):
            if one is not None:
                one.close()
        self._raw, self._socket, self._is_open = None, None, False

    def _connect(self) -> None:
        raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._raw = raw
        status = raw.connect_ex(self._place)
        if status != errno.EINPROGRESS:
            _raise(status)
        self._poll.add(raw.fileno(), self, select.EPOLLOUT)

    def _wrap(self, raw: socket.socket) -> None:
        """Make a connected socket one with TLS; what is sent over it is far smaller than its buffer."""
        self._socket = self._context.wrap_socket(raw, do_handshake_on_connect=False)
        self._raw = None
        self._poll.change(self._socket.fileno(), select.EPOLLIN)

    def _request(self, connected: ssl.SSLSocket) -> None:
        connected.sendall(next(self._requests))

    def _complete(self) -> bool:
        if not self._expected:
            head = self._received.find(b"\r\n\r\n")
            if head < 0:
                return False
            fields = self._received[:head].lower().split(b"\r\n")
            length = next(line[15:] for line in fields if line.startswith(b"content-length:"))
            self._expected = head + 4 + int(length)
        return len(self._received) >= self._expected


class _Tally:
    """Counts answers; from its start on."""

    def __init__(self, wanted: bytes) -> None:
        self._wanted = wanted
        self.latencies: list[float] = []
        self.wrong, self.example = 0, ""

    def take(self, answer: bytes, latency: float) -> None:
        self.latencies.append(latency)
        if self._wanted not in answer:
            self.wrong += 1
            self.example = answer[:600].decode(errors="replace")


def run(plan: Plan) -> Load:
    """Send as planned."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    poll = _Poll()
    connections = [_Connection(plan, context, bodies, poll) for bodies in plan.connections]
    # One login first: the server may refuse many unverified ones at the same time.
    _turn(poll, connections[:1], time.perf_counter(), _Tally(plan.wanted.encode()))
    _turn(poll, connections, time.perf_counter() + plan.warm_up, _Tally(plan.wanted.encode()))
    tally = _Tally(plan.wanted.encode())
    began, worked = time.perf_counter(), time.process_time()
    _turn(poll, connections, began + plan.seconds, tally)
    seconds = time.perf_counter() - began
    busy = (time.process_time() - worked) / seconds
    for connection in connections:
        connection.close()
    return Load(len(tally.latencies), seconds, busy, tally.latencies, tally.wrong, tally.example)


def _turn(poll: _Poll, connections: list[_Connection], until: float, tally: _Tally) -> None:
    """Keep connections busy until a time, then wait for what is on its way."""
    for connection in connections:
        connection.send()
    waiting = len(connections)
    while waiting:
        for connection, answer in poll.answers():
            now = time.perf_counter()
            tally.take(answer, now - connection.began)
            if now < until:
                connection.send()
            else:
                waiting -= 1


def _raise(status: int) -> None:
    if status:
        raise OSError(status, os.strerror(status))


def _request(plan: Plan, body: str) -> bytes:
    content = body.encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: {plan.address}:{plan.port}\r\nAuthorization: {plan.authorization}\r\n"
        f"Content-Type: text/xml\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(Plan(**json.load(sys.stdin))))))
