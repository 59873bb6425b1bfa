"""Settings: all of the allowed ones can be changed, nothing else, and all or nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from confd.exaconf import Conf, User, parse, render
from confd.exaconf.validation import validate
from confd.jobs.settings import ALLOWED
from confd.model.errors import InUse, InvalidParameter, NotFound, PermissionDenied
from confd.model.secret import Secret
from confd.model.states import NodeState
from tests.jobs.stage import Stage, sections
from tests.jobs.test_database_schedules import database, volume

VALUES: dict[str, dict[str, Any]] = {
    "Global": {
        "SSHPort": 2222, "XMLRPCPort": "443", "WebUIBackendPort": 8443, "WebUIDomain": "example.org",
        "EnableLoadBalancer": True, "Networks": ["private", "public"], "NameServers": ["4.4.4.4", "8.8.8.8"],
        "SearchDomains": "example.net", "LicenseRAWMEMWarnThreshold": 70, "Hugepages": "auto",
        "IssueTracker": "Salesforce", "StorageConnectionThreads": "32", "StorageMaxConnections": 2048,
        "ExaMonitorUserName": "mon", "ExaMonitorUserPassword": "hush",
    },
    "Logging": {"LogRotationTypes": "local", "RemoteLogRotationVolume": None, "RemoteLogRotationPrefix": "logs"},
}  # fmt: skip


def test_every_allowed_setting_can_be_changed(stage: Stage) -> None:
    """All documented keys are taken with numbers, texts, lists and truth values."""
    assert {name: set(keys) for name, keys in ALLOWED.items()} == {name: set(keys) for name, keys in VALUES.items()}
    nodes = stage.conf.nodes.values()
    stage.put(*(msgspec.structs.replace(node, public_net=f"10.0.0.{node.id}/24") for node in nodes))
    stage.run("general_settings", changes=VALUES)
    known = stage.conf.global_
    assert (known.ssh_port, known.xmlrpc_port, known.enable_load_balancer) == (2222, 443, True)
    assert (known.name_servers, known.search_domains) == (("4.4.4.4", "8.8.8.8"), ("example.net",))
    assert (known.hugepages, known.storage_connection_threads) == ("auto", 32)
    assert known.exa_monitor_user_password == Secret("hush")
    assert stage.conf.logging.remote_log_rotation_prefix == "logs"
    assert known.cluster_name == "stage"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"DB : DB1": {"Port": 1}}, InvalidParameter, "section 'DB : DB1' cannot be changed here; allowed are Global"),
        ({"Global": {"Revision": 1}}, InvalidParameter, r"\[Global\] 'Revision' cannot be changed here"),
        ({"Global": {"SSHPrt": 1}}, InvalidParameter, "did you mean SSHPort"),
        ({"Global": {"SSHPort": 22, "XMLRPCPort": "https"}}, InvalidParameter, "XMLRPCPort: 'https' is not valid"),
        ({"Global": {"XMLRPCPort": 70000}}, InvalidParameter, "XMLRPCPort: 70000 is not valid"),
        ({"Global": {"XMLRPCPort": 0}}, InvalidParameter, "0 is no port"),
        ({"Global": {"NameServers": {"a": 1}}}, InvalidParameter, "NameServers"),
        ({"Global": {"NameServers": "not an ip"}}, InvalidParameter, "'not an ip' is no IP address"),
        ({"Global": {"NameServers": True}}, InvalidParameter, "NameServers: True is not valid"),
        ({"Global": {"NameServers": [["8.8.8.8"]]}}, InvalidParameter, "NameServers"),
        ({"Global": {"NameServers": ["8.8.8.8\n9.9.9.9"]}}, InvalidParameter, "NameServers"),
        ({"Global": {"SearchDomains": [True]}}, InvalidParameter, "SearchDomains"),
        ({"Global": {"WebUIDomain": ["a.net", "b.net"]}}, InvalidParameter, "WebUIDomain"),
        ({"Global": {"SSHPort": True}}, InvalidParameter, "SSHPort: True is not valid"),
        ({"Global": {"Networks": "private, public"}}, InvalidParameter, r"\[Node : 11\] PublicNet"),
        ({"Global": {"WebUIDomain": "a\n[Users]"}}, InvalidParameter, "WebUIDomain"),
        ({"Global": {"Networks": "public"}}, InvalidParameter, "give private"),
        ({"Global": {"Hugepages": "many"}}, InvalidParameter, "Hugepages: 'many' cannot be"),
        ({"Global": {"IssueTracker": "Trac"}}, InvalidParameter, "Jira or Salesforce"),
        ({"Global": {"EnableLoadBalancer": "maybe"}}, InvalidParameter, "True or False"),
        ({"Global": []}, InvalidParameter, "needs a mapping"),
        ({"Logging": {"LogRotationTypes": "remote"}}, InvalidParameter, "remote needs RemoteLogRotationVolume"),
        ({"Logging": {"LogRotationTypes": "far"}}, InvalidParameter, "local, remote or both"),
        ({"Logging": {"RemoteLogRotationVolume": "V9"}}, NotFound, "there is no volume 'V9'"),
        ({}, InvalidParameter, "at least one section"),
        ("text", InvalidParameter, "changes: 'text' is not"),
    ],
)
def test_bad_changes_change_nothing(stage: Stage, changes: Any, error: type[Exception], message: str) -> None:
    """One bad value and nothing is changed, the others included."""
    before = stage.conf
    with pytest.raises(error, match=message):
        stage.run("general_settings", changes=changes)
    assert stage.conf is before


def test_a_bad_secret_is_not_repeated(stage: Stage) -> None:
    """An error about a secret does not show it."""
    with pytest.raises(InvalidParameter) as caught:
        stage.run("general_settings", changes={"Global": {"ExaMonitorUserPassword": "hush\nhush"}})
    assert "hush" not in caught.value.message


def test_list_shows_everything_without_secrets(stage: Stage) -> None:
    """Without choice all sections are shown, users below one section, secrets as stars."""
    stage.put(msgspec.structs.replace(stage.conf.global_, authentication_token=Secret("token")))
    stage.put(User(name="bob", id=1100, group="exausers", passwd=Secret("$6$hash")))
    shown = stage.run("settings_list").result
    assert {"Global", "EXAStorage", "Logging", "Groups", "Users", "Node : 11"} <= set(shown)
    assert shown["Users"]["bob"]["Passwd"] == "***"
    assert shown["Global"]["AuthenticationToken"] == "***"
    assert shown["Global"]["Revision"] == stage.conf.revision
    assert shown["Node : 11"]["Disk : disk1"]["Devices"] == "dev.1"


def test_list_shows_what_is_chosen(stage: Stage) -> None:
    """Keys and whole sections may be chosen; numbers stay numbers."""
    chosen = {"Global": ["NameServers", "XMLRPCPort"]}
    assert stage.run("settings_list", sections=chosen).result == {
        "Global": {"NameServers": "8.8.8.8", "XMLRPCPort": 20003}
    }
    assert stage.run("settings_list", sections={"Node:11": [], "Groups": None}).result["Node:11"]["Name"] == "n11"
    assert stage.run("settings_list", sections={"Global": "XMLRPCPort"}).result == {"Global": {"XMLRPCPort": 20003}}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"Globl": []}, "no section 'Globl'.*did you mean Global"),
        ({"Global": ["XMLRPCPrt"]}, "did you mean XMLRPCPort"),
    ],
)
def test_list_refuses_what_is_not_there(stage: Stage, sections: Any, message: str) -> None:
    """Unknown sections and keys are named with the nearest known one."""
    with pytest.raises(NotFound, match=message):
        stage.run("settings_list", sections=sections)


def test_rights(stage: Stage) -> None:
    """Settings are for administrators."""
    stage.run("general_settings", by="admin", changes={"Global": {"Hugepages": 0}})
    with pytest.raises(PermissionDenied):
        stage.run("settings_list", by="stella")


def test_plan(stage: Stage) -> None:
    """A dry run changes nothing."""
    planned = stage.plan("general_settings", changes={"Global": {"Hugepages": "host"}})
    assert list(planned.changes) == ["Global"]
    assert stage.conf.global_.hugepages == "0"


def test_a_port_that_is_taken_is_refused(stage: Stage) -> None:
    """Whoever holds it: the daemon itself, a database, or a process of any node that is there."""
    stage.put(volume("Data", 0), database("DB1"))
    for port, place in ((3250, "CoredPort"), (22, "SSHPort"), (8563, r"\[DB : DB1\] Port")):
        with pytest.raises(InvalidParameter, match=place):
            stage.run("general_settings", changes={"Global": {"XMLRPCPort": port}})
    code = "import socket; s = socket.create_server(('127.0.0.12', 0)); print(s.getsockname()[1], flush=True); input()"
    taken = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with taken:
        assert taken.stdout is not None
        port = int(taken.stdout.readline())
        before = stage.conf
        with pytest.raises(InUse, match=rf"port {port} of n12 \(127.0.0.12\) is taken by process {taken.pid} \("):
            stage.run("general_settings", changes={"Global": {"XMLRPCPort": port}})
        assert stage.conf is before
        stage.states[12] = NodeState.OFFLINE
        stage.run("general_settings", changes={"Global": {"XMLRPCPort": port}})
        taken.communicate()


def test_the_port_that_is_in_use_may_be_set_again(stage: Stage) -> None:
    """The daemon itself listens on the old port until it is started anew: that is no hindrance to going back."""
    with socket.create_server(("127.0.0.11", 0)) as own:
        port = own.getsockname()[1]
        stage.run("general_settings", changes={"Global": {"XMLRPCPort": port}})
    assert stage.conf.global_.xmlrpc_port == port


def test_what_was_wrong_before_does_not_hinder(stage: Stage) -> None:
    """Only what a change makes wrong refuses it; so one thing can be put right after another."""
    stage.put(msgspec.structs.replace(stage.conf.global_, cored_port=20003, cluster_name=""))
    stage.run("general_settings", changes={"Global": {"XMLRPCPort": 20443}})
    assert stage.conf.global_.xmlrpc_port == 20443


_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-1, 70000), st.text(max_size=6))
_VALUES = st.one_of(
    _SCALARS,
    st.lists(st.one_of(_SCALARS, st.sampled_from(["private", "public", "local", "remote", "1.1.1.1"])), max_size=3),
    st.sampled_from(["private", "private, public", "local", "Jira", "::1", "yes", {"a": 1}]),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([(name, key) for name in ALLOWED for key in ALLOWED[name] if key != "XMLRPCPort"]), _VALUES)
def test_what_is_taken_fits_into_the_file(stage: Stage, key: tuple[str, str], value: Any) -> None:
    """Whatever is given, it is refused, or EXAConf is as valid as before and reads back the same."""
    stage.conf = before = Conf(1, sections())
    try:
        stage.run("general_settings", changes={key[0]: {key[1]: value}})
    except (InvalidParameter, NotFound):
        assert stage.conf is before
    assert validate(stage.conf.sections) == []
    assert Conf(1, parse(render(stage.conf.sections, 1)).sections).global_ == stage.conf.global_
