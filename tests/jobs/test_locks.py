"""Lock rules name objects once, and never fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confd.exaconf import Conf, RemoteType, RemoteVolume, Volume, VolumeType
from confd.jobs import locks
from confd.model.sizes import Bytes
from confd.scheduler.locks import exclusive, shared
from confd.scheduler.registry import load
from tests.jobs.stage import sections

VOLUMES = [
    Volume(name="V1", type=VolumeType.DATA, size=Bytes(1), disk="d", nodes=(11,), id=3),
    RemoteVolume(name="far", type=RemoteType.S3, id=10001, url="u"),
]
CONF = Conf(1, {**sections(), **{volume.key: volume for volume in VOLUMES}})


@pytest.mark.parametrize(
    ("given", "name"), [("V1", 3), (3, 3), ("3", 3), ("far", 10001), (10001, 10001), ("new", "new"), (99, 99)]
)
def test_a_volume_has_one_name(given: object, name: object) -> None:
    """Id and name of a volume lead to the same lock."""
    assert list(locks.volume("v")(CONF, {"v": given})) == [exclusive("volume", name)]


def test_users_groups_and_owners_by_name() -> None:
    """Ids and names of accounts lead to the same locks."""
    assert list(locks.user("u")(CONF, {"u": 1001})) == [exclusive("user", "ann")]
    assert list(locks.group("g", "more", share=True)(CONF, {"g": 500, "more": ["exaadm"]})) == [
        shared("group", "exausers"), shared("group", "exaadm")
    ]  # fmt: skip
    by_id, by_name = ({"owner": owner} for owner in ([1001, 500], ("ann", "exausers")))
    assert list(locks.owner("owner")(CONF, by_id)) == list(locks.owner("owner")(CONF, by_name))


def test_space_is_locked_per_node_and_disk() -> None:
    """Two volumes on different disks are made side by side."""
    rule = locks.space("nodes", "disk")
    assert list(rule(CONF, {"nodes": [11, 12], "disk": "d"})) == [
        exclusive("space", "n11/d"),
        exclusive("space", "n12/d"),
    ]
    assert list(rule(CONF, {"nodes": 11, "disk": "d"})) == [exclusive("space", "n11/d")]


_VALUES = st.one_of(
    st.none(), st.integers(), st.text(max_size=8), st.lists(st.integers() | st.text(max_size=4), max_size=3)
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([job for job in load().values() if job.lock_rules]), st.data())
def test_rules_never_fail(job: Any, data: st.DataObject) -> None:
    """Whatever a job is called with, its locks can be named: that something is missing is for the job to say."""
    values = {name: data.draw(_VALUES) for name in job.parameters}
    assert all(":" in lock.name or lock.name == "all" for lock in job.locks(CONF, values))
