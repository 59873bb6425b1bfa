"""Servers of the distribution that some tests run: where they are not installed, those tests are skipped."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from confd.cluster.certificates import Pair

POSTGRESQL = Path("/usr/lib/postgresql/15/bin/postgres")
SLAPD = Path("/usr/sbin/slapd")
KDC = Path("/usr/sbin/krb5kdc")


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
