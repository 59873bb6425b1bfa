"""Room is made in etcd whatever an earlier try left: a full etcd takes changes again in any case."""

from __future__ import annotations

import contextlib
import http.server
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.compaction import make_room
from tests.servers import Etcd
from tests.store.etcd.conftest import full_etcd

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def full() -> Iterator[Etcd]:
    """Give an etcd that is full of what was deleted."""
    with full_etcd(b"big") as (running, client):
        client.delete(b"big")
        assert client.alarms() == ["NOSPACE"]
        yield running


@contextlib.contextmanager
def dying_member(real: Etcd) -> Iterator[str]:
    """Give the endpoint of a member that ends whenever it is to defragment; what else it is asked another one answers."""

    class Dying(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/defragment"):
                return
            with urllib.request.urlopen(urllib.request.Request(real.url + self.path, body)) as answer:
                content = answer.read()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dying) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def assert_takes_changes(server: Etcd) -> None:
    """There is room, and no alarm."""
    client = EtcdClient(EtcdAccess(endpoints=(server.url,)))
    client.put(b"k", b"x" * 500_000)
    assert client.alarms() == []
    client.close()


def test_a_try_that_broke_off_is_repeated(full: Etcd) -> None:
    """It was compacted by then and full still, so that its revision stays the same; repeated once more it is fine, too."""
    access = EtcdAccess(endpoints=(full.url,))
    client = EtcdClient(access)
    client.compact(client.range(b"\0", limit=1)[1])
    client.close()
    ((room,), missed) = make_room(access)
    assert (missed, room.after < room.before) == ([], True)
    make_room(access)
    assert_takes_changes(full)


def test_a_member_that_dies_meanwhile_holds_up_no_other(full: Etcd) -> None:
    """It is named; the others give their space back, and the alarm is taken back."""
    with dying_member(full) as url:
        made, missed = make_room(EtcdAccess(endpoints=(url, full.url)))
    assert [room.endpoint for room in made] == [full.url]
    assert [text.startswith(f"{url} was left out") for text in missed] == [True]
    assert_takes_changes(full)
