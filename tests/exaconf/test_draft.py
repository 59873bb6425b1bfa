"""Drafts and conflicts."""

from __future__ import annotations

import msgspec
import pytest

from confd.exaconf import Change, Conf, Draft, Group, Node, User, conflicts, membership
from confd.model.errors import NotFound

USER = User("eve", 1001, "exausers")


@pytest.fixture
def draft(conf: Conf) -> Draft:
    """A draft without changes."""
    return Draft(conf)


def test_reads_its_own_changes(draft: Draft, conf: Conf) -> None:
    """What is put or deleted is seen by all ways of reading, and not in the base."""
    users = draft.users
    draft.put(USER)
    draft.delete("Users : root")
    assert draft.require_user("eve") == users["eve"] == draft.get("Users : eve") == USER
    assert set(users) == {"exadefusr", "exasaasusr", "eve"} == {user.name for user in users.values()}
    assert "root" not in users and len(users) == 3
    assert dict(users.items()) == dict(draft.result(17).users)
    assert "root" in conf.users and "eve" not in conf.users
    assert draft.changes == {"Users : eve": USER, "Users : root": None}


def test_a_kind_does_not_show_other_kinds(draft: Draft) -> None:
    """Changes of another kind do not appear in a view."""
    draft.put(Group("eve", 7))
    draft.delete("Node : 11")
    assert "eve" not in draft.users
    assert set(draft.groups) >= {"eve", "root"}
    assert len(draft.nodes) == 0


def test_only_real_differences_count(draft: Draft, conf: Conf) -> None:
    """Putting what is there, undoing a change and deleting what was added leave no change."""
    root = conf.users["root"]
    draft.put(msgspec.structs.replace(root, login_enabled=False))
    draft.put(msgspec.structs.replace(root))
    draft.put(USER)
    draft.delete(USER.key)
    draft.delete("Node : 11")
    draft.put(conf.nodes[11])
    assert draft.changes == {}
    assert draft.sections == conf.sections


def test_deleting_what_is_not_there(draft: Draft) -> None:
    """Deleting an unknown section, or one twice, is an error."""
    draft.delete("Users : root")
    for key in ("Users : nobody", "Users : root"):
        with pytest.raises(NotFound, match=key):
            draft.delete(key)


def test_reads_by_key(draft: Draft) -> None:
    """Asking for one key records it, whether it exists or not and whichever way."""
    draft.get("DB : x")
    draft.find(Node, 12)
    _ = draft.require_volume("DataVolume1"), draft.nodes[11], "bob" in draft.users, draft.groups.get("g")
    _ = draft.global_
    with pytest.raises(NotFound):
        draft.require_database("nope")
    with pytest.raises(KeyError):
        draft.plugins["p"]
    assert draft.reads == {
        "DB : x",
        "Node : 12",
        "EXAVolume : DataVolume1",
        "Node : 11",
        "Users : bob",
        "Groups : g",
        "Global",
        "DB : nope",
        "Plugin : p",
    }


def test_going_through_a_kind_reads_only_membership(draft: Draft) -> None:
    """Iterating, values, items and len record who is in the kind, not the sections."""
    for view in (draft.users, draft.nodes, draft.groups):
        _ = list(view), list(view.values()), list(view.items()), len(view)
    assert draft.reads == {membership("Users"), membership("Node"), membership("Groups")}


def test_writing_and_validating_are_no_reads(draft: Draft) -> None:
    """Putting, listing all sections and making the result record nothing."""
    draft.put(USER)
    _ = draft.sections, draft.result(17), draft.changes
    assert draft.reads == frozenset()


@pytest.mark.parametrize(
    ("reads", "writes", "later", "expected"),
    [
        ([], [], [], None),
        (["DB : a"], [], [("DB : b", Change.CHANGED)], None),
        (["DB : a"], [], [("DB : a", Change.CHANGED)], "DB : a"),
        (["DB : a"], [], [("DB : a", Change.ADDED)], "DB : a"),
        ([], ["DB : a"], [("DB : a", Change.REMOVED)], "DB : a"),
        (["DB : *"], [], [("DB : a", Change.CHANGED)], None),
        (["DB : *"], [], [("DB : a", Change.ADDED)], "DB : a"),
        (["DB : *"], [], [("DB : a", Change.REMOVED)], "DB : a"),
        (["DB : *"], [], [("Node : 11", Change.ADDED)], None),
        (["DB : *", "DB : a"], [], [("Global", Change.CHANGED), ("DB : a", Change.CHANGED)], "DB : a"),
        (["Users : *"], ["Users : x"], [("Groups : x", Change.ADDED)], None),
    ],
)
def test_conflicts(reads: list[str], writes: list[str], later: list[tuple[str, Change]], expected: str | None) -> None:
    """A key that was read or written conflicts with any change, a kind gone through with new and lost members."""
    assert conflicts(reads, writes, later) == expected
