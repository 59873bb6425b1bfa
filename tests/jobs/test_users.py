"""Jobs of users: state in, run, state out."""

from __future__ import annotations

from typing import Any

import pytest

from confd.exaconf import Database, User, Volume, VolumeType
from confd.jobs.types import check_ssh_keys
from confd.model.errors import AlreadyExists, InUse, InvalidParameter, MissingParameter, NotFound, PermissionDenied
from confd.model.secret import Secret
from confd.model.sizes import Bytes
from confd.scheduler.locks import exclusive, shared
from confd.scheduler.registry import load
from confd.services.access.passwords import hash_password, verify
from tests.jobs.stage import GIB, Stage

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ me@host"
SHA = "$6$AqkEQYgd8DMMPlYr$w9wETlxV6Mf2tAWR5d9xNxm1WQwFrfF96KoSblLqpqNOpZLfl7IYGBRrJhNiQ2aSUeaCzOuMlHGvqqVmuJk6d1"


def _new(**more: Any) -> dict[str, Any]:
    return {
        "username": "bob", "userid": 1100, "password": "secret", "group": "exausers", "login_enabled": True, **more
    }  # fmt: skip


def _passwd(stage: Stage, name: str = "bob") -> str:
    passwd = stage.conf.users[name].passwd
    assert passwd is not None
    return passwd.reveal()


def test_create_adds_a_user_with_a_hashed_password(stage: Stage) -> None:
    """A new user has what was given, and his password is not kept."""
    ran = stage.run("user_create", **_new(additional_groups=["exadbadm", "exausers", 497], authorized_keys=[KEY]))
    bob = stage.conf.users["bob"]
    assert ran.result is None
    assert (bob.id, bob.group, bob.login_enabled) == (1100, "exausers", True)
    assert bob.additional_groups == ("exadbadm", "exastoradm")
    assert bob.authorized_keys == (KEY,)
    assert verify(_passwd(stage), "secret")
    assert stage.conf.revision == 2


def test_create_takes_the_group_by_id(stage: Stage) -> None:
    """A primary group may be given as number or as digits."""
    stage.run("user_create", **_new(group=498))
    assert stage.conf.users["bob"].group == "exadbadm"
    stage.run("user_create", **_new(username="eve", userid=1101, group="497"))
    assert stage.conf.users["eve"].group == "exastoradm"


@pytest.mark.parametrize("password", ["", "*"])
def test_create_without_password(stage: Stage, password: str) -> None:
    """An empty password or a star switches login by password off."""
    stage.run("user_create", **_new(password=password))
    assert stage.conf.users["bob"].passwd is None


def test_a_hash_is_stored_only_on_request(stage: Stage) -> None:
    """What looks like a hash is a password unless encode_passwd is false; plain text is hashed even then."""
    stage.run("user_create", **_new(password=SHA, encode_passwd=False))
    assert _passwd(stage) == SHA
    stage.run("user_passwd", username="bob", password=SHA)
    assert verify(_passwd(stage), SHA)
    stage.run("user_passwd", username="bob", password="plain", encode_passwd=False)
    assert verify(_passwd(stage), "plain")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"username": "ann"}, AlreadyExists, "'ann' exists already"),
        ({"userid": 1001}, AlreadyExists, "user id 1001 belongs to 'ann'"),
        ({"group": "nobody"}, NotFound, "no group 'nobody'"),
        ({"group": 4711}, NotFound, "no group with id 4711"),
        ({"additional_groups": ["exadbadmin"]}, NotFound, "did you mean 'exadbadm'"),
        ({"userid": "one"}, InvalidParameter, "userid: 'one' is not a whole number"),
        ({"userid": -1}, InvalidParameter, "minimum of 0"),
        ({"userid": 55555}, InvalidParameter, "reserved"),
        ({"username": "_owner"}, InvalidParameter, "reserved"),
        ({"username": "a]\n[b"}, InvalidParameter, "not usable"),
        ({"authorized_keys": ["ssh-rsa AAAA x\n[Users]"]}, InvalidParameter, "not an OpenSSH public key"),
        ({"login_enabled": "perhaps"}, InvalidParameter, "login_enabled"),
    ],
)
def test_create_refuses(stage: Stage, given: dict[str, Any], error: type[Exception], message: str) -> None:
    """A bad call changes nothing and says what is wrong."""
    before = stage.conf
    with pytest.raises(error, match=message):
        stage.run("user_create", **_new(**given))
    assert stage.conf is before


def test_create_plans_without_effect(stage: Stage) -> None:
    """A dry run shows the new section and makes none."""
    planned = stage.plan("user_create", **_new())
    assert list(planned.changes) == ["Users : bob"]
    assert planned.commands == []
    assert "bob" not in stage.conf.users


def test_create_locks_name_number_and_groups(stage: Stage) -> None:
    """Creating users side by side is possible unless they share name or id; their groups stay meanwhile."""
    job = load()["user_create"]
    locks = job.locks(stage.conf, job.read(_new(additional_groups=["exadbadm"], group=500)))
    assert set(locks) == {
        exclusive("user", "bob"), exclusive("uid", 1100), shared("group", "exausers"), shared("group", "exadbadm")
    }  # fmt: skip


def test_delete_removes_the_user(stage: Stage) -> None:
    """A deleted user is gone."""
    stage.run("user_delete", username="ann")
    assert "ann" not in stage.conf.users


@pytest.mark.parametrize(
    ("by", "username", "error", "message"),
    [
        ("root", "nobody", NotFound, "no user 'nobody'"),
        ("admin", "root", InUse, "'root' is predefined and cannot be deleted"),
        ("root", "exadefusr", InUse, "'exadefusr' is predefined and cannot be deleted"),
        ("root", "exasaasusr", InUse, "'exasaasusr' is predefined and cannot be deleted"),
        ("admin", "admin", InUse, "runs this job"),
        ("root", "stella", InUse, "owns database DB1, volume V1"),
        ("ann", "stella", PermissionDenied, "may not run user_delete"),
    ],
)
def test_delete_refuses(stage: Stage, by: str, username: str, error: type[Exception], message: str) -> None:
    """Predefined users, the caller himself and owners of anything are kept."""
    stage.put(*owned_by_stella())
    with pytest.raises(error, match=message):
        stage.run("user_delete", by=by, username=username)
    assert {"root", "admin", "ann", "stella"} <= set(stage.conf.users)


def test_info_and_list_show_no_password(stage: Stage) -> None:
    """Details are the same by name, by id and in the list; the hash is never among them."""
    stage.put(
        User(name="bob", id=1100, group="exausers", passwd=Secret(hash_password("x")), additional_groups=("exaadm",))
    )
    details = {
        "id": 1100, "group": "exausers", "login_enabled": True, "additional_groups": ["exaadm"], "authorized_keys": []
    }  # fmt: skip
    assert stage.run("user_info", username="bob").result == {"name": "bob", **details}
    assert stage.run("user_info", userid=1100).result == {"name": "bob", **details}
    assert stage.run("user_list").result["bob"] == details
    assert set(stage.run("user_list").result) == set(stage.conf.users)


def test_info_by_id_zero_is_root(stage: Stage) -> None:
    """The id 0 is an id, not a missing value."""
    assert stage.run("user_info", userid=0).result["name"] == "root"


def test_info_refuses(stage: Stage) -> None:
    """An unknown user, both and none of name and id are told apart."""
    with pytest.raises(NotFound, match="no user 'anne'; did you mean 'ann'"):
        stage.run("user_info", username="anne")
    with pytest.raises(NotFound, match="no user with id 7"):
        stage.run("user_info", userid=7)
    with pytest.raises(InvalidParameter, match="both are given"):
        stage.run("user_info", userid=1001, username="ann")
    with pytest.raises(MissingParameter, match="needs userid or username"):
        stage.run("user_info")


def test_modify_changes_what_is_given(stage: Stage) -> None:
    """Given options replace, lists included; others stay."""
    stage.run("user_modify", username="ann", additional_groups=["exadbadm"], authorized_keys=[KEY])
    stage.run("user_modify", username="ann", group="exastoradm", login_enabled=False)
    ann = stage.conf.users["ann"]
    assert (ann.group, ann.additional_groups, ann.authorized_keys) == ("exastoradm", ("exadbadm",), (KEY,))
    assert not ann.login_enabled
    stage.run("user_modify", username="ann", additional_groups=[])
    assert stage.conf.users["ann"].additional_groups == ()


def test_modify_without_changes_makes_no_revision(stage: Stage) -> None:
    """A call that changes nothing is valid and leaves the revision."""
    stage.run("user_modify", username="ann")
    assert stage.conf.revision == 1


def test_modify_refuses(stage: Stage) -> None:
    """Unknown users and groups are named; root stays able to log in."""
    with pytest.raises(NotFound, match="no user 'nobody'"):
        stage.run("user_modify", username="nobody")
    with pytest.raises(NotFound, match="no group 'nobody'"):
        stage.run("user_modify", username="ann", group="nobody")
    with pytest.raises(InUse, match="root cannot be disabled"):
        stage.run("user_modify", username="root", login_enabled=False)


def test_passwd_lets_users_change_their_own(stage: Stage) -> None:
    """Anybody may change his own password, only administrators that of others."""
    stage.run("user_passwd", by="ann", username="ann", password="mine")
    assert verify(_passwd(stage, "ann"), "mine")
    stage.run("user_passwd", by="admin", username="ann", password="*")
    assert stage.conf.users["ann"].passwd is None
    with pytest.raises(PermissionDenied, match="'ann' may not run user_passwd"):
        stage.run("user_passwd", by="ann", username="stella", password="x")
    with pytest.raises(NotFound, match="no user 'nobody'"):
        stage.run("user_passwd", username="nobody", password="x")


def owned_by_stella() -> tuple[Volume, Database]:
    """Return objects that belong to user stella and group exastoradm."""
    volume = Volume(
        name="V1", type=VolumeType.DATA, size=Bytes(GIB), disk="disk1", nodes=(11,), owner=(1002, 497), id=0
    )
    database = Database(
        name="DB1", id="x", version="18", mem_size=Bytes(GIB), nodes=(11,), num_active_nodes=1, data_volume="V1",
        owner=(1002, 497),
    )  # fmt: skip
    return volume, database


@pytest.mark.parametrize("key", ["ssh-a " * 30_000 + "\0", "ssh-" * 50_000, "ssh-a" + " " * 200_000, "a " * 100_000])
def test_a_long_key_is_refused_in_time_by_its_length(key: str) -> None:
    """A pattern that goes back over what it has seen would never end with these."""
    with pytest.raises(InvalidParameter, match="not an OpenSSH public key"):
        check_ssh_keys([key])
