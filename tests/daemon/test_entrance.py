"""The port for clients: it opens as soon as it can, and says meanwhile what is in the way."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import msgspec

from confd.api.server import ApiServer
from confd.cluster.certificates import new_self_signed
from confd.cluster.host import Host
from confd.daemon.entrance import Entrance
from confd.exaconf import Conf, Global, Ssl

ADDRESS = "127.0.0.1"


def test_it_opens_once_certificate_and_port_are_there(tmp_path: Path) -> None:
    """A missing certificate and a port that is taken are named; the port of that moment counts."""
    nobody: Any = None

    async def test() -> None:
        with socket.create_server((ADDRESS, 0)) as other:
            taken = other.getsockname()[1]
            with socket.create_server((ADDRESS, 0)) as free:
                port = free.getsockname()[1]
            global_ = Global(cluster_name="x", xmlrpc_port=taken)
            now = {"conf": Conf(1, {global_.key: global_})}
            api = ApiServer(nobody, nobody)
            entrance = Entrance(api, Host(11, ADDRESS, tmp_path, tmp_path, None, (), lambda: now["conf"]))
            # What an earlier version took in, or a default with a file that is not there.
            odd = Ssl(cert="/exa/a\0b")
            now["conf"] = Conf(1, {global_.key: global_, odd.key: odd})
            opening = asyncio.create_task(entrance.open())
            await told(entrance, "[SSL] Cert /exa/a\0b, ")
            now["conf"] = Conf(2, {global_.key: global_})
            await told(entrance, "[SSL] Cert /exa/etc/ssl/ssl.crt, ")
            certify(tmp_path / "etc/ssl")
            await told(entrance, f"XMLRPCPort: port {taken} on {ADDRESS} is taken by process {os.getpid()} (")
            moved = msgspec.structs.replace(global_, xmlrpc_port=port)
            now["conf"] = Conf(3, {moved.key: moved})
            assert entrance.trouble == "", "what was tried before says nothing of this port"
            await opening
            assert entrance.trouble == ""
            socket.create_connection((ADDRESS, port)).close()
            await api.close()

    asyncio.run(asyncio.wait_for(test(), 60))


async def told(entrance: Entrance, text: str) -> None:
    """Wait until the trouble is told."""
    while text not in entrance.trouble:  # noqa: ASYNC110 - promises have no event
        await asyncio.sleep(0.01)


def certify(place: Path) -> None:
    """Give the node what EXAConf names by default."""
    place.mkdir(parents=True)
    pair = new_self_signed("n11", [ADDRESS])
    (place / "ssl.crt").write_bytes(pair.certificate_pem)
    (place / "ssl.key").write_bytes(pair.key_pem)
