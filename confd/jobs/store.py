"""Jobs about the store that the cluster is kept in."""

from __future__ import annotations

from typing import Annotated, Any, Final

from confd.cluster.operations import MASTER
from confd.jobs.nodes_standing import MEMBERSHIP
from confd.jobs.store_founding import end, found, keep
from confd.model.errors import InvalidParameter, WrongState
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, Allow, job
from confd.services.etcd.plan import CLIENT_PORT
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

Port = Annotated[int, Rule(minimum=1, maximum=65534)]

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm"))


@job(MODIFY, allow=_ADMINISTRATORS, own=True, locks=[MEMBERSHIP])
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
    port: Port | None = None,
    binary: FilePath | None = None,
) -> str:
    """Move the cluster into another store, with its history; what was compared is returned.

    Running jobs end first, new ones wait. All nodes restart their daemons; databases go on. Without endpoints the first
    three data nodes (five, when there are so many; one of fewer than three) run etcd for the cluster. Such members end
    when the cluster has moved back.

    :param kind: The store to move to.
    :param endpoints: Where an etcd is that exists.
    :param ca: File with the certificates that sign etcd's.
    :param certificate: File with the nodes' certificate towards etcd.
    :param key: File with the key of that certificate.
    :param user: Name of the nodes' user in etcd.
    :param password_file: File with the user's password.
    :param check_names: Whether etcd's certificates must carry the names in the endpoints.
    :param prefix: What all keys in an etcd that exists begin with.
    :param port: Port of the etcd that the nodes run, 2379 unless given; the next one is for members among themselves.
    :param binary: Program of the etcd that the nodes run; the installed one unless given.

    Examples:
    {kind: etcd}
    {kind: etcd, endpoints: ['https://10.0.0.11:2379'], ca: /exa/etc/ssl/etcd-ca.crt}
    {kind: sqlite}
    """
    of_endpoints = {
        "endpoints": endpoints, "ca": ca, "certificate": certificate, "key": key, "user": user,
        "password_file": password_file, "check_names": None if check_names else False,
        "prefix": None if prefix == DEFAULT_PREFIX else prefix,
    }  # fmt: skip
    _check_together(kind, of_endpoints, {"port": port, "binary": binary})
    access = None
    if endpoints:
        access = EtcdAccess(
            endpoints=tuple(endpoints), ca=ca, certificate=certificate, key=key, user=user,
            password_file=password_file, names_checked=check_names,
        )  # fmt: skip
    if ctx.learn("present store", lambda: ctx.service(Moving).kind.value) == kind:
        raise WrongState(f"the store is {kind} already")
    states = _states(ctx)
    if kind == StoreKind.ETCD and access is None:
        founded = found(ctx, states, binary or "", port or CLIENT_PORT)
        keep(ctx, founded.members)
        return _move(ctx, founded.choice, states, founded.sealed)
    if kind == StoreKind.SQLITE:
        end(ctx)
    return _move(ctx, StoreChoice(kind=StoreKind(kind), etcd=access, prefix=prefix), states)


def _check_together(kind: StoreKind, of_endpoints: dict[str, Any], of_members: dict[str, Any]) -> None:
    """Check that what is given belongs to one and the same way of having a store."""
    endpoints = of_endpoints["endpoints"]
    if endpoints == []:
        raise InvalidParameter("endpoints: give at least one; without this parameter the nodes run etcd themselves")
    for endpoint in endpoints or ():
        check_endpoint(endpoint)
    if kind != StoreKind.ETCD:
        wrong, why = of_endpoints | of_members, "only the store etcd has that"
    elif endpoints:
        wrong, why = of_members, "is for an etcd that the nodes run; leave it out, or the endpoints"
    else:
        wrong, why = of_endpoints, "is for an etcd that exists; give its endpoints, too"
    for name, value in wrong.items():
        if value is not None:
            raise InvalidParameter(f"{name}: {why}")


def _move(ctx: Context, choice: StoreChoice, states: dict[int, NodeState], sealed: str = "") -> str:
    mark = ctx.learn("cluster mark", lambda: ctx.service(Moving).mark)
    for node in sorted(node for node, state in states.items() if state is NodeState.ONLINE):
        ctx.run(probe_store.on(node, choice=choice, cluster=mark))
    ctx.put_record(FAILED, None)
    verified = ctx.run(move_store.on(MASTER, choice=choice, job=ctx.job_id, sealed=sealed))
    return f"the store is {choice.kind} now; both held the same: {verified}"


def _states(ctx: Context) -> dict[int, NodeState]:
    known = ctx.learn("nodes", lambda: {str(node): str(state) for node, state in ctx.cluster.node_states().items()})
    return {int(node): NodeState(state) for node, state in known.items()}
