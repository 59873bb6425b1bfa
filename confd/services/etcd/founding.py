"""Members for a cluster that runs none yet: made before it moves into them, and taken back when it does not."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Final

import msgspec

from confd.cluster.host import Host, Master
from confd.cluster.identity import NodeFiles
from confd.cluster.operations import master_operation, operation
from confd.model.errors import NodeError, WrongState
from confd.services.etcd.access import secure
from confd.services.etcd.binary import find_binary, if_there
from confd.services.etcd.hosting import check_ports
from confd.services.etcd.members import Members
from confd.services.etcd.minder import server_at
from confd.services.etcd.passwords import make_password
from confd.services.etcd.plan import (
    Access,
    MemberPlan,
    add_passwords,
    drop_access,
    is_own,
    keep_access,
    load_plan,
    peer_url,
    save_choice,
)
from confd.services.nodes.stores import Moving, resolve
from confd.store.choice import StoreChoice, StoreKind, load_choice
from confd.store.etcd.access import Endpoint
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdError
from confd.store.etcd.gateway import learn_endpoints

_OPEN_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.1
_REACH_SECONDS: Final = 1.0


@operation("etcd.give_access")
def give_access(host: Host, sealed: str) -> None:
    """Write the files that let a node into the members, which are sealed."""
    access = NodeFiles(host.root).vault().open(sealed).reveal()
    keep_access(host.root, msgspec.json.decode(access, type=Access))


@operation("etcd.found_member")
def found_member(host: Host, plan: MemberPlan) -> None:
    """Run one of the first members; what an earlier one left on the node goes."""
    server_at(host.root).join(plan)


@operation("etcd.open_members")
def open_members(host: Host, choice: StoreChoice) -> None:
    """Wait until all members answer, and have etcd ask for the user from then on.

    :raises NodeError: they do not come up in time.
    """
    local = resolve(choice, host.path).etcd
    assert local is not None
    client, until = EtcdClient(local), time.monotonic() + _OPEN_SECONDS
    try:
        while (trouble := _trouble(client, local.password(), len(local.endpoints))) is not None:
            if time.monotonic() > until:
                raise NodeError(f"the members of etcd do not come up: {trouble}; see logs/logd/etcd.log of their nodes")
            time.sleep(_LOOK_SECONDS)
    finally:
        client.close()


@operation("etcd.end_founded")
def end_founded(host: Host, token: str) -> None:
    """Run the member of one founding no more, with its data; a member of another one stays.

    Files that let the node in go, too, unless it uses them.
    """
    plan = load_plan(host.root)
    if plan is not None and plan.token == token:
        server_at(host.root).leave()
    if load_plan(host.root) is None and not is_own(host.root, load_choice(host.root)):
        drop_access(host.root)


@master_operation("etcd.take_back")
def take_back(master: Master, nid: int, token: str) -> None:
    """Undo what founding did on a node. Once the cluster is in etcd nothing is undone: the members are its store.

    :raises NodeOffline: the node does not answer.
    """
    if master.service(Moving).kind is not StoreKind.ETCD:
        master.cluster.call(end_founded.on(nid, token=token))


def found_alone(root: Path, name: str, address: str, members: Members | None) -> None:
    """Begin a new etcd of one member on a node that survived those who had members; it asks no other one any more.

    May be repeated. What the new etcd is to hold has still to be written.

    :param members: how the cluster ran its members; None when that was not recorded yet.
    :raises WrongState: a member of before can be reached, or the cluster runs none of its own; nothing has changed.
    :raises Unsupported: there is no etcd on this node.
    :raises InUse: somebody else listens on its port.
    """
    choice = load_choice(root)
    if choice.etcd is None or not is_own(root, choice):
        raise WrongState("the cluster runs no etcd of its own; bring the one it uses back by etcd's own means first")
    before = [Endpoint.of(url) for url in choice.etcd.endpoints]
    if there := [one.host for one in before if one.host != address and _listens(one)]:
        raise WrongState(
            f"the member of etcd at {', '.join(there)} can be reached, and may know more than {name}: go on from there "
            "(c4 store recover -t PLAY.NODE), or end it first"
        )
    members = members or Members("", before[0].port, "recovered")
    binary = find_binary(if_there(members.binary))
    check_ports(root, address, members.port)
    plan = MemberPlan(
        binary=binary, name=name, address=address, port=members.port, token=members.token,
        initial={name: peer_url(address, members.port)},
    )  # fmt: skip
    access = msgspec.structs.replace(choice.etcd, endpoints=(plan.client_url,))
    # A node that was removed while this one was down may know the present one.
    add_passwords(root, [make_password()])
    # First of all: a member that this node does not know how to reach would be of no use.
    save_choice(root, msgspec.structs.replace(choice, etcd=access))
    server_at(root).join(plan)
    learn_endpoints(access, only=True)


def _listens(endpoint: Endpoint) -> bool:
    try:
        socket.create_connection((endpoint.host, endpoint.port), _REACH_SECONDS).close()
    except OSError:
        return False
    return True


def _trouble(client: EtcdClient, password: str, members: int) -> EtcdError | None:
    try:
        secure(client, password)
        for place in range(members):
            client.status(place)
    except EtcdError as error:
        return error
    return None
