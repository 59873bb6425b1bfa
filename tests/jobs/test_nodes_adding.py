"""Adding nodes, and giving nodes other addresses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from confd.exaconf import Disk, Node, parse, render
from confd.exaconf.validation import validate
from confd.model.errors import AlreadyExists, ConfDError, InvalidParameter, LimitExceeded, NotFound, WrongState
from confd.model.states import NodeState
from confd.services.database.record import Record, Wanted
from confd.services.nodes.admission import JOINED, TOKENS
from confd.services.nodes.attendance import Attendance
from confd.services.nodes.naming import RETIRED
from tests.jobs.stage import Stage
from tests.services.nodes.test_removal import database

UUIDS = ("7EAA8DEF9DF7483CABAD93774A4F130EBF2CE77F", "39103D5FA93C46D3B8359918D01156ABD33B36EC")


def test_the_next_free_id_is_taken(stage: Stage) -> None:
    """Without an id a node gets the next one, its name, a UUID and an affinity; it starts out suspended."""
    assert stage.run("node_add", priv_net="10.10.10.1/24", by="admin").result == 14
    node = stage.conf.require_node(14)
    assert (node.name, node.private_net, node.affinity, node.state) == ("n14", "10.10.10.1/24", 14, "suspended")
    assert len(node.uuid) == 40
    assert node.uuid == node.uuid.upper()
    assert stage.run("node_add", priv_net="10.10.10.2/24").result == 15
    assert stage.conf.require_node(15).uuid != node.uuid
    assert validate(stage.conf.sections) == []


def test_every_option_is_kept_and_shown(stage: Stage) -> None:
    """In EXAConf, also through its text, and by node_list and st_node_list."""
    options: dict[str, Any] = {
        "name": "spare", "pub_net": "192.168.0.20/24", "space_warn_threshold": 75, "bg_rec_limit": 40,
        "no_partition_extend": True,
    }  # fmt: skip
    ran = stage.run("node_add", priv_net="10.0.0.20/24", nid=20, **options)
    assert ran.result == 20
    assert [warning.partition(":")[0] for warning in ran.warnings] == ["no_partition_extend has no effect"]
    text = render(dict(stage.conf.sections), 1)
    assert parse(text).sections["Node : 20"] == stage.conf.require_node(20)
    shown = stage.run("node_list").result["20"]
    assert shown.pop("uuid") == stage.conf.require_node(20).uuid
    assert shown == {
        "id": "20", "name": "spare", "private_net": "10.0.0.20/24", "private_ip": "10.0.0.20",
        "public_net": "192.168.0.20/24", "public_ip": "192.168.0.20", "affinity": 20, "state": "suspended",
        "space_warn_threshold": 75, "bg_rec_limit": 40, "no_partition_extend": True,
    }  # fmt: skip


def test_limits_of_a_node_go_before_those_of_the_cluster(stage: Stage) -> None:
    """What node_add set is what storage goes by."""
    stage.put(msgspec.structs.replace(stage.conf.require_node(12), space_warn_threshold=0, bg_rec_limit=7))
    ran = stage.run("st_node_list")
    nodes = {one["phys_nid"]: one for one in ran.result.values()}
    assert (nodes[12]["space_warn_threshold"], nodes[12]["bg_rec_limit"]) == (0, 7)
    assert (nodes[11]["space_warn_threshold"], nodes[11]["bg_rec_limit"]) == (90, 0)
    assert ran.warnings == []


def test_a_node_that_is_short_of_storage_is_named(stage: Stage) -> None:
    """By st_node_list and node_info, once its threshold is reached."""
    stage.put(msgspec.structs.replace(stage.conf.require_node(12), space_warn_threshold=50))
    stage.run("st_volume_create", name="V", type="data", disk="disk1", size="600 MiB", nodes=[12, 13], redundancy=2,
              num_master_nodes=1)  # fmt: skip
    [warning] = stage.run("st_node_list").warnings
    assert warning.startswith("n12 is short of storage: 59 % of")
    assert stage.run("node_info", nid=12).result["info"] == warning
    assert "info" not in stage.run("node_info", nid=13).result


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"priv_net": "10.0.0.1"}, InvalidParameter, "lacks the prefix length"),
        ({"priv_net": "10.0.0.0/24"}, InvalidParameter, "priv_net"),
        ({"priv_net": "10.0.0.1/24", "pub_net": "x"}, InvalidParameter, "pub_net"),
        ({"priv_net": "127.0.0.12/8"}, AlreadyExists, r"127\.0\.0\.12 is that of n12"),
        ({"priv_net": "10.0.0.1/24", "pub_net": "127.0.0.12/8"}, AlreadyExists, "address"),
        ({"priv_net": "10.0.0.1/24", "nid": 12}, AlreadyExists, "n12 exists already"),
        ({"priv_net": "10.0.0.1/24", "nid": 9}, AlreadyExists, "n9 was removed"),
        ({"priv_net": "10.0.0.1/24", "nid": 0}, InvalidParameter, "nid: 0"),
        ({"priv_net": "10.0.0.1/24", "name": "n12"}, AlreadyExists, "'n12'"),
        ({"priv_net": "10.0.0.1/24", "name": "a b"}, InvalidParameter, "name: 'a b'"),
        ({"priv_net": "10.0.0.1/24", "space_warn_threshold": 101}, InvalidParameter, "space_warn_threshold: 101"),
        ({"priv_net": "10.0.0.1/24", "bg_rec_limit": 0}, InvalidParameter, "bg_rec_limit: 0"),
    ],
)
def test_what_is_refused(stage: Stage, given: dict[str, Any], error: type[ConfDError], text: str) -> None:
    """The message names the parameter and what is wrong, and nothing was added."""
    stage.records[RETIRED] = {"9": UUIDS[1]}
    before = stage.conf
    with pytest.raises(error, match=text):
        stage.run("node_add", **given)
    assert stage.conf is before


def test_a_public_network_needs_public_addresses(stage: Stage) -> None:
    """Where all nodes have one, a new node must have one, too."""
    general = stage.conf.global_
    stage.put(msgspec.structs.replace(general, networks=("private", "public")))
    with pytest.raises(ConfDError, match="pub_net: this cluster has a public network"):
        stage.run("node_add", priv_net="10.0.0.1/24")


def test_an_offline_node_counts_at_once(stage: Stage) -> None:
    """It is not suspended; it is refused where it would cost the quorum."""
    assert stage.run("node_add", priv_net="10.0.0.1/24", offline=True).result == 14
    assert stage.conf.require_node(14).state == ""
    stage.states |= {14: NodeState.OFFLINE, 13: NodeState.OFFLINE}
    with pytest.raises(WrongState, match=r"3 of 5 nodes are offline \(n13, n14, n15\)"):
        stage.run("node_add", priv_net="10.0.0.2/24", offline=True)
    assert stage.run("node_add", priv_net="10.0.0.2/24").result == 15


def test_a_batch_is_added_as_a_whole(stage: Stage) -> None:
    """Nodes get what their entry says, addresses the prefix of their network; one revision for all."""
    revision = stage.conf.revision
    nodes = [
        {"nid": 21, "private_ip": "127.0.0.21", "uuid": UUIDS[0].lower(), "name": "n21"},
        {"nid": "22", "private_ip": "10.10.10.12", "uuid": UUIDS[1], "bg_rec_limit": 5, "public_ip": "10.9.9.9/16"},
    ]
    ran = stage.run("node_add_batch", nodes=nodes)
    assert (ran.result, ran.warnings) == ([21, 22], [])
    assert stage.conf.revision == revision + 1
    first, second = stage.conf.require_node(21), stage.conf.require_node(22)
    assert (first.private_net, first.uuid, first.name) == ("127.0.0.21/8", UUIDS[0], "n21")
    assert (second.private_net, second.public_net, second.bg_rec_limit) == ("10.10.10.12/24", "10.9.9.9/16", 5)
    assert second.uuid == UUIDS[1]
    more = [{"nid": nid, "private_ip": f"10.10.10.{nid}", "no_partition_extend": True} for nid in (23, 24)]
    [warning] = stage.run("node_add_batch", nodes=more).warnings
    assert warning.startswith("no_partition_extend has no effect")


GOOD = {"nid": 21, "private_ip": "10.0.0.21"}


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ([], "at least one node"),
        (["n22"], "nodes"),
        ([{"private_ip": "10.0.0.22"}], "entry 2: nid is missing"),
        ([{"nid": 22}], "n22 has no private_ip"),
        ([{"nid": 21, "private_ip": "10.0.0.22"}], "node 21 is there twice"),
        ([{"nid": 22, "private_ip": "10.0.0.21"}], r"10\.0\.0\.21 is that of n21"),
        ([{"nid": 22, "private_ip": "10.0.0.22", "public_ip": "10.0.0.21/24"}], r"10\.0\.0\.21 is that of n21"),
        ([{"nid": 22, "private_ip": "127.0.0.11"}], r"127\.0\.0\.11 is that of n11"),
        ([{"nid": 12, "private_ip": "10.0.0.22"}], "n12 exists already"),
        ([{"nid": 22, "private_ip": "10.0.0.22", "uuid": "12"}], "no UUID"),
        ([{"nid": 22, "private_ip": "10.0.0.22", "uuid": f"{11:040X}"}], "UUID"),
        ([{"nid": 22, "private_ip": "10.0.0.22", "uuid": UUIDS[1]}], "was that of n9, which was removed"),
        ([{"nid": 0, "private_ip": "10.0.0.22"}], "entry 2: nid is 0, ids of nodes go from 1 to 65535"),
        ([{"nid": 65536, "private_ip": "10.0.0.22"}], "entry 2: nid is 65536"),
        ([{"nid": True, "private_ip": "10.0.0.22"}], "nid is True"),
        ([{"nid": 22, "private_ip": "10.0.0.22", "colour": "red"}], "'colour' is not known; .*offline"),
        ([{"nid": 22, "private_ip": "10.0.0.22", "offline": "maybe"}], "offline is 'maybe'"),
        ([{"nid": 22, "private_ip": "10.0.0.22", "space_warn_threshold": 200}], "entry 2"),
    ],
)
def test_one_wrong_entry_and_nothing_is_added(stage: Stage, bad: list[Any], text: str) -> None:
    """The message names the entry by place or node."""
    stage.records[RETIRED] = {"9": UUIDS[1]}
    before = stage.conf
    with pytest.raises(ConfDError, match=text):
        stage.run("node_add_batch", nodes=[GOOD, *bad] if bad else [])
    assert stage.conf is before


def test_clones_copy_options_and_disks(stage: Stage) -> None:
    """Ids are consecutive after the highest, addresses the next free ones; name, UUID and affinity are their own."""
    stage.records[RETIRED] = {"14": "x"}
    template = msgspec.structs.replace(
        stage.conf.require_node(12), exposed_ports=((8563, 8574),), bg_rec_limit=9, public_net="10.1.0.250/24"
    )
    stage.put(template)
    assert stage.run("node_clone_batch", nid=12, num_nodes=3).result == [15, 16, 17]
    made = [stage.conf.require_node(nid) for nid in (15, 16, 17)]
    assert [node.private_net for node in made] == ["127.0.0.14/8", "127.0.0.15/8", "127.0.0.16/8"]
    assert [node.public_net for node in made] == ["10.1.0.251/24", "10.1.0.252/24", "10.1.0.253/24"]
    assert len({node.uuid for node in (template, *made)}) == 4
    for node in made:
        assert (node.name, node.affinity, node.docker_volume) == (f"n{node.id}", node.id, f"n{node.id}")
        assert (node.disks, node.exposed_ports, node.bg_rec_limit) == (template.disks, template.exposed_ports, 9)
        assert node.suspended
    assert validate(stage.conf.sections) == []


def test_disks_of_clones(stage: Stage) -> None:
    """Some of the template's disks by name, or others described; unknown ones are refused."""
    node = stage.conf.require_node(12)
    second = Disk(name="fast", devices=("dev.2",))
    stage.put(msgspec.structs.replace(node, disks={**node.disks, "fast": second}))
    stage.run("node_clone_batch", nid=12, num_nodes=1, disks=["fast"])
    assert stage.conf.require_node(14).disks == {"fast": second}
    stage.run("node_clone_batch", nid=12, num_nodes=1, disks=[{"name": "other", "devices": ["dev.3"]}])
    assert stage.conf.require_node(15).disks == {"other": Disk(name="other", devices=("dev.3",))}
    with pytest.raises(NotFound, match="n12 has no disk 'slow' to copy"):
        stage.run("node_clone_batch", nid=12, num_nodes=1, disks=["slow"])
    with pytest.raises(InvalidParameter, match="there twice"):
        stage.run("node_clone_batch", nid=12, num_nodes=1, disks=["fast", "fast"])


def test_clones_that_cannot_be(stage: Stage) -> None:
    """An unknown template, none at all, or no room in its network."""
    with pytest.raises(NotFound, match="no node '19'"):
        stage.run("node_clone_batch", nid=19, num_nodes=1)
    with pytest.raises(InvalidParameter, match="num_nodes"):
        stage.run("node_clone_batch", nid=11, num_nodes=0)
    stage.put(msgspec.structs.replace(stage.conf.require_node(11), private_net="10.0.0.1/30"))
    with pytest.raises(LimitExceeded, match="1 free addresses, 2 are needed"):
        stage.run("node_clone_batch", nid=11, num_nodes=2)


def test_addresses_can_be_exchanged(stage: Stage) -> None:
    """The list is applied as a whole; prefix lengths stay where none is given."""
    nodes = [{"nid": 11, "private": "127.0.0.12"}, {"nid": 12, "private": "127.0.0.11"}]
    assert stage.run("node_ip_batch", nodes=nodes).warnings == []
    assert stage.conf.require_node(11).private_net == "127.0.0.12/8"
    assert stage.conf.require_node(12).private_net == "127.0.0.11/8"
    stage.run("node_ip_batch", nodes=[{"nid": 13, "public": "10.0.0.13/24"}])
    assert stage.conf.require_node(13) == msgspec.structs.replace(
        stage.conf.require_node(13), private_net="127.0.0.13/8", public_net="10.0.0.13/24"
    )


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([{"nid": 11, "private": "127.0.0.12"}], r"127\.0\.0\.12 is that of"),
        ([{"nid": 11, "public": "127.0.0.12"}], "address"),
        ([{"nid": 11, "private": "10.0.0.1"}, {"nid": 12, "private": "10.0.0.1"}], r"10\.0\.0\.1 is that of"),
        ([{"nid": 14, "private": "10.0.0.1"}], "no node '14'"),
        ([{"nid": 11}], "n11 has no address"),
        ([{"nid": 11, "private": "10.0.0"}], r"nodes: the entry of n11: '10\.0\.0' is not an address"),
    ],
)
def test_addresses_that_are_refused(stage: Stage, nodes: list[Any], text: str) -> None:
    """And nothing has changed."""
    before = stage.conf
    with pytest.raises(ConfDError, match=text):
        stage.run("node_ip_batch", nodes=nodes)
    assert stage.conf is before


def test_addresses_of_running_databases_stay(stage: Stage) -> None:
    """Their instances know each other by address."""
    stage.run("st_volume_create", name="V", type="data", disk="disk1", size="64 MiB", nodes=[11], redundancy=1,
              num_master_nodes=1)  # fmt: skip
    stage.put(database([11], 1))
    stage.records["database/DB"] = msgspec.to_builtins(Record(wanted=Wanted.RUNNING))
    with pytest.raises(WrongState, match=r"database DB runs with n11.*db_stop"):
        stage.run("node_ip_batch", nodes=[{"nid": 11, "private": "127.0.0.31"}])


@pytest.mark.parametrize("state", [NodeState.OFFLINE, NodeState.SUSPENDED])
def test_who_does_not_hear_of_its_new_address_is_named(stage: Stage, state: NodeState) -> None:
    """A node that has joined and is away, in service or not; one that is still to join learns it from its token."""
    stage.records |= {f"{JOINED}{node.id}": node.uuid for node in stage.conf.nodes.values()}
    assert stage.run("node_add", priv_net="127.0.0.14/8").result == 14
    stage.states |= {12: state, 14: NodeState.SUSPENDED}
    if state is NodeState.SUSPENDED:
        stage.put(msgspec.structs.replace(stage.conf.require_node(12), state="suspended"))
    nodes = [{"nid": nid, "private": f"127.0.0.{nid + 20}"} for nid in (12, 13, 14)]
    [warning] = stage.run("node_ip_batch", nodes=nodes).warnings
    assert warning.startswith("n12 does not answer")
    stage.records[f"{TOKENS}14"] = {"hash": "h", "uuid": "u", "expires": 1.0, "key": "k"}
    warnings = stage.run("node_ip_batch", nodes=[{"nid": 14, "private": "127.0.0.44"}]).warnings
    assert [warning[:19] for warning in warnings] == ["n14 does not answer"]


def test_a_suspended_node_that_answers_hears_of_its_new_address(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the configuration like any other node."""
    stage.records |= {f"{JOINED}{node.id}": node.uuid for node in stage.conf.nodes.values()}
    stage.put(msgspec.structs.replace(stage.conf.require_node(12), state="suspended"))
    stage.states[12] = NodeState.SUSPENDED
    monkeypatch.setattr(stage.services[Attendance], "answers", lambda node: True)
    assert stage.run("node_ip_batch", nodes=[{"nid": 12, "private": "127.0.0.32"}]).warnings == []


def test_a_removed_node_is_not_made_again(stage: Stage) -> None:
    """Its id stays free for ever."""
    stage.run("node_remove", nid=13)
    assert stage.run("node_add", priv_net="127.0.0.13/8").result == 14
    with pytest.raises(AlreadyExists, match="n13 was removed"):
        stage.run("node_add", priv_net="10.0.0.1/24", nid=13)
    assert isinstance(stage.conf.require_node(14), Node)
