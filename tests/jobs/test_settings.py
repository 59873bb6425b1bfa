"""Settings: all of the allowed ones can be changed, nothing else, and all or nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from confd.exaconf import User
from confd.jobs.settings import ALLOWED
from confd.model.errors import InvalidParameter, NotFound, PermissionDenied
from confd.model.secret import Secret
from tests.jobs.stage import Stage

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
        ({"Global": {"WebUIDomain": "a\n[Users]"}}, InvalidParameter, "WebUIDomain"),
        ({"Global": {"Networks": "public"}}, InvalidParameter, "give private"),
        ({"Global": {"Hugepages": "many"}}, InvalidParameter, "Hugepages: 'many' is not valid"),
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
