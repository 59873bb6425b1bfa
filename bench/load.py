"""The load generator: the same program for every server that is measured.

Runs as a process of its own (``python -m bench.load``): a plan as JSON on stdin, figures as JSON on stdout.
One thread polls all connections; each sends its next request as soon as it has its answer. Python's own
HTTP clients cost several times as much per request and would be measured instead of the server.
"""

from __future__ import annotations

import contextlib
import itertools
import json
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


class _Connection:
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, plan: Plan, context: ssl.SSLContext, bodies: list[str]) -> None:
        raw = socket.create_connection((plan.address, plan.port), timeout=_PATIENCE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw)
        self.socket.setblocking(False)
        self._requests = itertools.cycle([_request(plan, body) for body in bodies])
        self._received = b""
        self._expected = 0
        self.began = 0.0

    def send(self) -> None:
        """Send the next request; they are far smaller than a socket's buffer."""
        self._received, self._expected = b"", 0
        self.began = time.perf_counter()
        self.socket.sendall(next(self._requests))

    def answer(self) -> bytes | None:
        """Return the whole answer, None as long as parts of it are missing."""
        with contextlib.suppress(ssl.SSLWantReadError):
            while not self._complete():
                chunk = self.socket.recv(_CHUNK)
                if not chunk:
                    raise ConnectionError("the server closed a keep-alive connection")
                self._received += chunk
        return self._received if self._complete() else None

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
    connections = [_Connection(plan, context, bodies) for bodies in plan.connections]
    poll = select.epoll()
    by_number = {connection.socket.fileno(): connection for connection in connections}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    # One login first: the server may refuse many unverified ones at the same time.
    _turn(poll, by_number, connections[:1], time.perf_counter(), _Tally(plan.wanted.encode()))
    _turn(poll, by_number, connections, time.perf_counter() + plan.warm_up, _Tally(plan.wanted.encode()))
    tally = _Tally(plan.wanted.encode())
    began, worked = time.perf_counter(), time.process_time()
    _turn(poll, by_number, connections, began + plan.seconds, tally)
    seconds = time.perf_counter() - began
    busy = (time.process_time() - worked) / seconds
    for connection in connections:
        connection.socket.close()
    return Load(len(tally.latencies), seconds, busy, tally.latencies, tally.wrong, tally.example)


def _turn(
    poll: select.epoll, by_number: dict[int, _Connection], connections: list[_Connection], until: float, tally: _Tally
) -> None:
    """Keep connections busy until a time, then wait for what is on its way."""
    for connection in connections:
        connection.send()
    waiting = len(connections)
    while waiting:
        for connection, answer in _answers(poll, by_number):
            now = time.perf_counter()
            tally.take(answer, now - connection.began)
            if now < until:
                connection.send()
            else:
                waiting -= 1


def _answers(poll: select.epoll, by_number: dict[int, _Connection]) -> Iterator[tuple[_Connection, bytes]]:
    events = poll.poll(_PATIENCE)
    if not events:
        raise TimeoutError(f"no answer within {_PATIENCE:g} s")
    for number, _ in events:
        answer = by_number[number].answer()
        if answer is not None:
            yield by_number[number], answer


def _request(plan: Plan, body: str) -> bytes:
    content = body.encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: {plan.address}:{plan.port}\r\nAuthorization: {plan.authorization}\r\n"
        f"Content-Type: text/xml\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(Plan(**json.load(sys.stdin))))))
