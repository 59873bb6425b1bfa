"""Servers of the distribution that some tests run: where they are not installed, those tests are skipped."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from confd.cluster.certificates import Pair

POSTGRESQL = Path("/usr/lib/postgresql/15/bin/postgres")
SLAPD = Path("/usr/sbin/slapd")
KDC = Path("/usr/sbin/krb5kdc")
ETCD = Path("/usr/bin/etcd")


def require(*programs: Path) -> None:
    """Skip the test when a program is missing; fail it where everything has to be there (SERVERS=required)."""
    missing = [str(program) for program in programs if not os.access(program, os.X_OK)]
    if missing:
        reason = f"{', '.join(missing)} not installed; as root on a Debian: scripts/servers"
        if os.environ.get("SERVERS") == "required":
            pytest.fail(reason)
        pytest.skip(reason)


PASSWORD = "sesam"
REALM = "EX.TEST"


@contextlib.contextmanager
def directory(place: Path, pair: Pair, plain: str, encrypted: str) -> Iterator[None]:
    """Run an LDAP server that knows uid=ann,ou=people,dc=ex, on two addresses ``host:port``."""
    (place / "data").mkdir(parents=True)
    (place / "crt").write_bytes(pair.certificate_pem)
    (place / "key").write_bytes(pair.key_pem)
    schemas = "".join(f"include /etc/ldap/schema/{name}.schema\n" for name in ("core", "cosine", "inetorgperson"))
    (place / "slapd.conf").write_text(
        f"{schemas}modulepath /usr/lib/ldap\nmoduleload back_mdb\n"
        f"TLSCertificateFile {place}/crt\nTLSCertificateKeyFile {place}/key\n"
        f'database mdb\nsuffix "dc=ex"\nrootdn "cn=admin,dc=ex"\ndirectory {place}/data\n'
    )
    (place / "ldif").write_text(
        "dn: dc=ex\nobjectClass: domain\ndc: ex\n\n"
        "dn: ou=people,dc=ex\nobjectClass: organizationalUnit\nou: people\n\n"
        "dn: uid=ann,ou=people,dc=ex\nobjectClass: inetOrgPerson\nuid: ann\ncn: Ann\nsn: A\n"
        f"userPassword: {PASSWORD}\n"
    )
    subprocess.run(
        ["/usr/sbin/slapadd", "-f", place / "slapd.conf", "-l", place / "ldif"], check=True, capture_output=True
    )
    addresses = f"ldap://{plain} ldaps://{encrypted}"
    with _running(place, [SLAPD, "-d", "0", "-f", place / "slapd.conf", "-h", addresses], {}, plain):
        yield


@contextlib.contextmanager
def realm(place: Path, address: str) -> Iterator[Path]:
    """Run a Kerberos realm that knows ann and postgres/localhost on ``host:port``; the keytab of the latter.

    ``place/krb5.conf`` is its configuration, ``place/ticket`` a ticket of ann.
    """
    place.mkdir()
    (place / "krb5.conf").write_text(
        f"[libdefaults]\ndefault_realm = {REALM}\ndns_canonicalize_hostname = false\nrdns = false\n"
        f"udp_preference_limit = 1\n[realms]\n{REALM} = {{\n kdc = {address}\n}}\n"
    )
    (place / "kdc.conf").write_text(
        f"[kdcdefaults]\nkdc_listen = {address}\nkdc_tcp_listen = {address}\n[realms]\n{REALM} = {{\n"
        f" database_name = {place}/principal\n key_stash_file = {place}/stash\n acl_file = {place}/acl\n}}\n"
    )
    env = os.environ | {"KRB5_CONFIG": str(place / "krb5.conf"), "KRB5_KDC_PROFILE": str(place / "kdc.conf")}

    def run(*words: str | Path, text: str = "") -> None:
        subprocess.run(words, env=env, input=text, check=True, capture_output=True, text=True)

    run("/usr/sbin/kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
    for order in (
        f"addprinc -pw {PASSWORD} ann",
        "addprinc -randkey postgres/localhost",
        f"ktadd -k {place}/keytab postgres/localhost",
    ):
        run("/usr/sbin/kadmin.local", "-r", REALM, "-q", order)
    with _running(place, [KDC, "-n", "-r", REALM], env, address):
        run("/usr/bin/kinit", "-c", f"FILE:{place}/ticket", f"ann@{REALM}", text=f"{PASSWORD}\n")
        yield place / "keytab"


def free_address() -> str:
    """Return ``host:port`` on loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Etcd:
    """One etcd that is started and stopped by tests; its data stay below ``place``.

    :param tls: certificate that it shows; without it it speaks plain HTTP.
    """

    def __init__(self, place: Path, *words: str, tls: Pair | None = None) -> None:
        self.place, self.words = place, list(words)
        place.mkdir(parents=True, exist_ok=True)
        self.address, self._peer = free_address(), free_address()
        self.url = f"http{'s' if tls else ''}://{self.address}"
        if tls is not None:
            (place / "crt").write_bytes(tls.certificate_pem)
            (place / "key").write_bytes(tls.key_pem)
            self.words += ["--cert-file", str(place / "crt"), "--key-file", str(place / "key")]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> None:
        """Start it and wait until it answers."""
        command = [
            ETCD, "--name", "m1", "--data-dir", self.place / "data", "--listen-client-urls", self.url,
            "--advertise-client-urls", self.url, "--listen-peer-urls", f"http://{self._peer}",
            "--initial-advertise-peer-urls", f"http://{self._peer}", "--initial-cluster", f"m1=http://{self._peer}",
            "--log-level", "warn", "--logger", "zap", *self.words, *words,
        ]  # fmt: skip
        with (self.place / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline, pause = time.monotonic() + 30, threading.Event()
        while not self._healthy():
            assert self._process.poll() is None, (self.place / "log").read_text()
            assert time.monotonic() < deadline, "etcd does not answer"
            pause.wait(0.02)

    def _healthy(self) -> bool:
        context = ssl._create_unverified_context()
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{self.url}/health", timeout=1, context=context) as answer,
        ):
            return bool(json.load(answer)["health"] == "true")
        return False

    def signal(self, number: int) -> None:
        """Send the process a signal: SIGSTOP and SIGCONT make it slow. It stands still when this returns."""
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGSTOP:
            # All its threads: one that still runs may answer.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def stop(self) -> None:
        """Kill it; what it acknowledged is on its disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextlib.contextmanager
def etcd(*words: str, tls: Pair | None = None) -> Iterator[Etcd]:
    """Run an etcd; in memory where there is such a place, as this version syncs every write."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="confd-etcd-", dir=memory if os.access(memory, os.W_OK) else None))
    server = Etcd(place, *words, tls=tls)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _running(place: Path, words: list[Any], env: dict[str, str], address: str) -> Iterator[None]:
    """Run a server until the block ends; it begins when the server takes connections."""
    host, port = address.rsplit(":", 1)
    with (place / "log").open("w") as log:
        process = subprocess.Popen(words, env=env or None, stdout=log, stderr=log)
    try:
        deadline, pause = time.monotonic() + 30, threading.Event()
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port))):
                break
            assert process.poll() is None, (place / "log").read_text()
            assert time.monotonic() < deadline, "it does not listen"
            pause.wait(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)
