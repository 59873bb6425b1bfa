"""Jobs of groups: state in, run, state out."""

from __future__ import annotations

from typing import Any

import pytest

from confd.exaconf import Group
from confd.model.errors import AlreadyExists, InUse, InvalidParameter, NotFound, PermissionDenied
from tests.jobs.stage import GROUPS, Stage
from tests.jobs.test_users import owned_by_stella


def test_create_and_delete(stage: Stage) -> None:
    """A group comes and goes."""
    stage.run("group_create", groupname="reporters", groupid=42)
    assert stage.conf.groups["reporters"].id == 42
    stage.run("group_delete", groupname="reporters")
    assert "reporters" not in stage.conf.groups


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"groupname": "exausers"}, AlreadyExists, "'exausers' exists already"),
        ({"groupid": 500}, AlreadyExists, "group id 500 belongs to 'exausers'"),
        ({"groupid": "many"}, InvalidParameter, "groupid: 'many' is not a whole number"),
        ({"groupname": "exameta"}, InvalidParameter, "reserved"),
        ({"groupname": ""}, InvalidParameter, "not usable"),
    ],
)
def test_create_refuses(stage: Stage, given: dict[str, Any], error: type[Exception], message: str) -> None:
    """Name and id are free, and can be a system group's."""
    with pytest.raises(error, match=message):
        stage.run("group_create", **{"groupname": "reporters", "groupid": 42, **given})
    assert set(stage.conf.groups) == set(GROUPS)


def test_delete_refuses(stage: Stage) -> None:
    """Predefined groups, groups with users, owning groups and unknown ones are refused."""
    stage.run("group_create", groupname="reporters", groupid=42)
    stage.run("user_modify", username="ann", additional_groups=["reporters"])
    with pytest.raises(InUse, match="ann belong to group 'reporters'"):
        stage.run("group_delete", groupname="reporters")
    with pytest.raises(InUse, match="'exaadm' is predefined"):
        stage.run("group_delete", groupname="exaadm")
    with pytest.raises(NotFound, match="no group 'reporter'; did you mean 'reporters'"):
        stage.run("group_delete", groupname="reporter")
    volume, _ = owned_by_stella()
    stage.run("user_modify", username="ann", additional_groups=[])
    stage.put(type(volume)(**{**_fields(volume), "owner": (0, 42)}))
    with pytest.raises(InUse, match="owns volume V1"):
        stage.run("group_delete", groupname="reporters")


def test_info_and_list(stage: Stage) -> None:
    """Groups are shown with their ids."""
    assert stage.run("group_info", groupname="exausers").result == {"id": 500}
    assert stage.run("group_list").result == {name: {"id": number} for name, number in GROUPS.items()}
    with pytest.raises(NotFound, match="no group 'nobody'"):
        stage.run("group_info", groupname="nobody")


def test_rights(stage: Stage) -> None:
    """Only root and members of exaadm administer groups."""
    stage.run("group_create", by="admin", groupname="reporters", groupid=42)
    with pytest.raises(PermissionDenied, match="members of exaadm"):
        stage.run("group_list", by="stella")


def test_plan(stage: Stage) -> None:
    """A dry run changes nothing."""
    assert list(stage.plan("group_create", groupname="g", groupid=42).changes) == [Group(name="g", id=42).key]
    assert "g" not in stage.conf.groups


def _fields(volume: Any) -> dict[str, Any]:
    return {name: getattr(volume, name) for name in volume.__struct_fields__}
