"""Addresses for etcd members, and a node that may run one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from confd.cluster.certificates import new_authority, new_member, new_nameless_client
from confd.cluster.identity import NodeFiles, write_private
from confd.services.etcd.minder import server_at
from confd.services.etcd.plan import CERTIFICATE, KEY, PASSWORD_FILE, own_choice, save_choice
from tests.cluster.harness import free_net
from tests.servers import ETCD, require

AUTHORITY = new_authority("test")


@pytest.fixture
def free_address() -> str:
    """Give a loopback address on which nobody listens on etcd's ports."""
    return f"{free_net((2379, 2380))}.11"


@pytest.fixture
def node(tmp_path: Path, free_address: str) -> Iterator[NodeFiles]:
    """Give a node with certificates and the plan of a cluster of one member."""
    require(ETCD)
    files, authority = NodeFiles(tmp_path / "n11"), AUTHORITY
    member, client = new_member(authority, "U11", [free_address]), new_nameless_client(authority)
    for path, content in (
        (files.ca, authority.certificate_pem), (files.certificate, member.certificate_pem), (files.key, member.key_pem),
        (files.root / CERTIFICATE, client.certificate_pem), (files.root / KEY, client.key_pem),
        (files.root / PASSWORD_FILE, b"secret\n"),
    ):  # fmt: skip
        write_private(path, content)
    save_choice(files.root, own_choice(files, free_address, [free_address], 2379))
    yield files
    server_at(files.root).leave()
