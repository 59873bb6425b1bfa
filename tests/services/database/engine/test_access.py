"""Who may connect."""

from __future__ import annotations

import msgspec

from confd.services.database.engine.access import AccessFacts, Clients, access_file, identity_file
from confd.services.database.engine.ldap import parse_servers
from confd.services.database.options import Options

FACTS = AccessFacts(clients=Clients.ALL, peers=("127.0.0.12", "127.0.0.13"), system_users=("root",))
REST = ["host all all all scram-sha-256", "host all all all reject"]


def lines(**changes) -> list[str]:
    """Return the lines for changed facts."""
    return access_file(msgspec.structs.replace(FACTS, **changes)).splitlines()


def test_instances_and_clients() -> None:
    """Instances on loopback reach each other; copies without clients take none; maintenance is for sys."""
    assert "host replication,postgres exa_replication 127.0.0.0/8 scram-sha-256" in lines()
    assert lines()[-2:] == REST
    copy = lines(clients=Clients.NONE, peers=("10.0.0.2",))
    assert "host replication,postgres exa_replication 10.0.0.2/32 scram-sha-256" in copy
    assert [line for line in copy if line.startswith("host all all")] == [REST[1]]
    assert lines(clients=Clients.SYS)[-2:] == ["host all sys all scram-sha-256", REST[1]]
    assert identity_file(FACTS) == "confd root exa_admin\n"


def test_encryption() -> None:
    """With TLS instances use nothing else; clients too when it is forced; without TLS the word has no effect."""
    forced = Options(force_protocol_encryption=True)
    assert lines(options=forced)[-2:] == REST
    assert lines(tls=True)[-2:] == REST
    assert "hostssl replication,postgres exa_replication 127.0.0.0/8 scram-sha-256" in lines(tls=True)
    encrypted = lines(tls=True, options=forced)
    assert "hostssl all sys all scram-sha-256" in encrypted
    assert encrypted[-2] == "hostssl all all all scram-sha-256"


def test_groups() -> None:
    """LDAP and Kerberos are for members of their roles; sys comes before and everybody else after them."""
    servers = parse_servers(["ldap://a:3890"])
    options = Options(ldap_prefix="uid=", kerberos_realm="EX.COM")
    clients = lines(ldap_servers=servers, kerberos=True, tls=True, options=options)[-5:]
    assert clients == [
        "host all sys all scram-sha-256",
        'hostssl all +ldap_users all ldap ldapserver="a" ldapport="3890" ldapscheme="ldap" ldapprefix="uid="',
        'host all +kerberos_users all gss include_realm=0 krb_realm="EX.COM"',
        *REST,
    ]
