"""Who may connect to a server: ``pg_hba.conf`` and ``pg_ident.conf``. Pure.

sys always has a password of its own in the database. Members of the roles ``ldap_users`` and ``kerberos_users`` are
checked by the LDAP servers and the Kerberos realm of the database, where it has them; everybody else has a password.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from confd.services.database.engine.configuration import ADMIN, KERBEROS_USERS, LDAP_USERS, REPLICATION, SYS
from confd.services.database.engine.ldap import LdapServer, ldap_method
from confd.services.database.options import Options


class Clients(StrEnum):
    """Who may connect: everybody who can log in, sys alone (maintenance), or nobody (a copy)."""

    ALL = "all"
    SYS = "sys"
    NONE = "none"


class AccessFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides who gets in.

    ``peers``: addresses of the other instances; ``system_users``: who is the daemon; ``kerberos``: there is a keytab.
    """

    clients: Clients
    peers: tuple[str, ...]
    system_users: tuple[str, ...]
    tls: bool = False
    ldap_servers: tuple[LdapServer, ...] = ()
    kerberos: bool = False
    options: Options = Options()


def access_file(facts: AccessFacts) -> str:
    """Return ``pg_hba.conf``: the daemon by socket, other instances for replication, clients."""
    lines = [f"local all,replication {ADMIN} peer map=confd", "local all all reject"]
    networks = dict.fromkeys(_network(peer) for peer in facts.peers)
    peer = "hostssl" if facts.tls else "host"
    lines += [f"{peer} replication,postgres {REPLICATION} {network} scram-sha-256" for network in networks]
    lines.append(f"host all {ADMIN},{REPLICATION} all reject")
    lines += _clients(facts)
    lines.append("host all all all reject")
    return "\n".join([*lines, ""])


def identity_file(facts: AccessFacts) -> str:
    """Return ``pg_ident.conf``: which system users are the daemon."""
    return "".join(f"confd {user} {ADMIN}\n" for user in facts.system_users)


def _clients(facts: AccessFacts) -> Iterator[str]:
    how = "hostssl" if facts.tls and facts.options.force_protocol_encryption else "host"
    if facts.clients is Clients.NONE:
        return
    yield f"{how} all {SYS} all scram-sha-256"
    if facts.clients is Clients.SYS:
        return
    if facts.ldap_servers:
        # The password itself travels to the server.
        private = "hostssl" if facts.tls and not facts.options.allow_plaintext else how
        yield f"{private} all +{LDAP_USERS} all {ldap_method(facts.ldap_servers, facts.options)}"
    if facts.kerberos:
        realm = facts.options.kerberos_realm
        yield f"{how} all +{KERBEROS_USERS} all gss include_realm=0" + (f' krb_realm="{realm}"' if realm else "")
    yield f"{how} all all all scram-sha-256"


def _network(peer: str) -> str:
    # Connections between loopback addresses come from 127.0.0.1, whichever node makes them.
    if peer.startswith("127."):
        return "127.0.0.0/8"
    return f"{peer}/{128 if ':' in peer else 32}"
