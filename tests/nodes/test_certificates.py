"""Certificates of nodes: which one a node can work with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from confd.cluster.certificates import Pair, check_member, new_authority, new_member
from confd.cluster.identity import NodeFiles

NOW = dt.datetime.now(dt.UTC)


def test_a_good_certificate(node_files: Callable[..., NodeFiles]) -> None:
    """What the cluster's authority made for a node is good for that node."""
    node_files("u1").check_certificate("u1")


@pytest.mark.parametrize(
    ("uuid", "now", "told"),
    [
        ("u2", NOW, "it is that of the node with UUID u1, this one has u2"),
        ("u1", NOW - dt.timedelta(days=1), r"it begins at .* the clock here says .*; set the clock right \(NTP\)$"),
        ("u1", NOW + dt.timedelta(days=36_500), "it ended at .*; set the clock right .* remove this node"),
    ],
)
def test_of_another_node_or_time(authority: Pair, uuid: str, now: dt.datetime, told: str) -> None:
    """What others would refuse without a word is said by the node itself."""
    member = new_member(authority, "u1", [])
    with pytest.raises(ValueError, match=told):
        check_member(authority.certificate_pem, member.certificate_pem, member.key_pem, uuid, now)


def test_of_another_cluster_or_key(authority: Pair, node_files: Callable[..., NodeFiles]) -> None:
    """The message names the file."""
    files, other = node_files("u1"), new_authority("test")
    files.ca.write_bytes(other.certificate_pem)
    with pytest.raises(ValueError, match=r"node\.crt, is not good: it is not of this cluster"):
        files.check_certificate("u1")
    files.key.write_bytes(new_member(authority, "u1", []).key_pem)
    with pytest.raises(ValueError, match="does not belong to the node's private key"):
        files.check_certificate("u1")
    files.certificate.write_bytes(b"no certificate")
    with pytest.raises(ValueError, match=r"node\.crt, is not good"):
        files.check_certificate("u1")
