"""The first EXAConf: complete, valid, with the documented users, groups and token."""

from __future__ import annotations

import base64
import re

from confd.exaconf import Conf, parse
from confd.exaconf.validation import validate
from confd.model.secret import Secret
from confd.play.firstconf import first_conf, new_password, new_token, new_uuid
from confd.play.parameters import merge
from confd.play.settings import settle


def conf(**given: str) -> Conf:
    """Return the first configuration, read back and found valid."""
    settings = settle(merge(given))
    uuids = {seat.node: new_uuid() for seat in settings.seats}
    document = parse(first_conf(settings, "play1", "18.4", uuids, Secret("$argon2id$hash")))
    assert validate(document.sections) == []
    return Conf(document.revision, document.sections)


def test_users_and_groups():
    """The predefined accounts are there with their ids; only root and admin may log in."""
    made = conf()
    assert {name: group.id for name, group in made.groups.items()} == {
        "root": 0, "exausers": 500, "exaadm": 499, "exadbadm": 498, "exastoradm": 497, "exabfsadm": 496, "exasaasadm": 495,
    }  # fmt: skip
    users = {name: (user.id, user.group, user.login_enabled) for name, user in made.users.items()}
    assert users == {
        "root": (0, "root", True), "exadefusr": (500, "exausers", False), "exasaasusr": (499, "exausers", False),
        "admin": (1000, "exaadm", True),
    }  # fmt: skip
    assert made.users["admin"].passwd == Secret("$argon2id$hash")
    assert made.users["root"].passwd is None


def test_global():
    """Ports and versions are those of the play."""
    made = conf(CCC_PLAY_CONFD_PORT="20443").global_
    assert (made.xmlrpc_port, made.cored_port, made.db_version, made.cluster_name) == (20443, 3250, "18.4", "play1")


def test_nodes_and_disks():
    """Every node has disk1, an access node has none."""
    made = conf(CCC_PLAY_ACCESS_NODE="yes")
    assert {node: list(known.disks) for node, known in made.nodes.items()} == {10: [], 11: ["disk1"], 12: ["disk1"]}
    disk = made.nodes[11].disks["disk1"]
    assert (disk.devices, disk.mapping) == (("dev.1",), ("dev.1:/exa/data/storage",))
    assert made.nodes[11].private_ip == "127.0.0.12"
    assert all(re.fullmatch("[0-9A-F]{40}", node.uuid) for node in made.nodes.values())


def test_token():
    """The token is base64 of 16 and 64 letters and digits."""
    assert re.fullmatch("[A-Za-z0-9]{16}:[A-Za-z0-9]{64}", base64.b64decode(new_token().reveal()).decode())
    assert new_token() != new_token()


def test_generated_passwords():
    """Generated passwords need no quotes anywhere."""
    assert all(re.fullmatch("[A-Za-z][A-Za-z0-9]{15}", new_password()) for _ in range(50))
