"""The files of a server: gathered from the node's configuration, written before each start."""

from __future__ import annotations

import os
import pwd

from confd.model.errors import NotFound, Unsupported
from confd.model.sizes import Bytes, parse_size
from confd.services.database.definition import HEAP_KEY
from confd.services.database.engine import access, configuration
from confd.services.database.engine.access import AccessFacts, Clients
from confd.services.database.engine.certificate import Certificate
from confd.services.database.engine.configuration import CERTIFICATE, KEY, LDAP_AUTHORITY, TEMP_LIMIT, ServerFacts
from confd.services.database.engine.data import limits_of_standby, write_owned
from confd.services.database.engine.installation import Capability, find
from confd.services.database.engine.keytab import keytab_path
from confd.services.database.engine.ldap import parse_servers
from confd.services.database.engine.memory import maximum
from confd.services.database.engine.setup import Setup
from confd.services.database.options import read_options
from confd.services.database.params import effective, parse_params

_LEAST_SLOT = 256 << 20


def write_files(server: Setup, role_file: str, maintenance: bool) -> None:
    """Write everything that a server reads when it starts.

    :raises Unsupported: its installation cannot do what its configuration asks for.
    """
    server.layout.make()
    who = access_facts(server, maintenance)
    for name, text in (
        ("postgresql.conf", configuration.main_file(server_facts(server))),
        ("pg_hba.conf", access.access_file(who)),
        ("pg_ident.conf", access.identity_file(who)),
        ("role.conf", role_file),
    ):
        write_owned(server.layout.config / name, text, server.layout.account)
    if server.certificate:
        write_certificate(server, server.certificate)
    if authority := who.options.ldap_ca_file:
        _copy_authority(server, authority)


def environment(server: Setup) -> dict[str, str]:
    """Return the environment of a server: who signs the certificates of LDAP servers is said there."""
    trusted = server.layout.config / LDAP_AUTHORITY
    wanted = read_options(parse_params(server.database.params)).ldap_ca_file
    return {"LC_ALL": "C.UTF-8", "PATH": os.defpath} | ({"LDAPTLS_CACERT": str(trusted)} if wanted else {})


def _copy_authority(server: Setup, path: str) -> None:
    try:
        text = server.host.path(path).read_text()
    except OSError as error:
        raise NotFound(f"ldapCaFile: {path} cannot be read on {server.host.name}: {error.strerror}") from None
    write_owned(server.layout.config / LDAP_AUTHORITY, text, server.layout.account)


def write_access(server: Setup, maintenance: bool) -> None:
    """Write whom the present configuration lets in; in force once the server reads its files again."""
    text = access.access_file(access_facts(server, maintenance))
    write_owned(server.layout.config / "pg_hba.conf", text, server.layout.account)


def write_certificate(server: Setup, certificate: Certificate) -> None:
    """Copy the node's certificate to where the server may read it; its key is closed to everybody else."""
    for name, text in ((KEY, certificate.key.reveal()), (CERTIFICATE, certificate.chain)):
        write_owned(server.layout.config / name, text, server.layout.account)


def shows(server: Setup, certificate: Certificate) -> bool:
    """Tell whether the server has the node's present certificate."""
    try:
        return (server.layout.config / CERTIFICATE).read_text() == certificate.chain
    except FileNotFoundError:
        return False


def server_facts(server: Setup) -> ServerFacts:
    """Gather what ``postgresql.conf`` is made from."""
    database, installation = server.database, server.choice().installation
    heap = database.extra.get(HEAP_KEY)
    keytab = keytab_path(server.host, database.name)
    return ServerFacts(
        node=server.host.node,
        addresses=server.addresses(),
        port=database.port,
        major=installation.major,
        data=server.place.data,
        config=server.layout.config,
        sockets=server.layout.sockets,
        memory=_share(database.mem_size, database.num_active_nodes),
        heap=Bytes(parse_size(heap)) if isinstance(heap, str) else None,
        temp_limit=TEMP_LIMIT,
        slot_limit=Bytes(max(server.volume.size // 4, _LEAST_SLOT)),
        auditing=database.enable_auditing,
        settings=effective(parse_params(database.params), installation.settings()),
        tls=server.certificate is not None,
        keytab=keytab if keytab.exists() else None,
        needed=limits_of_standby(server.place.data),
    )


def access_facts(server: Setup, maintenance: bool) -> AccessFacts:
    """Gather who may connect.

    :raises Unsupported: the installation lacks what logins need.
    """
    conf, database, installation = server.host.conf(), server.database, server.choice().installation
    options = read_options(parse_params(database.params))
    tls = server.certificate is not None
    for address in server.addresses():
        check_plaintext(address, tls or options.allow_plaintext)
    kerberos = keytab_path(server.host, database.name).exists()
    for needed, capability, purpose in (
        (bool(database.ldap_servers), Capability.LDAP, "ldap_server"),
        (kerberos, Capability.GSSAPI, "Kerberos"),
    ):
        if needed:
            installation.require(capability, purpose, find(server.host.installations))
    return AccessFacts(
        clients=_clients(server, maintenance),
        # Any node may be given an instance while this one runs.
        peers=tuple(node.private_ip for node in conf.nodes.values() if node.id != server.host.node),
        system_users=tuple(sorted({server.layout.account.name, daemon_user()})),
        tls=tls,
        ldap_servers=parse_servers(database.ldap_servers),
        kerberos=kerberos,
        options=options,
    )


def check_plaintext(address: str, allowed: bool) -> None:
    """Refuse a client port between machines that is open and not encrypted.

    :raises Unsupported: says how to get one or the other.
    """
    if not allowed and not address.startswith("127.") and address != "::1":
        raise Unsupported(
            f"this PostgreSQL has no TLS, so clients of {address} would send rows in the clear: choose a version "
            "with TLS, or accept it with database parameter -allowPlaintext=1"
        )


def daemon_user() -> str:
    """Return the system user of this process."""
    return pwd.getpwuid(os.getuid()).pw_name


def node_memory() -> Bytes:
    """Return the memory of this machine."""
    return Bytes(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _share(mem_size: Bytes, nodes: int) -> Bytes:
    return Bytes(min(mem_size, maximum(node_memory(), nodes)) // nodes)


def _clients(server: Setup, maintenance: bool) -> Clients:
    if server.host.node not in server.seats.active:
        return Clients.NONE
    return Clients.SYS if maintenance else Clients.ALL
