"""LDAP servers that check passwords of database users. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from confd.model.errors import InvalidParameter
from confd.services.database.options import Options

_PORTS: Final = {"ldap": 389, "ldaps": 636}


class LdapServer(msgspec.Struct, frozen=True):
    """One server; ``scheme`` is ldap or ldaps."""

    scheme: str
    host: str
    port: int


def parse_servers(urls: Sequence[str]) -> tuple[LdapServer, ...]:
    """Read ``ldap[s]://host[:port]``; all of one kind, for PostgreSQL tries them one after another in one way.

    :raises InvalidParameter: another form, or both kinds.
    """
    servers = tuple(_server(url) for url in urls)
    if len({server.scheme for server in servers}) > 1:
        raise InvalidParameter("LDAP servers of one database are all ldap:// or all ldaps://; give one kind")
    return servers


def ldap_method(servers: Sequence[LdapServer], options: Options) -> str:
    """Return method and options of a line in ``pg_hba.conf``: bind as the role, or search it first."""
    words = {
        "ldapserver": " ".join(_address(server, servers[0].port) for server in servers),
        "ldapport": str(servers[0].port),
        "ldapscheme": servers[0].scheme,
        "ldaptls": "1" if options.ldap_tls else "",
    }
    if options.ldap_base_dn:
        words |= {"ldapbasedn": options.ldap_base_dn, "ldapsearchattribute": options.ldap_search_attribute}
    else:
        words |= {"ldapprefix": options.ldap_prefix, "ldapsuffix": options.ldap_suffix}
    return " ".join(["ldap", *(f"{name}={_quote(value)}" for name, value in words.items() if value)])


def _server(url: str) -> LdapServer:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidParameter(f"{url!r} is no LDAP server: {error}") from None
    if parts.scheme not in _PORTS or not host or parts.path not in ("", "/"):
        raise InvalidParameter(f"{url!r} is no LDAP server: give ldap://host[:port] or ldaps://host[:port]")
    return LdapServer(parts.scheme, f"[{host}]" if ":" in host else host, port or _PORTS[parts.scheme])


def _address(server: LdapServer, common: int) -> str:
    # PostgreSQL appends ":<port>" to each host of the list; behind "/?" it is no longer the port of the URL.
    return server.host if server.port == common else f"{server.host}:{server.port}/?"


def _quote(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
