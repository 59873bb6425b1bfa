"""Finding users and groups, and what they own."""

from __future__ import annotations

import pytest

from confd.exaconf import Conf, Database, Draft, Group, RemoteType, RemoteVolume, User
from confd.exaconf.accounts import check_account_id, check_account_name
from confd.model.errors import InvalidParameter, NotFound
from confd.model.sizes import Bytes
from confd.services.access.accounts import (
    find_group,
    find_owner,
    find_user,
    owned_by,
)

SECTIONS = [
    Group(name="exausers", id=500),
    Group(name="42", id=7),
    User(name="ann", id=1001, group="exausers"),
    RemoteVolume(name="r", type=RemoteType.S3, id=10001, url="u", owner=(1001, 7)),
    Database(
        name="DB1", id="x", version="18", mem_size=Bytes(1), nodes=(11,), num_active_nodes=1, data_volume="V",
        owner=(0, 500),
    ),
]  # fmt: skip
CONF = Conf(1, {section.key: section for section in SECTIONS})


def test_names_go_before_numbers() -> None:
    """Digits are an id unless something has them as name."""
    assert find_group(CONF, "exausers") == find_group(CONF, 500) == find_group(CONF, "500")
    assert find_group(CONF, "42").id == 7
    assert find_user(CONF, "1001") == find_user(CONF, "ann")


def test_owner_by_names_and_ids() -> None:
    """An owner is two ids, however it was given."""
    assert find_owner(CONF, ["ann", 500]) == find_owner(CONF, ("1001", "exausers")) == (1001, 500)


@pytest.mark.parametrize("owner", [["bob", 500], [1001, "nobody"], [4711, 500], [1001, 4711]])
def test_unknown_owners(owner: list[str | int]) -> None:
    """Who does not exist owns nothing."""
    with pytest.raises(NotFound, match="There is no"):
        find_owner(CONF, owner)


def test_owned_objects_are_named() -> None:
    """Everything with an owner counts, by user or by group."""
    assert owned_by(CONF, uid=1001) == ["remote volume r"]
    assert owned_by(CONF, gid=500) == ["database DB1"]
    assert owned_by(CONF, uid=7) == []


def test_looking_an_id_up_is_no_read_of_all_users() -> None:
    """Creating users side by side does not conflict over ids; these have locks of their own."""
    draft = Draft(CONF)
    find_user(draft, 1001)
    find_group(draft, 500)
    assert draft.reads == frozenset()


@pytest.mark.parametrize(
    "name", ["", "a b", "1st", "_self", "_owner", "exameta", "exahugepages", "a" * 33, "x\n", "x:y"]
)
def test_names_that_are_refused(name: str) -> None:
    """Reserved names and those no system takes are refused."""
    with pytest.raises(InvalidParameter):
        check_account_name(name)


def test_reserved_ids() -> None:
    """The ids of hidden accounts stay free."""
    check_account_id(0)
    with pytest.raises(InvalidParameter, match="reserved"):
        check_account_id(55554)
