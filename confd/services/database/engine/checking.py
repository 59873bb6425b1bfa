"""Checks on a node whether a database could run there as it is wished."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.model.errors import InvalidParameter, NotFound, Unsupported
from confd.services.database.engine.auditing import check_auditing
from confd.services.database.engine.files import check_plaintext
from confd.services.database.engine.initial_sql import read_statements
from confd.services.database.engine.installation import Capability, Choice, Installation, choose, find
from confd.services.database.options import OWN, Options, read_options
from confd.services.database.params import check_params, effective, parse_params


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What of a database a node has to be able to do; names are those of its section."""

    version: str
    params: str = ""
    ldap: bool = False
    kerberos: bool = False
    interfaces: tuple[str, ...] = ()
    initial_sql: str | None = None
    auditing: bool = False


@operation("database.check_draft")
def check(host: Host, draft: Draft) -> list[str]:
    """Check a database as the server will; return warnings.

    :raises InvalidParameter: the server would not start with these parameters.
    :raises Unsupported: the installation lacks something; says what to install.
    :raises NotFound: the node has no such installation, interface or file.
    """
    try:
        choice = _able(host, draft)
    except (NotFound, Unsupported) as error:
        raise type(error)(f"{host.name}: {error.message}") from None
    installation, options = choice.installation, read_options(parse_params(draft.params))
    _check_networks(host, installation, draft.interfaces, options)
    if draft.initial_sql is not None:
        read_statements(host, draft.initial_sql)
    warnings = [choice.warning] if choice.warning else []
    return [*warnings, *_check_parameters(installation, draft), *_without_effect(installation, options)]


def _able(host: Host, draft: Draft) -> Choice:
    present = find(host.installations)
    choice = choose(draft.version, present, host.conf().global_.db_version or None)
    for needed, capability, purpose in (
        (draft.ldap, Capability.LDAP, "ldap_server"),
        (draft.kerberos, Capability.GSSAPI, "Kerberos"),
    ):
        if needed:
            choice.installation.require(capability, purpose, present)
    return choice


def _check_networks(host: Host, installation: Installation, interfaces: tuple[str, ...], options: Options) -> None:
    node = host.conf().require_node(host.node)
    known = {"private": node.private_ip} | ({"public": node.public_ip} if node.public_ip else {})
    for network in interfaces:
        if network not in known:
            raise NotFound(f"interfaces: {host.name} has no network {network!r}; there is {', '.join(known)}")
    encrypted = Capability.TLS in installation.capabilities or options.allow_plaintext
    for network in interfaces or known:
        check_plaintext(known[network] or "", encrypted)


def _check_parameters(installation: Installation, draft: Draft) -> list[str]:
    parsed, known = parse_params(draft.params), installation.settings()
    warnings, settings = check_params(parsed, known, OWN), effective(parsed, known)
    if refusal := installation.refusal(settings):
        raise InvalidParameter(f"PostgreSQL {installation.version} refuses the parameters: {refusal}")
    if draft.auditing:
        check_auditing(settings)
    return warnings


def _without_effect(installation: Installation, options: Options) -> Iterator[str]:
    kerberos = options.kerberos_hostname or options.kerberos_realm or options.kerberos_service_name
    for given, word, capability in (
        (options.force_protocol_encryption, "-forceProtocolEncryption=1", Capability.TLS),
        (bool(kerberos), "-kerberos...", Capability.GSSAPI),
    ):
        if given and capability not in installation.capabilities:
            yield (
                f"database parameter {word} is kept but has no effect: PostgreSQL {installation.version} has no "
                f"{capability.value}; choose a version with it"
            )
