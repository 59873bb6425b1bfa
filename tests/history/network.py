"""Nodes in network namespaces of their own, which can be cut off from each other as by a pulled cable.

Each node keeps its loopback address: it lies on a virtual cable to a hub, which is a namespace as well, so the machine's
own network is not touched. Clients reach a node over its unix socket whatever the state of its cable.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.harness import Cluster
from tests.failpoints.spawner import Spawner


@functools.cache
def is_possible() -> bool:
    """Whether this machine lets its user make namespaces."""
    if os.getuid() != 0 or not (shutil.which("ip") and shutil.which("nsenter")):
        return False
    name = f"confd-try-{os.getpid()}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError:
        return False
    _ip("netns", "del", name)
    return True


class Network:
    """A hub with a cable to every node. What cannot be delivered is lost without a word."""

    kind = "network namespaces"

    def __init__(self, addresses: Mapping[int, str]) -> None:
        self.addresses = dict(addresses)
        self._hub = f"confd-hub-{os.getpid()}"
        self._spaces = {node: f"confd-n{node}-{os.getpid()}" for node in addresses}
        try:
            _ip("netns", "add", self._hub)
            _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self._hub, "link", "set", "bridge", "up")
            for node, address in addresses.items():
                self._connect(node, address)
        except BaseException:
            self.close()
            raise

    def spawner(self, node: int, cluster: Cluster) -> Spawner:
        """Return what starts the daemon of a node."""
        return Spawner(cluster.root(node), cluster.env, self.prefix(node))

    def prefix(self, node: int) -> list[str]:
        """Return the words before a command that is to run on a node."""
        return ["nsenter", f"--net=/run/netns/{self._spaces[node]}"]

    def cut(self, node: int) -> None:
        """Pull the cable of a node."""
        _ip("-n", self._hub, "link", "set", f"port{node}", "down")

    def part(self, one: int, other: int) -> None:
        """Have the hub pass nothing on between two nodes."""
        for node in (one, other):
            self._isolate(node, "on")

    def deafen(self, one: int, other: int) -> None:
        """Have what a node sends to another one be lost."""
        _ip("-n", self._spaces[one], "route", "replace", "blackhole", f"{self.addresses[other]}/32")

    def heal(self) -> None:
        """Plug all cables in, and let everything pass."""
        for node, space in self._spaces.items():
            _ip("-n", self._hub, "link", "set", f"port{node}", "up")
            self._isolate(node, "off")
            _ip("-n", space, "route", "flush", "type", "blackhole")

    def close(self) -> None:
        """Take everything away."""
        for name in (*self._spaces.values(), self._hub):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)

    def _isolate(self, node: int, wanted: str) -> None:
        # Isolated ports reach those that are not, and not each other.
        _ip("-n", self._hub, "link", "set", "dev", f"port{node}", "type", "bridge_slave", "isolated", wanted)

    def _connect(self, node: int, address: str) -> None:
        space, port = self._spaces[node], f"port{node}"
        _ip("netns", "add", space)
        _ip("-n", self._hub, "link", "add", port, "type", "veth", "peer", "name", "cable", "netns", space)
        _ip("-n", self._hub, "link", "set", port, "master", "bridge", "up")
        # Only so may addresses that begin with 127 leave a machine.
        allow = "echo 1 > /proc/sys/net/ipv4/conf/cable/route_localnet"
        _ip("netns", "exec", space, "sh", "-c", allow)
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "addr", "del", "127.0.0.1/8", "dev", "lo")
        _ip("-n", space, "addr", "add", "127.0.0.1/32", "dev", "lo")
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", "cable", "scope", "global")
        _ip("-n", space, "link", "set", "cable", "up")


def _ip(*words: str) -> None:
    subprocess.run([Path(shutil.which("ip") or "ip"), *words], check=True, capture_output=True)
