"""Ids, names and addresses of nodes."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.exaconf import Node
from confd.model.errors import AlreadyExists, InvalidParameter, LimitExceeded
from confd.services.nodes.naming import (
    MOST_ID,
    check_id,
    check_name,
    check_together,
    check_uuid,
    next_addresses,
    next_ids,
    read_address,
    read_net,
)

IDS = st.sets(st.integers(1, 200), max_size=20)


@given(IDS, IDS, st.integers(1, 50))
def test_ids_are_never_used_again(known: set[int], retired: set[int], count: int) -> None:
    """New ones are consecutive, begin at 11 or more, and follow on everything that there ever was."""
    ids = next_ids(known, retired, count)
    assert ids == list(range(ids[0], ids[0] + count))
    assert ids[0] == max({10, *known, *retired}) + 1
    for nid in ids:
        check_id(nid, known, retired)


def test_ids_that_are_taken() -> None:
    """A node's id and the id of a removed node are refused, each with its reason."""
    with pytest.raises(AlreadyExists, match="n12 exists already"):
        check_id(12, [11, 12], [])
    with pytest.raises(AlreadyExists, match="n13 was removed"):
        check_id(13, [11, 12], [13])


def test_ids_below_the_last_one() -> None:
    """Who takes the last id does not keep the cluster from growing; ids of removed nodes stay unused."""
    assert next_ids([11, 13, MOST_ID], [12], 2) == [14, 15]
    with pytest.raises(LimitExceeded, match="of which 1 are free; 2 are needed"):
        next_ids([*range(12, MOST_ID + 1)], [], 2)


@pytest.mark.parametrize(
    ("text", "net"),
    [
        ("10.10.10.1/24", "10.10.10.1/24"),
        (" 10.0.0.11/8 ", "10.0.0.11/8"),
        ("10.0.0.1/255.255.255.0", "10.0.0.1/24"),
        ("10.0.0.1/31", "10.0.0.1/31"),
        ("127.3.4.5/8", "127.3.4.5/8"),
    ],
)
def test_nets(text: str, net: str) -> None:
    """An address with prefix length is stored in one form."""
    assert read_net(text) == net


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0/24", "10.0.0.0/24", "10.0.0.255/24", "0.0.0.0/0",
             "224.0.0.1/24", "::1/64", "host/24", "10.0.0.1/24/8"],
)  # fmt: skip
def test_what_is_no_net(text: str) -> None:
    """Everything that is not the address of a node with its prefix length is refused."""
    with pytest.raises(InvalidParameter):
        read_net(text)


def test_addresses_take_the_prefix_of_their_network() -> None:
    """One that lies in none of those that are known gets 24."""
    assert read_address("127.0.0.14", ["10.1.0.1/16", "127.0.0.11/8"]) == "127.0.0.14/8"
    assert read_address("10.10.10.11", []) == "10.10.10.11/24"
    assert read_address("10.10.10.11/16", ["10.10.10.12/24"]) == "10.10.10.11/16"
    with pytest.raises(InvalidParameter, match=r"'10\.10\.10' is not an address"):
        read_address("10.10.10", [])


@given(st.data())
def test_next_addresses_are_free_and_of_the_network(data: st.DataObject) -> None:
    """None is used twice, each is a host of the network, and they follow on the highest one while there is room."""
    prefix = data.draw(st.integers(24, 30))
    net = ipaddress.IPv4Network(("10.20.30.0", prefix))
    hosts = [str(host) for host in net.hosts()]
    used = data.draw(st.sets(st.sampled_from(hosts), min_size=1))
    count = data.draw(st.integers(1, len(hosts) + 1))
    like = f"{data.draw(st.sampled_from(sorted(used)))}/{prefix}"
    if count > len(hosts) - len(used):
        with pytest.raises(LimitExceeded, match="free addresses"):
            next_addresses(like, used, count)
        return
    found = [net_.partition("/")[0] for net_ in next_addresses(like, used, count)]
    assert len(set(found)) == count
    assert set(found) <= set(hosts) - used
    last = max(map(ipaddress.IPv4Address, used))
    room = [host for host in hosts if ipaddress.IPv4Address(host) > last]
    assert found[: len(room)] == room[:count]


def node(nid: int, private: str, public: str = "", name: str = "", uuid: str = "") -> Node:
    """Make a node."""
    return Node(
        id=nid, name=name or f"n{nid}", private_net=private, public_net=public or None, uuid=uuid or f"{nid:040X}"
    )


def test_nodes_share_nothing() -> None:
    """Neither names, UUIDs nor addresses; private and public addresses are the same thing."""
    first = node(11, "10.0.0.11/24", "192.168.0.11/24")
    check_together([first, node(12, "10.0.0.12/24", "10.0.0.12/24")])
    for other, what in (
        (node(12, "10.0.0.11/16"), r"address: 10\.0\.0\.11 is that of n11"),
        (node(12, "192.168.0.11/24"), "address"),
        (node(12, "10.0.0.12/24", "10.0.0.11/24"), "address"),
        (node(12, "10.0.0.12/24", name="n11"), "name"),
        (node(12, "10.0.0.12/24", name="n13"), "'n13' names the node with id 13"),
        (node(12, "10.0.0.12/24", uuid=f"{11:040X}"), "UUID"),
    ):
        with pytest.raises(AlreadyExists, match=what):
            check_together([first, other])


def test_forms_of_names_and_uuids() -> None:
    """A name is a host name, a UUID has 40 hexadecimal digits and is stored in upper case."""
    check_name("n12")
    check_name("data-node-4")
    for wrong in ("", "12", "a b", "a_b", "n12.local", "n" * 64, "ä"):
        with pytest.raises(InvalidParameter):
            check_name(wrong)
    assert check_uuid("ab" * 20) == "AB" * 20
    with pytest.raises(InvalidParameter, match="40 hexadecimal digits"):
        check_uuid("AB" * 19 + "XY")
