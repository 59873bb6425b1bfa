"""etcd answers, only late: what was acknowledged exists once, errors are clear, and afterwards all is as before."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.cluster.harness import cluster, until
from tests.cluster.test_etcd_outages import Caller, masters, wait_whole
from tests.servers import ETCD, etcd, require
from tests.torture import long

pytestmark = [
    long,
    pytest.mark.timeout(600),
]

_CHUNK = 1 << 16
_FASTEST, _SLOWEST = 0.3, 2.0


class Way:
    """A way to a server on which its answers are late while ``slow`` is set; ``delayed`` counts those."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.slow, self.delayed = threading.Event(), 0
        self._closed = threading.Event()
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def close(self) -> None:
        """Break all connections."""
        self._closed.set()
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _start(self, work: object, *words: object) -> None:
        assert callable(work)
        threading.Thread(target=work, args=words, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                self._start(self._carry, client, server, False)
                self._start(self._carry, server, client, True)

    def _carry(self, source: socket.socket, to: socket.socket, late: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                if late and self.slow.is_set():
                    self.delayed += 1
                    self._closed.wait(random.uniform(_FASTEST, _SLOWEST))
                to.sendall(chunk)
        for one in (source, to):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def way_to(target: str) -> Iterator[Way]:
    """Make a way for a block."""
    made = Way(target)
    try:
        yield made
    finally:
        made.close()


def test_etcd_is_slow_for_a_while() -> None:
    """Mastership may come and go meanwhile; who is refused is told of etcd or of the master."""
    require(ETCD)
    with (
        etcd() as server,
        way_to(server.address) as way,
        cluster("CCC_PLAY_WITH_DB=false", "CCC_PLAY_STORE=etcd", f"CCC_PLAY_ETCD_ENDPOINTS={way.url}") as made,
    ):
        callers = [Caller(made, node) for node in made.addresses]
        for caller in callers:
            caller.start()
        try:
            until(lambda: all(caller.acknowledged for caller in callers), "calls are answered")
            way.slow.set()
            before = {caller: len(caller.acknowledged) + len(caller.refused) for caller in callers}
            until(
                lambda: all(len(one.acknowledged) + len(one.refused) > count + 5 for one, count in before.items()),
                "calls get some answer", 200,
            )  # fmt: skip
            assert way.delayed > 10
            way.slow.clear()
            known = {caller: len(caller.acknowledged) for caller in callers}
            until(lambda: all(len(one.acknowledged) > count + 2 for one, count in known.items()), "calls work again")
        finally:
            way.slow.clear()
            for caller in callers:
                caller.ended.set()
            for caller in callers:
                caller.join()
        refused = [answer for caller in callers for answer in caller.refused]
        print(f"{way.delayed} answers late, {len(refused)} calls refused")
        for answer in refused:
            assert answer["result_name"] in ("NO_MASTER", "NODE_OFFLINE"), answer
            assert "etcd" in answer["result_desc"] or "master" in answer["result_desc"], answer
        acknowledged = {name: job for caller in callers for name, job in caller.acknowledged.items()}
        assert acknowledged.keys() <= set(made.run("group_list"))
        jobs = [row["job_id"] for row in made.run("job_history", limit=10_000)]
        assert all(jobs.count(job) == 1 for job in acknowledged.values())
        wait_whole(made, 11)
        until(lambda: len(masters(made)) == 1, "one master")
        made.wait_same()
