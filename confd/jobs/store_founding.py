"""Founding etcd members of the cluster's own, as part of moving into them; and ending them after moving out."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import msgspec

from confd.cluster.certificates import new_nameless_client
from confd.cluster.identity import NodeFiles
from confd.cluster.operations import MASTER
from confd.jobs.certifying import authority
from confd.model.errors import NodeOffline, WrongState
from confd.model.secret import Secret
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.services.etcd.founding import (
    end_founded,
    found_member,
    give_access,
    open_members,
    take_back,
)
from confd.services.etcd.hosting import check_member
from confd.services.etcd.layout import first_members
from confd.services.etcd.members import RECORD, Members
from confd.services.etcd.plan import Access, MemberPlan, own_choice, peer_url
from confd.store.choice import StoreChoice

_EXA: Final = Path("/exa")


class Founded(msgspec.Struct, frozen=True):
    """Members that run: how the nodes reach them, the sealed access to them, how the cluster keeps them."""

    choice: StoreChoice
    sealed: str
    members: Members


def found(ctx: Context, states: dict[int, NodeState], binary: str, port: int) -> Founded:
    """Run members on the first data nodes. All of it is taken back should the job fail.

    :param states: of all nodes.
    :raises ConfDError: a node cannot run one; nothing has changed.
    """
    seats = _seats(ctx, states)
    programs = ctx.run_all([(check_member.on(node, binary=binary, port=port), None) for node in seats])
    token, sealed = f"{ctx.conf.global_.cluster_name}-{ctx.job_id}", _access(ctx, port)
    online = sorted(node for node, state in states.items() if state is NodeState.ONLINE)
    ctx.run_all([(give_access.on(node, sealed=sealed), take_back.on(MASTER, nid=node, token=token)) for node in online])
    initial = {f"n{node}": peer_url(address, port) for node, address in seats.items()}
    plans = {
        node: MemberPlan(
            binary=program, name=f"n{node}", address=seats[node], port=port, initial=initial, token=token
        )
        for node, program in zip(seats, programs, strict=True)
    }  # fmt: skip
    ctx.run_all([(found_member.on(node, plan=plan), None) for node, plan in plans.items()])
    choice = own_choice(NodeFiles(_EXA), "", seats.values(), port)
    ctx.run(open_members.on(next(iter(seats)), choice=choice))
    return Founded(choice, sealed, Members(programs[0], port, token))


def keep(ctx: Context, members: Members) -> None:
    """Have the cluster keep its members from now on: they follow the nodes."""
    ctx.put_record(RECORD, msgspec.to_builtins(members))


def end(ctx: Context) -> None:
    """End the members that the cluster has left, if they were its own, on every node, whenever it returns."""
    known = ctx.record(RECORD)
    if known is None:
        return
    token = msgspec.convert(known, Members).token
    ctx.put_record(RECORD, None)
    for node in sorted(ctx.conf.nodes):
        ctx.settle(end_founded.on(node, token=token))


def _seats(ctx: Context, states: dict[int, NodeState]) -> dict[int, str]:
    """Return the nodes that run the first members, with their addresses."""
    seats = first_members(sorted(node.id for node in ctx.conf.nodes.values() if node.disks), states)
    if not seats:
        raise WrongState(
            "no node that is in service has a disk, and members of etcd run on data nodes only: add one with node_add, "
            "or give the endpoints of an etcd that exists"
        )
    if away := [f"n{node}" for node in seats if states[node] is not NodeState.ONLINE]:
        raise NodeOffline(
            f"{', '.join(away)} would run a member of etcd and does not answer: start it, or suspend it (node_suspend) "
            "so that another node takes its place"
        )
    return {node: ctx.conf.nodes[node].private_ip for node in seats}


def _access(ctx: Context, port: int) -> str:
    """Make what lets the nodes in, sealed."""
    client = new_nameless_client(
        authority(ctx, "it cannot run etcd of its own; give the endpoints of an etcd that exists")
    )
    access = Access(
        certificate=client.certificate_pem.decode(), key=client.key_pem.decode(), password=secrets.token_urlsafe(24),
        port=port,
    )  # fmt: skip
    return ctx.seal("access to etcd", Secret(msgspec.json.encode(access).decode()))
