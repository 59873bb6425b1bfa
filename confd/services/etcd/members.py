"""The members of a cluster's own etcd go with its nodes: the master adds and removes them, one step at a time."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import structlog

from confd.cluster.host import Cluster, Host
from confd.cluster.operations import operation
from confd.exaconf import Conf
from confd.model.errors import ConfDError
from confd.model.states import NodeState
from confd.services.etcd.access import with_client
from confd.services.etcd.binary import find_binary, if_there
from confd.services.etcd.hosting import REPORT, check_further_member, has_lost_member
from confd.services.etcd.layout import Add, Member, Promote, Remove, Step, host_of, next_step
from confd.services.etcd.minder import server_at
from confd.services.etcd.passwords import give_passwords, passwords, passwords_mark
from confd.services.etcd.plan import MemberPlan, nearest_first, peer_url, save_choice
from confd.services.rounds import Rounds
from confd.store.choice import load_choice
from confd.store.etcd.client import EtcdClient, MemberRow
from confd.store.etcd.errors import EtcdNotFound, EtcdRefused
from confd.store.etcd.gateway import learn_endpoints

log = structlog.get_logger("etcd")

RECORD: Final = "cluster/etcd"
"""Runtime record of a cluster that runs its own etcd."""

_LEARNING: Final = "in sync with leader"
_LOOK_SECONDS: Final = 2.0
_ASK_SECONDS: Final = 30.0


class Members(msgspec.Struct, frozen=True):
    """How the cluster runs its own etcd: program (looked for where a node has it not), client port, token."""

    binary: str
    port: int
    token: str


@operation("etcd.members")
def list_members(host: Host) -> list[MemberRow]:
    """List the members of etcd, as a majority knows them."""
    return with_client(host, lambda client: client.member_list())


@operation("etcd.add_member")
def add_member(host: Host, url: str) -> int:
    """Announce a member by its peer URL, without a vote; its number. One that is announced already is fine."""

    def add(client: EtcdClient) -> int:
        known = next((row for row in client.member_list() if url in row.peers), None)
        return (known or client.member_add([url], learner=True)).id

    return with_client(host, add)


@operation("etcd.promote_member")
def promote_member(host: Host, member: int) -> None:
    """Give a member a vote, unless it has not all that the others have yet."""

    def promote(client: EtcdClient) -> None:
        try:
            client.member_promote(member)
        except EtcdRefused as error:
            if _LEARNING not in str(error):
                raise

    with_client(host, promote)


@operation("etcd.remove_member")
def remove_member(host: Host, member: int) -> None:
    """Take a member out; one that is not there is fine."""

    def remove(client: EtcdClient) -> None:
        try:
            client.member_remove(member)
        except EtcdNotFound:
            return

    with_client(host, remove)


@operation("etcd.run_member")
def run_member(host: Host, members: Members, initial: dict[str, str], number: int) -> None:
    """Run a new member on this node, which is announced already; one that has run is left as it is."""
    plan = MemberPlan(
        binary=find_binary(if_there(members.binary)), name=host.name, address=host.address,
        port=members.port, initial=initial, token=members.token, joining=True,
        number=number,
    )  # fmt: skip
    server_at(host.root).join(plan)


@operation("etcd.end_member")
def end_member(host: Host) -> None:
    """Run no member here any more."""
    server_at(host.root).leave()


@operation("etcd.know_endpoints")
def know_endpoints(host: Host, endpoints: tuple[str, ...], port: int) -> None:
    """Reach etcd by these endpoints; those that are no members any more are forgotten with the next start."""
    choice = load_choice(host.root)
    if choice.etcd is not None and set(choice.etcd.endpoints) != set(endpoints):
        access = msgspec.structs.replace(choice.etcd, endpoints=nearest_first(endpoints, host.address, port))
        save_choice(host.root, msgspec.structs.replace(choice, etcd=access))
        learn_endpoints(access)


class EtcdMembers:
    """Service of the master: keeps as many members as the cluster needs, on nodes that are there."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._rounds = Rounds("etcd-members", self._look, every=0.0, pause=_LOOK_SECONDS)
        self._told: dict[int, tuple[tuple[str, ...], str]] = {}
        self._cleared: set[int] = set()
        self._unfit: dict[int, str] = {}
        self._lost: set[int] = set()

    def start(self) -> None:
        """Begin."""
        self._rounds.start()

    def close(self) -> None:
        """End; members stay as they are."""
        self._rounds.close()

    def trouble(self, node: int) -> str:
        """Return why a node does not run the member that it should run; empty when it does, or need not."""
        if why := self._unfit.get(node):
            return f"it cannot run a member of etcd: {why}"
        if node in self._lost:
            return "its member of etcd has lost its data and is made anew"
        told = self._cluster.status(node, REPORT) or {}
        return str(told.get("trouble", ""))

    def _look(self) -> None:
        known = self._cluster.record(RECORD)
        if known is None:
            return
        try:
            self.work(msgspec.convert(known, Members))
        except ConfDError as error:
            log.warning("etcd_members_left", error=error.message)

    def work(self, members: Members) -> None:
        """Do the next step that is due, if any, and tell the nodes where etcd is.

        :raises ConfDError: a step failed; it is tried again.
        """
        conf, states = self._cluster.conf(), self._cluster.node_states()
        # The master is certainly in the etcd that made it master; one that returns may still be in a former one.
        through = self._cluster.node
        rows = self._call(list_members.on(through))
        present = [Member(row.id, _node_of(row, conf, members.port), bool(row.name), row.learner) for row in rows]
        self._tell(rows, states, members.port)
        step = self._next_step(present, states, members)
        if isinstance(step, Remove):
            self._remove(through, step, {one.id: one.node for one in present}, states)
        elif isinstance(step, Add):
            self._add(through, step.node, members, rows)
        elif isinstance(step, Promote):
            self._call(promote_member.on(through, member=step.member))
        else:
            self._end_left_overs(present, states)

    def _next_step(self, present: list[Member], states: dict[int, NodeState], members: Members) -> Step | None:
        """Return the next step that can be taken: the nodes that it needs a member on have been asked."""
        unfit: dict[int, str] = {}
        data_nodes = _data_nodes(self._cluster.conf())
        self._lost = {
            one.node for one in present if one.node is not None and one.started and self._has_lost(one.node, states)
        }
        while True:
            step = next_step(present, states, data_nodes, unfit, self._lost)
            node = host_of(step)
            if node is None or not (why := self._hindrance(node, members)):
                break
            unfit[node] = why
        for node in unfit.keys() - self._unfit.keys():
            log.warning("etcd_member_impossible", node=node, why=unfit[node])
        self._unfit = unfit
        return step

    def _has_lost(self, node: int, states: dict[int, NodeState]) -> bool:
        """Tell whether the member of a node is lost; asked again when the node said so, which may be out of date."""
        if states.get(node) is not NodeState.ONLINE or not (self._cluster.status(node, REPORT) or {}).get("lost"):
            return False
        return bool(self._call(has_lost_member.on(node)))

    def _hindrance(self, node: int, members: Members) -> str:
        try:
            self._call(check_further_member.on(node, binary=members.binary, port=members.port))
        except ConfDError as error:
            return error.message
        return ""

    def _add(self, through: int, node: int, members: Members, rows: list[MemberRow]) -> None:
        conf = self._cluster.conf()
        url = peer_url(conf.require_node(node).private_ip, members.port)
        log.info("etcd_member_added", node=node)
        number = self._call(add_member.on(through, url=url))
        initial = {row.name or f"n{_node_of(row, conf, members.port)}": row.peers[0] for row in rows}
        self._call(run_member.on(node, members=members, initial={**initial, f"n{node}": url}, number=number))

    def _remove(self, through: int, step: Remove, nodes: dict[int, int | None], states: dict[int, NodeState]) -> None:
        node = nodes[step.member]
        log.info("etcd_member_removed", node=node, member=step.member)
        self._call(remove_member.on(through, member=step.member))
        if node is not None and states.get(node) is NodeState.ONLINE:
            self._call(end_member.on(node))

    def _end_left_overs(self, present: list[Member], states: dict[int, NodeState]) -> None:
        """End servers on nodes that returned after their member was taken out."""
        taken = {one.node for one in present}
        for node, state in states.items():
            if state is not NodeState.ONLINE or node in taken:
                self._cleared.discard(node)
            elif node not in self._cleared:
                self._call(end_member.on(node))
                self._cleared.add(node)

    def _tell(self, rows: list[MemberRow], states: dict[int, NodeState], port: int) -> None:
        """Tell nodes what they need to reach etcd: each that comes, and all when it changes."""
        # One that learns answers no clients.
        endpoints = tuple(sorted(url for row in rows if not row.learner for url in row.clients))
        # A node may miss a renewal, and be back before anybody saw that it was away.
        mark = self._call(passwords_mark.on(self._cluster.node))
        for node, state in states.items():
            if state is not NodeState.ONLINE:
                self._told.pop(node, None)
            elif (told := self._told.get(node)) != (endpoints, mark):
                self._call(know_endpoints.on(node, endpoints=endpoints, port=port))
                if node != self._cluster.node and (told is None or told[1] != mark):
                    self._call(give_passwords.on(node, sealed=self._call(passwords.on(self._cluster.node))))
                self._told[node] = endpoints, mark

    def _call(self, command: Any) -> Any:
        return self._cluster.call(command, _ASK_SECONDS)


def _node_of(row: MemberRow, conf: Conf, port: int) -> int | None:
    """Return the node a member belongs to, by its address: it has no name before it runs."""
    for node in conf.nodes.values():
        if peer_url(node.private_ip, port) in row.peers:
            return node.id
    return None


def _data_nodes(conf: Conf) -> list[int]:
    return sorted(node.id for node in conf.nodes.values() if node.disks)
