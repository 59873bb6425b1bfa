"""Logins through a real LDAP server and a real Kerberos realm, with PostgreSQL 15."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from confd.cluster.certificates import new_self_signed
from confd.cluster.identity import NodeFiles, write_private
from confd.model.errors import AlreadyExists, Unsupported
from confd.model.secret import Secret, Vault
from confd.services.database.engine import keytab
from confd.services.database.instance import operations as instance
from confd.services.database.record import Quorum
from tests.servers import KDC, PASSWORD, POSTGRESQL, REALM, SLAPD, directory, realm, require
from tests.services.database.rig import NAME, Rig, free_port

HOST = "127.0.77.90"
NOBODY = "127.0.77.91"


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """One node; its database is not made yet."""
    rig = make_rig(11)
    rig.volume()
    write_private(NodeFiles(rig.hosts[11].root).data_key, Vault.new_key())
    return rig


@pytest.fixture
def people(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An LDAP server: its addresses in the clear and with TLS."""
    require(SLAPD, POSTGRESQL)
    plain, encrypted = f"{HOST}:{free_port([HOST])}", f"{HOST}:{free_port([HOST])}"
    with directory(tmp_path / "ldap", new_self_signed("ldap", [HOST]), plain, encrypted):
        yield plain, encrypted


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Path]:
    """A Kerberos realm: the keytab of the database in it."""
    require(KDC, POSTGRESQL)
    with realm(tmp_path / "kerberos", f"{HOST}:{free_port([HOST])}") as file:
        yield file


def start(rig: Rig) -> None:
    """Make the database, with three users of whom two are members of the groups."""
    instance.initialise.function(rig.hosts[11], NAME, "g", False)
    instance.start_primary.function(rig.hosts[11], NAME, Quorum())
    rig.sql(11, "CREATE ROLE ann LOGIN PASSWORD 'local'; CREATE ROLE bob LOGIN PASSWORD 'local'")


def restart(rig: Rig, **changes) -> None:
    """Start the database with other settings."""
    instance.stop.function(rig.hosts[11], NAME, False, 30.0)
    rig.database(version="15", **changes)
    instance.start_primary.function(rig.hosts[11], NAME, Quorum())


def test_members_log_in_by_ldap(rig: Rig, people: tuple[str, str], tmp_path: Path) -> None:
    """Members need their LDAP password, also from the second server and over ldaps; others keep their own."""
    plain, encrypted = people
    names = "-ldapPrefix=uid= -ldapSuffix=',ou=people,dc=ex'"
    rig.database(version="15", ldap_servers=(f"ldap://{plain}",), params=names)
    start(rig)
    assert rig.sql(11, "SELECT 1", user="ann", password="local") == [(1,)]
    rig.sql(11, "GRANT ldap_users TO ann")
    assert rig.sql(11, "SELECT 1", user="ann", password=PASSWORD) == [(1,)]
    assert rig.sql(11, "SELECT 1", user="bob", password="local") == [(1,)]
    for password, mode in (("local", "require"), (PASSWORD, "disable")):
        with pytest.raises(psycopg.OperationalError):
            rig.sql(11, "SELECT 1", user="ann", password=password, sslmode=mode)
    search = "-ldapBaseDn=dc=ex -ldapSearchAttribute=uid"
    restart(rig, ldap_servers=(f"ldap://{NOBODY}:3", f"ldap://{plain}"), params=search)
    assert rig.sql(11, "SELECT 1", user="ann", password=PASSWORD) == [(1,)]
    authority = rig.hosts[11].root / "etc/ldap.pem"
    authority.write_bytes((tmp_path / "ldap/crt").read_bytes())
    trusting = f"{names} -ldapCaFile=/exa/etc/ldap.pem"
    restart(rig, ldap_servers=(f"ldaps://{encrypted}",), params=trusting)
    assert rig.sql(11, "SELECT 1", user="ann", password=PASSWORD) == [(1,)]
    restart(rig, ldap_servers=(f"ldaps://{encrypted}",), params=names)
    with pytest.raises(psycopg.OperationalError):
        rig.sql(11, "SELECT 1", user="ann", password=PASSWORD)


def test_members_log_in_by_ticket(rig: Rig, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member of kerberos_users logs in with a ticket of the realm; the keytab is closed to others."""
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "kerberos/krb5.conf"))
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/kerberos/ticket")
    content = keys.read_bytes()
    assert keytab.principals(content) == [f"postgres/localhost@{REALM}"]
    host, sealed = rig.hosts[11], NodeFiles(rig.hosts[11].root).vault().seal(Secret(base64.b64encode(content).decode()))
    rig.database(version="15", params=f"-kerberosRealm={REALM}")
    for _ in range(2):
        keytab.write_keytab.function(host, NAME, sealed)
    path = keytab.keytab_path(host, NAME)
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_uid == rig.layout(11).account.uid
    start(rig)
    rig.sql(11, "GRANT kerberos_users TO ann")
    ticket = {"host": "localhost", "hostaddr": rig.address(11), "password": "", "gssencmode": "prefer"}
    assert rig.sql(11, "SELECT gss_authenticated FROM pg_stat_gssapi WHERE pid = pg_backend_pid()",
                   user="ann", **ticket) == [(True,)]  # fmt: skip
    with pytest.raises(psycopg.OperationalError):
        rig.sql(11, "SELECT 1", user="bob", **ticket)
    other = NodeFiles(host.root).vault().seal(Secret(base64.b64encode(b"x").decode()))
    with pytest.raises(AlreadyExists):
        keytab.write_keytab.function(host, NAME, other)
    keytab.remove_keytab.function(host, NAME, other)
    assert path.exists()
    rig.database(version="18")
    instance.stop.function(host, NAME, False, 30.0)
    keytab.remove_keytab.function(host, NAME, sealed)
    assert not path.exists()


def test_what_the_installation_lacks_is_named(rig: Rig) -> None:
    """The embedded PostgreSQL has no LDAP: it does not start with LDAP servers, and says which one has it."""
    require(POSTGRESQL)
    rig.database(version="18", ldap_servers=("ldap://h",))
    instance.initialise.function(rig.hosts[11], NAME, "g", False)
    with pytest.raises(Unsupported, match=r"ldap_server needs .* ldap.* version to 15\."):
        instance.start_primary.function(rig.hosts[11], NAME, Quorum())
