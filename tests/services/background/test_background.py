"""Processes that go into the background, are asked, and are seen to live or to be dead."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from confd.services.background.client import BackgroundClient
from confd.services.background.process import HELD, Background, reply
from confd.services.database.keeper.processes import wait_gone


def main() -> None:
    """Answer two requests, unless told to fail before."""
    background = Background(Path(sys.argv[1]), Path(sys.argv[2]))
    listener = background.listen()
    if sys.argv[3] == "fail":
        sys.exit("there is no room")

    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            request = json.loads(connection.makefile("r").readline())
            reply(connection, json.dumps({"had": request["word"]}).encode())

    background.run(json.dumps(os.getpid()), serve)


@pytest.fixture
def client(tmp_path: Path) -> BackgroundClient:
    """Give the client of a process that does not live yet."""
    return BackgroundClient(tmp_path / "lock", tmp_path / "socket")


def launch(tmp_path: Path, client: BackgroundClient, how: str = "serve") -> tuple[int, str]:
    """Start this module in the background."""
    return client.launch("-sE", __name__, tmp_path / "lock", tmp_path / "socket", Path(how))


def test_life(tmp_path: Path, client: BackgroundClient) -> None:
    """Started once, found, asked; a second one is refused; after its end nothing answers, and a next one starts."""
    assert (client.lives(), client.note()) == (False, None)
    assert launch(tmp_path, client) == (0, "")
    assert client.lives()
    assert launch(tmp_path, client)[0] == HELD
    pid = client.note()
    for word in ("a", "b"):
        assert json.loads(client.ask(20.0, word=word)) == {"had": word}
    assert wait_gone(pid, 20.0)
    assert not client.lives()
    with pytest.raises(FileNotFoundError):
        client.ask(1.0, word="c")
    assert launch(tmp_path, client) == (0, "")
    os.kill(client.note(), signal.SIGKILL)
    assert wait_gone(client.note(), 20.0)
    with pytest.raises(ConnectionError):
        client.ask(1.0, word="d")


def test_one_that_does_not_start_says_why(tmp_path: Path, client: BackgroundClient) -> None:
    """What it complained of before it was ready reaches the caller, and it does not live."""
    status, complaint = launch(tmp_path, client, "fail")
    assert (status, complaint.strip()) == (1, "there is no room")
    assert not client.lives()


if __name__ == "__main__":
    main()
