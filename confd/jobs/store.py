"""Jobs about the store that the cluster is kept in."""

from __future__ import annotations

from typing import Annotated, Final

from confd.cluster.operations import MASTER
from confd.model.errors import InvalidParameter, WrongState
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, Allow, job
from confd.services.nodes.stores import FAILED, Moving, move_store, probe_store
from confd.store.choice import StoreChoice, StoreKind
from confd.store.etcd.access import DEFAULT_PREFIX, Endpoint, EtcdAccess


def check_endpoint(endpoint: str) -> None:
    """Check the form of an endpoint."""
    try:
        Endpoint.of(endpoint)
    except ValueError as error:
        raise InvalidParameter(str(error)) from None


def check_prefix(prefix: str) -> None:
    """Check what all keys in etcd begin with."""
    if len(prefix) < 3 or not (prefix.startswith("/") and prefix.endswith("/")):
        raise InvalidParameter(f"{prefix!r} cannot begin keys; give one like {DEFAULT_PREFIX}")


def check_path(path: str) -> None:
    """Check the name of a file."""
    if not path.startswith("/"):
        raise InvalidParameter(f"{path!r} is no absolute path; it must be the same on all nodes, or below /exa")


FilePath = Annotated[str, Rule(check=check_path)]
Endpoints = Annotated[list[str], Rule(form="URLs such as https://10.0.0.11:2379")]
Prefix = Annotated[str, Rule(check=check_prefix)]

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm"))


@job(MODIFY, allow=_ADMINISTRATORS, own=True, lockless=True)
def store_move(
    ctx: Context,
    kind: StoreKind,
    *,
    endpoints: Endpoints | None = None,
    ca: FilePath | None = None,
    certificate: FilePath | None = None,
    key: FilePath | None = None,
    user: str | None = None,
    password_file: FilePath | None = None,
    check_names: bool = True,
    prefix: Prefix = DEFAULT_PREFIX,
) -> str:
    """Move the cluster into another store, with its history; what was compared is returned.

    Running jobs end first, new ones wait. All nodes restart their daemons; databases go on.

    :param kind: The store to move to.
    :param endpoints: Where etcd is.
    :param ca: File with the certificates that sign etcd's.
    :param certificate: File with the nodes' certificate towards etcd.
    :param key: File with the key of that certificate.
    :param user: Name of the nodes' user in etcd.
    :param password_file: File with the user's password.
    :param check_names: Whether etcd's certificates must carry the names in the endpoints.
    :param prefix: What all keys in etcd begin with.

    Examples:
    {kind: etcd, endpoints: ['https://10.0.0.11:2379'], ca: /exa/etc/ssl/etcd-ca.crt}
    {kind: sqlite}
    """
    access = None
    if kind == StoreKind.ETCD:
        if not endpoints:
            raise InvalidParameter("endpoints: say where etcd is, such as ['https://10.0.0.11:2379']")
        for endpoint in endpoints:
            check_endpoint(endpoint)
        access = EtcdAccess(
            endpoints=tuple(endpoints), ca=ca, certificate=certificate, key=key, user=user,
            password_file=password_file, names_checked=check_names,
        )  # fmt: skip
    elif endpoints:
        raise InvalidParameter("endpoints: only the store etcd has endpoints")
    choice = StoreChoice(kind=StoreKind(kind), etcd=access, prefix=prefix)
    if ctx.learn("present store", lambda: ctx.service(Moving).kind.value) == kind:
        raise WrongState(f"the store is {kind} already")
    states = ctx.learn("nodes online", lambda: _online(ctx.cluster.node_states()))
    mark = ctx.learn("cluster mark", lambda: ctx.service(Moving).mark)
    for node in states:
        ctx.run(probe_store.on(node, choice=choice, cluster=mark))
    ctx.put_record(FAILED, None)
    verified = ctx.run(move_store.on(MASTER, choice=choice, job=ctx.job_id))
    return f"the store is {kind} now; both held the same: {verified}"


def _online(states: dict[int, NodeState]) -> list[int]:
    return sorted(node for node, state in states.items() if state is NodeState.ONLINE)
