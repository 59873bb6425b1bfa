"""An SSH server of the distribution on loopback addresses, each of which is a machine with a place of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from socket import create_connection

from tests.servers import require

SSHD = Path("/usr/sbin/sshd")


class Sshd:
    """A running server: its port, the key of who may log in, its own public key."""

    def __init__(self, place: Path, port: int) -> None:
        self.place, self.port = place, port
        self.user_key, self.host_key = place / "user_key", place / "host_key"
        self.user = pwd.getpwuid(os.getuid()).pw_name

    def home(self, address: str) -> Path:
        """Return CCC_HOME of a machine."""
        return self.place / address

    def known(self, address: str) -> str:
        """Return the line of known_hosts for a machine."""
        return f"[{address}]:{self.port} {' '.join(self.host_key.with_suffix('.pub').read_text().split()[:2])}\n"


@contextlib.contextmanager
def sshd(place: Path, port: int, addresses: Sequence[str]) -> Iterator[Sshd]:
    """Run a server until the block ends."""
    require(SSHD, Path("/usr/bin/ssh"), Path("/usr/bin/ssh-keygen"))
    server = Sshd(place, port)
    for key in (server.user_key, server.host_key):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (place / "authorized_keys").write_text(server.user_key.with_suffix(".pub").read_text())
    lines = [f"ListenAddress {address}:{port}" for address in addresses]
    lines += [
        f"HostKey {server.host_key}", f"PidFile {place}/sshd.pid", f"AuthorizedKeysFile {place}/authorized_keys",
        "StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
        "PermitRootLogin yes", f"AllowUsers {server.user}",
    ]  # fmt: skip
    for address in addresses:
        server.home(address).mkdir(mode=0o711)
        lines += [f"Match LocalAddress {address}", f"    SetEnv CCC_HOME={server.home(address)}"]
    (place / "sshd_config").write_text("\n".join([*lines, ""]))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with (place / "log").open("w") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", place / "sshd_config"], stdout=log, stderr=log)
    try:
        deadline, pause = time.monotonic() + 20, threading.Event()
        while True:
            with contextlib.suppress(OSError), create_connection((addresses[-1], port)):
                break
            assert process.poll() is None, (place / "log").read_text()
            assert time.monotonic() < deadline, "sshd does not listen"
            pause.wait(0.02)
        yield server
    finally:
        process.terminate()
        process.wait(10)
