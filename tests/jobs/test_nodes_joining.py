"""Jobs that let machines in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from confd import __version__
from confd.cluster.certificates import fingerprint, new_authority, new_request
from confd.cluster.joining.tokens import Token, cluster_uuid, read
from confd.exaconf import Node
from confd.model.errors import InUse, InvalidParameter, NotFound, PermissionDenied, Unsupported, WrongState
from confd.model.secret import Secret, Vault
from confd.model.states import NodeState
from confd.services.nodes.admission import AUTHORITY, JOINED, TOKENS
from tests.jobs.stage import Stage

UUID = f"{14:040X}"
PAIR = new_authority("stage")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Give a cluster with a node that was added and has not joined."""
    made = Stage(tmp_path)
    key = made.services[Vault].seal(Secret(PAIR.key_pem.decode()))
    made.records[AUTHORITY] = {"certificate": PAIR.certificate_pem.decode(), "key": key}
    made.records |= {f"{JOINED}{node.id}": node.uuid for node in made.conf.nodes.values()}
    made.put(Node(14, name="n14", private_net="127.0.0.14/8", uuid=UUID, state="suspended"))
    made.states[14] = NodeState.OFFLINE
    return made


def admitted(stage: Stage, token: Token, request: bytes, **other: Any) -> Any:
    """Bring a token to the cluster."""
    given = {
        "nid": token.node, "secret": token.secret.hex(), "cluster": cluster_uuid(token.authority),
        "request": request.decode(), "address": token.address, "version": __version__, "clock": int(time.time()),
    }  # fmt: skip
    return stage.run("node_admit", **(given | other)).result


def test_a_token_says_what_a_machine_needs(stage: Stage) -> None:
    """Who to ask, whom to trust, as whom to join; the cluster keeps no secret of it."""
    stage.states[12] = NodeState.OFFLINE
    token = read(stage.run("node_token", by="admin", nid=14, lifetime=600).result)
    assert (token.node, token.uuid, token.address, token.doors) == (
        14,
        UUID,
        "127.0.0.14",
        ("127.0.0.11", "127.0.0.13"),
    )
    assert (token.cluster, token.port, token.confd_port) == ("stage", stage.conf.global_.cored_port, 20003)
    assert token.authority == fingerprint(PAIR.certificate_pem)
    assert 590 < token.expires - time.time() <= 600
    kept = msgspec.json.encode(stage.records).decode()
    assert token.secret.hex() not in kept
    assert f"{TOKENS}14" in stage.records


def test_a_machine_joins(stage: Stage) -> None:
    """It gets a certificate for its own key, then a device and a place among the nodes."""
    token = read(stage.run("node_token", nid=14).result)
    _, request = new_request(UUID)
    answer = admitted(stage, token, request)
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
    certificate.verify_directly_issued_by(PAIR.certificate)
    assert certificate.public_key() == x509.load_pem_x509_csr(request).public_key()
    assert UUID in certificate.subject.rfc4514_string()
    assert answer["members"] == sorted(node.uuid for node in stage.conf.nodes.values())
    with pytest.raises(PermissionDenied, match="was used at"):
        admitted(stage, token, new_request(UUID)[1])
    admitted(stage, token, request)

    stage.states[14] = NodeState.ONLINE
    stage.run("node_joined", nid=14, seccount=1024)
    node = stage.conf.nodes[14]
    assert node.state == ""
    assert node.disks["disk1"].devices == ("dev.1",)
    assert stage.run("st_device_info", node_id=14, devname="dev.1").result["num_sectors"] == 1024
    for job in ("node_token", "node_joined"):
        with pytest.raises((InUse, WrongState), match="has joined already"):
            stage.run(job, nid=14)
    with pytest.raises(InUse, match="has joined already"):
        admitted(stage, token, request)


def test_a_newer_token_replaces_the_older(stage: Stage) -> None:
    """Only the last one made for a node is good."""
    first = read(stage.run("node_token", nid=14).result)
    second = read(stage.run("node_token", nid=14).result)
    _, request = new_request(UUID)
    with pytest.raises(PermissionDenied, match="replaced by a newer one"):
        admitted(stage, first, request)
    admitted(stage, second, request)


def test_a_device_that_cannot_be_made_changes_nothing(stage: Stage) -> None:
    """The node stays as it was added, and joining can be tried again."""
    token = read(stage.run("node_token", nid=14).result)
    admitted(stage, token, new_request(UUID)[1])
    before = stage.conf
    with pytest.raises(Exception, match="n14 is offline"):
        stage.run("node_joined", nid=14, seccount=1024)
    assert stage.conf == before
    stage.states[14] = NodeState.ONLINE
    stage.run("node_joined", nid=14, seccount=0)
    assert not stage.conf.nodes[14].disks


def test_refusals(stage: Stage) -> None:
    """Of nodes that are not there or in service, of rights, of what is no request, of clusters that cannot."""
    with pytest.raises(NotFound, match="no node '99'"):
        stage.run("node_token", nid=99)
    with pytest.raises(InUse, match="n12 has joined already"):
        stage.run("node_token", nid=12)
    with pytest.raises(PermissionDenied):
        stage.run("node_token", nid=14, by="stella")
    with pytest.raises(InvalidParameter, match="lifetime"):
        stage.run("node_token", nid=14, lifetime=0)
    with pytest.raises(WrongState, match="no machine joins as n14"):
        stage.run("node_joined", nid=14)
    token = read(stage.run("node_token", nid=14).result)
    with pytest.raises(InvalidParameter, match="no certificate request"):
        admitted(stage, token, b"nonsense")
    with pytest.raises(PermissionDenied, match="forged"):
        admitted(stage, token, new_request(UUID)[1], secret="not hexadecimal")
    assert stage.records[f"{TOKENS}14"].get("key") is None
    del stage.records[AUTHORITY]
    with pytest.raises(Unsupported, match="did not keep the key"):
        stage.run("node_token", nid=14)
