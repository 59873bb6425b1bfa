"""Differences between revisions."""

from __future__ import annotations

import msgspec

from confd.exaconf import Conf, DriverSource, Group, Monitoring, Plugin, User, diff
from confd.model.secret import Secret
from tests.exaconf.conftest import put


def changes(conf: Conf, after: Conf) -> str:
    """Return the differences."""
    return diff(conf.sections, after.sections)


def test_nothing(conf: Conf) -> None:
    """Equal configurations have no differences."""
    assert diff(conf.sections, dict(conf.sections)) == ""


def test_changed_key(conf: Conf) -> None:
    """A changed key shows with its section, old before new."""
    after = put(conf, msgspec.structs.replace(conf.global_, ssh_port=20002))
    assert changes(conf, after) == "  [Global]\n-     SSHPort = 22\n+     SSHPort = 20002\n"


def test_added_and_removed(conf: Conf) -> None:
    """New and lost sections show whole, users and groups below their header, in the order of the file."""
    after = put(conf, Group("g", 7)).with_changes({"Plugin : Plugin1": None}, 18)
    assert changes(conf, after) == (
        "  [Groups]\n+     [[g]]\n+         ID = 7\n"
        "- [Plugin : Plugin1]\n-     BucketFS = bfsdefault\n-     Bucket = default\n-     Dir = plugins\n"
    )


def test_subsections(conf: Conf) -> None:
    """Only the subsections that differ show."""
    database = conf.databases["DB1"]
    after = put(conf, msgspec.structs.replace(database, jdbc=DriverSource(dir="x"), snapshots={}))
    text = changes(conf, after)
    assert "      [[JDBC]]\n-         Dir = drivers/jdbc\n+         Dir = x\n" in text
    assert "-     [[Snapshot : snap1]]\n-         Enabled = True\n" in text
    assert "Oracle" not in text and "Backup" not in text


def test_secrets(conf: Conf) -> None:
    """A changed secret is seen to have changed, but not what it is; a new one is not shown either."""
    root = msgspec.structs.replace(conf.users["root"], passwd=Secret("new"))
    after = put(conf, root, User("u", 1, "g", passwd=Secret("other")), Monitoring(sasl_password=Secret("pw")))
    text = changes(conf, after)
    assert "-         Passwd = ***\n+         Passwd = ***\n" in text
    assert "+     SaslPassword = ***\n" in text
    for secret in ("new", "other", "pw", "$6$"):
        assert secret not in text


def test_comments(conf: Conf) -> None:
    """Changed comments show too."""
    plugin = Plugin("Plugin1", comments={"": ("# why",)})
    assert changes(conf, put(conf, plugin)) == "  [Plugin : Plugin1]\n+     # why\n"
