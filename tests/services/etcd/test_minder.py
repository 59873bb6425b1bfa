"""Whoever minds a member: what stands in its way is said, and costs the node's daemon nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from confd.cluster.host import Host, reports
from confd.cluster.identity import NodeFiles
from confd.exaconf import Conf
from confd.services.etcd import server as module
from confd.services.etcd.minder import Minder
from confd.services.etcd.plan import DATA, PLAN_FILE, save_plan
from tests.services.etcd.test_server import answers, client_of, plan, until


def told(node: NodeFiles) -> Any:
    """Return what the node tells the master of its member."""
    host = Host(11, "", node.root, node.root / "run", None, (), lambda: Conf(0, {}))
    return reports(host)["etcd"]


def test_a_program_that_was_moved(node: NodeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another etcd of the machine runs the member; while there is none, the daemon goes on and says what to do."""
    save_plan(node.root, msgspec.structs.replace(plan(node), binary=str(tmp_path / "moved")))
    monkeypatch.setattr("confd.services.etcd.binary._PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    minder = Minder(node.root)
    with capture_logs() as logs:
        minder.start()
        try:
            assert "apt-get install etcd-server" in told(node)["trouble"]
            monkeypatch.undo()
            client = client_of(node)
            until(lambda: answers(client))
            until(lambda: told(node)["trouble"] == "")
        finally:
            minder.close()
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["etcd_not_started"]


def test_a_plan_that_is_damaged(node: NodeFiles) -> None:
    """The daemon starts; the file is named."""
    (node.root / PLAN_FILE).write_text("{")
    minder = Minder(node.root)
    minder.start()
    minder.close()
    assert f"{node.root / PLAN_FILE} is damaged" in told(node)["trouble"]


def test_a_server_that_ends_again_and_again(node: NodeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said where its own words are, until it has run for a while."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    save_plan(node.root, plan(node))
    hindrance = node.root / DATA / "member"
    hindrance.parent.mkdir(parents=True)
    hindrance.touch()
    minder = Minder(node.root)
    minder.start()
    try:
        until(lambda: "logs/logd/etcd.log" in told(node)["trouble"])
        hindrance.unlink()
        monkeypatch.setattr(module, "_PROVEN_SECONDS", 0.0)
        client = client_of(node)
        until(lambda: answers(client))
        until(lambda: told(node)["trouble"] == "")
    finally:
        minder.close()
