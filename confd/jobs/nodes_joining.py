"""Letting new machines in: tokens, admission, and the end of joining."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from confd import __version__
from confd.cluster.certificates import Pair, certify, fingerprint, key_fingerprint
from confd.cluster.joining.tokens import Token, cluster_uuid, hash_secret, new_secret, write
from confd.exaconf import Disk, Node
from confd.jobs import locks
from confd.jobs.certifying import authority
from confd.jobs.nodes_standing import MEMBERSHIP
from confd.jobs.types import DeviceName, DiskName, NodeId, SectorCount
from confd.model.errors import InUse, InvalidParameter, PermissionDenied, WrongState
from confd.model.secret import Secret
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, Allow, job
from confd.services.nodes.admission import (
    JOINED,
    TOKENS,
    Applicant,
    Present,
    TokenRecord,
    admit,
    unknown_token,
)
from confd.services.nodes.joining import add_first_device, remove_first_device
from confd.services.nodes.standing import suspension_key
from confd.services.storage.devices import NewDevice
from confd.services.storage.places import device_name, node_devices

_DOORS: Final = 5
_LONGEST: Final = 7 * 86_400

Lifetime = Annotated[int, Rule(minimum=1, maximum=_LONGEST)]
Given = Annotated[str, Rule(secret=True)]


@job(MODIFY, allow=Allow(groups=("root", "exaadm")), locks=locks.node("nid"), own=True)
def node_token(ctx: Context, nid: NodeId, *, lifetime: Lifetime = 3600) -> Secret:
    """Make the token with which a new machine becomes a node: c4 host join TOKEN.

    It is good once. A token made for the node before is worth nothing from then on.

    :param nid: Id of a node that was added with node_add and has not joined yet.
    :param lifetime: Seconds until the token expires.

    Examples:
    {nid: 14}
    {nid: 14, lifetime: 600}
    """
    node = ctx.conf.require_node(nid)
    if ctx.record(f"{JOINED}{nid}") == node.uuid:
        raise InUse(f"n{nid} has joined already; another machine joins as another node, see node_add")
    secret, expires = new_secret(), ctx.now() + lifetime
    record = TokenRecord(hash_secret(secret), node.uuid, expires)
    ctx.put_record(f"{TOKENS}{nid}", msgspec.to_builtins(record))
    token = Token(
        cluster=ctx.conf.global_.cluster_name, authority=fingerprint(_authority(ctx).certificate_pem), node=nid,
        uuid=node.uuid, address=node.private_ip, doors=_doors(ctx), port=ctx.conf.global_.cored_port,
        confd_port=ctx.conf.global_.xmlrpc_port, expires=int(expires), secret=secret,
    )  # fmt: skip
    return Secret(write(token))


@job(MODIFY, allow=Allow(groups=("root",)), locks=locks.node("nid"), own=True)
def node_admit(
    ctx: Context, nid: NodeId, secret: Given, cluster: str, request: str, address: str, version: str, clock: int
) -> dict[str, Any]:
    """Let a machine in that brings a token: certify its key. Done by the node port when a machine joins.

    :param nid: Id of the node that it joins as.
    :param secret: Secret of the token, hexadecimal.
    :param cluster: UUID of the cluster that the token is for.
    :param request: Certificate request of the machine, PEM.
    :param address: Address of the machine.
    :param version: Version of its OpenConfD.
    :param clock: What it takes for the time, UTC seconds.

    Examples:
    {nid: 14, secret: 5f6c..., cluster: 290341..., request: -----BEGIN CERTIFICATE REQUEST-----..., address: 10.0.0.14, version: 0.1.0, clock: 1796000000}
    """  # noqa: E501 - one example per line
    signing, node = _authority(ctx), ctx.conf.nodes.get(nid)
    known = ctx.record(f"{TOKENS}{nid}")
    applicant = Applicant(
        node=nid, secret=_secret_bytes(nid, secret), cluster=cluster, key=_key_of(request), address=address,
        version=version, clock=clock,
    )  # fmt: skip
    present = Present(
        cluster=cluster_uuid(fingerprint(signing.certificate_pem)), version=__version__, now=ctx.now(), node=node,
        token=msgspec.convert(known, TokenRecord) if known else None, joined=ctx.record(f"{JOINED}{nid}"),
    )  # fmt: skip
    ctx.put_record(f"{TOKENS}{nid}", msgspec.to_builtins(admit(applicant, present)))
    assert node is not None
    return {
        "certificate": certify(signing, request.encode(), node.uuid, [node.private_ip, node.name]).decode(),
        "members": sorted(one.uuid for one in ctx.conf.nodes.values()),
    }


@job(
    MODIFY, allow=Allow(groups=("root",)), own=True,
    locks=[MEMBERSHIP, locks.node("nid"), locks.space("nid", "disk")],
)  # fmt: skip
def node_joined(
    ctx: Context, nid: NodeId, *, disk: DiskName = "disk1", devname: DeviceName = "dev.1", seccount: SectorCount = 0
) -> None:
    """Take a node that has joined into service, with its first device. Done by c4 host join at its end.

    :param nid: Id of the node.
    :param disk: Disk to put the device in.
    :param devname: The device.
    :param seccount: Number of sectors of the device; 0: the node gets no device.

    Examples:
    {nid: 14, seccount: 13107200}
    """
    node = ctx.conf.require_node(nid)
    if ctx.record(f"{JOINED}{nid}") == node.uuid:
        raise WrongState(f"n{nid} has joined already and is in service")
    token = ctx.record(f"{TOKENS}{nid}")
    if not token or not token.get("key"):
        raise WrongState(f"no machine joins as n{nid}; make a token with c4 host token {nid}")
    if seccount:
        node = _with_device(ctx, node, disk, device_name(devname), seccount)
    if node.suspended:
        # Mostly it is in service already: the master takes back whoever is started anew.
        node = msgspec.structs.replace(node, state="")
        ctx.put_record(suspension_key(nid), None)
    ctx.conf.put(node)
    ctx.put_record(f"{JOINED}{nid}", node.uuid)


def _with_device(ctx: Context, node: Node, disk: str, name: str, sectors: int) -> Node:
    device = NewDevice(name=name, disk=disk, uuid=ctx.token(32), sectors=sectors)
    undo = remove_first_device.on(node.id, device=name, uuid=device.uuid)
    ctx.run(add_first_device.on(node.id, device=device), undo=undo)
    if any(name == device_name(known) for _, known in node_devices(ctx.committed, node.id)):
        return node
    known = node.disks.get(disk, Disk(name=disk, mapping=(f"{name}:/exa/data/storage",)))
    grown = msgspec.structs.replace(known, devices=(*known.devices, name))
    return msgspec.structs.replace(node, disks={**node.disks, disk: grown})


def _authority(ctx: Context) -> Pair:
    return authority(ctx, "no node can join; make a new cluster and restore the backups of this one there")


def _doors(ctx: Context) -> tuple[str, ...]:
    states = ctx.learn("nodes", lambda: {str(node): str(state) for node, state in ctx.cluster.node_states().items()})
    online = [node for node in ctx.conf.nodes.values() if states.get(str(node.id)) == NodeState.ONLINE]
    return tuple(node.private_ip for node in sorted(online, key=lambda node: (node.affinity, node.id))[:_DOORS])


def _secret_bytes(node: int, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise PermissionDenied(unknown_token(node)) from None


def _key_of(request: str) -> str:
    try:
        return key_fingerprint(request.encode())
    except ValueError as error:
        raise InvalidParameter(f"request: no certificate request in PEM: {error}") from None
