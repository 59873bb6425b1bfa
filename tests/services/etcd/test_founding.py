"""Members for a cluster that runs none yet: what stands in their way, who ends them, what a node needs of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from confd.cluster.host import Host
from confd.cluster.identity import NodeFiles, write_private
from confd.exaconf import Conf
from confd.model.errors import InUse, Unsupported, WrongState
from confd.model.secret import Secret, Vault
from confd.services.etcd.founding import end_founded, found_alone, give_access
from confd.services.etcd.hosting import check_member
from confd.services.etcd.plan import (
    KEY,
    PASSWORD_FILE,
    SHARED,
    Access,
    MemberPlan,
    client_url,
    is_own,
    load_plan,
    own_choice,
    save_choice,
    save_plan,
)
from confd.services.nodes.stores import Moved, adopt
from confd.store.choice import StoreChoice, StoreKind, load_choice
from tests.servers import ETCD, require

ACCESS = Access(certificate="a certificate", key="a key", password="sesam", port=2379)


@pytest.fixture
def host(tmp_path: Path, free_address: str) -> Iterator[Host]:
    """Give a node that has the cluster's data key and runs no member."""
    write_private(NodeFiles(tmp_path).data_key, Vault.new_key())
    yield Host(11, free_address, tmp_path, tmp_path / "run", None, (), lambda: Conf(0, {}))


def sealed(host: Host) -> str:
    """Return the access as it travels."""
    return NodeFiles(host.root).vault().seal(Secret(msgspec.json.encode(ACCESS).decode()))


def plan(host: Host, token: str) -> MemberPlan:
    """Return the plan of a member that is not started."""
    return MemberPlan(binary="/bin/false", name="n11", address=host.address, initial={}, token=token)


def test_a_node_that_cannot_run_a_member(host: Host) -> None:
    """It says which program, or which port, it lacks."""
    with pytest.raises(Unsupported, match=r"n11: /nowhere/etcd does not run .* --binary"):
        check_member.function(host, "/nowhere/etcd", 2379)
    require(ETCD)
    assert check_member.function(host, "", 2379) == str(ETCD)
    with socket.create_server((host.address, 2380)), pytest.raises(InUse, match=f"port 2380 on {host.address}"):
        check_member.function(host, "", 2379)


def test_only_members_of_the_same_founding_are_ended(host: Host) -> None:
    """What comes late meets those of a later one, and leaves them with what lets the node in."""
    give_access.function(host, sealed(host))
    assert (host.root / KEY).read_text() == "a key"
    save_plan(host.root, plan(host, "second"))
    end_founded.function(host, "first")
    assert load_plan(host.root) is not None
    assert all((host.root / name).exists() for name in SHARED)
    end_founded.function(host, "second")
    end_founded.function(host, "second")
    assert load_plan(host.root) is None
    assert not any((host.root / name).exists() for name in SHARED)


def test_a_node_in_etcd_keeps_what_lets_it_in(host: Host) -> None:
    """Members end on nodes that have moved, and on those that are about to."""
    give_access.function(host, sealed(host))
    save_choice(host.root, own_choice(NodeFiles(host.root), host.address, [host.address], 2379))
    save_plan(host.root, plan(host, "first"))
    end_founded.function(host, "first")
    assert load_plan(host.root) is None
    assert (host.root / PASSWORD_FILE).read_text() == "sesam\n"


def test_a_node_that_learns_of_the_move(host: Host) -> None:
    """It has all it needs, real paths, its own member first; when the cluster leaves, nothing of that stays."""
    others = ["127.0.0.2", "127.0.0.3"]
    choice = own_choice(NodeFiles(Path("/exa")), "", [*others, host.address], 2379)
    adopt(host, Moved(choice, "", sealed(host)))
    kept = load_choice(host.root)
    assert is_own(host.root, kept)
    assert kept.etcd is not None
    assert kept.etcd.endpoints[0] == client_url(host.address, 2379)
    assert kept.etcd.password() == "sesam"
    adopt(host, Moved(StoreChoice(), ""))
    assert load_choice(host.root).kind is StoreKind.SQLITE
    assert not any((host.root / name).exists() for name in SHARED)


def test_an_etcd_of_another_is_not_begun_anew(host: Host) -> None:
    """Nor is one whose members can be reached; nothing is changed then."""
    with pytest.raises(WrongState, match="runs no etcd of its own"):
        found_alone(host.root, "n11", host.address, None)
    save_choice(host.root, own_choice(NodeFiles(host.root), host.address, ["127.0.0.1"], 1))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        save_choice(host.root, own_choice(NodeFiles(host.root), host.address, ["127.0.0.1"], port))
        with pytest.raises(WrongState, match=r"member of etcd at 127\.0\.0\.1 can be reached"):
            found_alone(host.root, "n11", host.address, None)
    assert load_plan(host.root) is None
