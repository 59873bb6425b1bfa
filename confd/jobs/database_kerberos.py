"""Logins to databases by Kerberos."""

from __future__ import annotations

import base64
from typing import Annotated, Final

import msgspec

from confd.exaconf import Database
from confd.jobs import locks
from confd.jobs.engine import check_with_engine
from confd.jobs.observing import ask, require_stopped
from confd.jobs.types import DatabaseName
from confd.model.errors import AlreadyExists, InvalidParameter
from confd.model.secret import Secret
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, Allow, job
from confd.services.database.engine.keytab import decode_keytab, has_keytab, principals, remove_keytab, write_keytab
from confd.services.database.params import Param, edit_params

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm", "exadbadm"))


def _check_word(text: str) -> None:
    if not text or not text.isprintable() or set(text) & set(" \"'@"):
        raise InvalidParameter(f"{text!r} cannot be part of a Kerberos principal")


Keytab = Annotated[str, Rule(secret=True, longest=1_000_000)]
Word = Annotated[str, Rule(check=_check_word)]


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")])
def db_configure_kerberos(
    ctx: Context,
    db_name: DatabaseName,
    keytab: Keytab,
    *,
    host: Word | None = None,
    realm: Word | None = None,
    service: Word | None = None,
) -> None:
    """Give a stopped database a keytab: members of role kerberos_users then log in with a ticket.

    The keytab is written on all nodes as /exa/etc/<database>-keytab. An old one has to be deleted before.

    :param db_name: Name of an existing database.
    :param keytab: Content of the keytab file, binary or in base64.
    :param host: Host part of the principal.
    :param realm: Realm of the principal and of the users.
    :param service: Service name of the principal.

    Examples:
    {db_name: mydb, host: my_hostname, keytab: <keytab file contents>, realm: EXAMPLE.COM, service: service_name}
    {db_name: DB1, keytab: any_string, realm: BOXES.TEST}
    """
    database = ctx.conf.require_database(db_name)
    require_stopped(ctx, db_name, "configured")
    content = decode_keytab(keytab)
    names = {"kerberosHostname": host, "kerberosRealm": realm, "kerberosServiceName": service}
    words = [str(Param(name, value)) for name, value in names.items() if value is not None]
    after = msgspec.structs.replace(database, params=edit_params(database.params, None, words))
    check_with_engine(ctx, after, kerberos=True)
    _warn_of_principals(ctx, content, host, realm, service)
    nodes = _nodes(ctx, database)
    for node in nodes:
        if ask(ctx, has_keytab.on(node, database=db_name)):
            raise AlreadyExists(f"/exa/etc/{db_name}-keytab exists on n{node} already; delete it on all nodes first")
    sealed = ctx.seal("keytab", Secret(base64.b64encode(content).decode()))
    ctx.run_all(
        [
            (
                write_keytab.on(node, database=db_name, keytab=sealed),
                remove_keytab.on(node, database=db_name, keytab=sealed),
            )
            for node in nodes
        ]
    )
    ctx.conf.put(after)


def _nodes(ctx: Context, database: Database) -> list[int]:
    """Return the nodes of the database, which have to answer, and the others that do."""
    states = ctx.learn("states", lambda: {str(node): state.value for node, state in ctx.cluster.node_states().items()})
    return [
        node for node in ctx.conf.nodes if node in database.nodes or states.get(str(node)) == NodeState.ONLINE.value
    ]


def _warn_of_principals(ctx: Context, content: bytes, host: str | None, realm: str | None, service: str | None) -> None:
    held = principals(content)
    if not held:
        ctx.warn("what was given is no keytab; before the database starts, replace the file on all nodes by one")
        return
    fitting = (
        (service is None or one.split("/")[0].split("@")[0] == service)
        and (host is None or one.partition("/")[2].rpartition("@")[0] == host)
        and (realm is None or one.rpartition("@")[2] == realm)
        for one in held
    )
    if not any(fitting):
        ctx.warn(f"the keytab has no key for this principal; it has {', '.join(held)}")
