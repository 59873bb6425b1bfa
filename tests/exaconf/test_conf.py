"""The configuration at a revision."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.exaconf import Conf, Database, Group, Node, Section, Ssl, User, Volume
from confd.model.errors import NotFound
from tests.exaconf.conftest import put


def test_views(conf: Conf) -> None:
    """Views give the objects of a kind by name, nodes by id."""
    assert list(conf.nodes) == [11]
    assert set(conf.volumes) == {"DataVolume1", "ArchiveVolume1"}
    assert set(conf.users) == {"root", "exadefusr", "exasaasusr"}
    assert conf.groups["exaadm"] == Group("exaadm", 499)
    assert [*conf.databases, *conf.remote_volumes, *conf.object_volumes, *conf.bucketfs, *conf.plugins] == [
        "DB1",
        "s3_archive",
        "DataVolume2",
        "bfsdefault",
        "Plugin1",
    ]
    assert conf.global_.cluster_name == "cl4"
    assert conf.storage.space_warn_threshold == 90
    assert conf.logging.log_rotation_types == ("local",)


def test_missing_sections_have_defaults() -> None:
    """Sections with defaults may be missing, [Global] may not."""
    empty = Conf(0, {})
    assert empty.ssl == Ssl()
    with pytest.raises(NotFound, match="Global"):
        _ = empty.global_


def test_require(conf: Conf) -> None:
    """An object that exists is returned with its type."""
    assert conf.require_node(11).name == "n11"
    assert conf.require_database("DB1").port == 8563
    assert conf.require_volume("DataVolume1").disk == "disk1"
    assert conf.require_remote_volume("s3_archive").id == 10005
    assert conf.require_object_volume("DataVolume2").region == "eu-central-1"
    assert conf.require_bucketfs("bfsdefault").https_port == 2581
    assert conf.require_user("root").id == 0
    assert conf.require_group("exaadm").id == 499
    assert conf.require_plugin("Plugin1").dir == "plugins"


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (Database, "DB2", "There is no database 'DB2'; did you mean 'DB1'?"),
        (Node, 99, "There is no node '99'; known: 11"),
        (Volume, "dataVolume1", "There is no volume 'dataVolume1'; did you mean 'DataVolume1'?"),
        (User, "x", "There is no user 'x'; known: exadefusr, exasaasusr, root"),
    ],
)
def test_require_names_the_nearest(conf: Conf, kind: type, name: object, message: str) -> None:
    """A wrong name is answered with the nearest known one, or with all."""
    with pytest.raises(NotFound) as caught:
        conf.require(kind, name)
    assert caught.value.message == message


def test_require_without_any() -> None:
    """If there is none at all, the message says so."""
    with pytest.raises(NotFound, match="none exists yet"):
        Conf(0, {}).require_database("DB1")


def test_with_changes(conf: Conf) -> None:
    """Changes give a new configuration; the old one stays, untouched views are shared."""
    nodes, databases = conf.nodes, conf.databases
    changed = msgspec.structs.replace(conf.databases["DB1"], port=9)
    after = conf.with_changes({changed.key: changed, "Plugin : Plugin1": None, "DB : none": None}, 17)
    assert (after.revision, after.databases["DB1"].port, dict(after.plugins)) == (17, 9, {})
    assert (conf.revision, conf.databases["DB1"].port, list(conf.plugins)) == (16, 8563, ["Plugin1"])
    assert after.nodes is nodes
    assert conf.databases is databases
    assert list(put(conf, Node(12)).nodes) == [11, 12]


def test_cannot_be_changed(conf: Conf) -> None:
    """Neither the sections nor the views can be changed from outside."""
    with pytest.raises(TypeError):
        conf.sections["x"] = Ssl()  # type: ignore[index]
    with pytest.raises(TypeError):
        conf.nodes[12] = Node(12)  # type: ignore[index]


def test_repr_is_short(conf: Conf) -> None:
    """Printing a configuration shows its size, not its content."""
    assert repr(conf) == "Conf(revision=16, 24 sections)"


NAMES = st.sampled_from("abcde")
PARTS = st.one_of(NAMES.map(lambda name: Group(name, 7)), NAMES.map(lambda name: User(name, 8, "g")), st.just(Ssl()))
MANY = st.lists(PARTS, max_size=6)


@given(MANY, st.lists(st.tuples(MANY, st.lists(PARTS, max_size=3)), max_size=4))
def test_views_follow_changes(first: list[Section], steps: list[tuple[list[Section], list[Section]]]) -> None:
    """A view that is carried through changes is what would be made anew."""
    made = Conf(0, {section.key: section for section in first})
    for revision, (put_in, taken_out) in enumerate(steps, 1):
        for kind in (Group, User, Ssl):
            made.view(kind)
        gone = {section.key: None for section in taken_out}
        made = made.with_changes({section.key: section for section in put_in} | gone, revision)
        anew = Conf(revision, made.sections)
        for kind in (Group, User, Ssl):
            assert list(made.view(kind).items()) == list(anew.view(kind).items())
