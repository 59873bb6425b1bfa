"""The store of a play: parameters that go together, and files that tell each node."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from confd.cluster.certificates import new_authority
from confd.cluster.identity import NodeFiles
from confd.model.errors import InvalidParameter, Unsupported
from confd.play.parameters import merge
from confd.play.store import StoreFiles, StoreSettings, check_given, settle_store
from confd.services.etcd.plan import PASSWORD_FILE, load_plan
from confd.store.choice import StoreKind, load_choice
from tests.servers import ETCD, etcd, require

SEATS = [(f"n{node}", f"127.0.0.{node}") for node in (11, 12, 13, 14)]
AUTHORITY = new_authority("test")


def settled(**texts: str) -> StoreSettings:
    """Settle parameters."""
    return settle_store(merge(texts))


def test_the_embedded_store_needs_nothing(tmp_path: Path) -> None:
    """It is the default, has no ports of its own, and leaves no file."""
    settings = settled()
    assert (settings.kind, settings.ports) == (StoreKind.SQLITE, {})
    files = NodeFiles(tmp_path)
    StoreFiles(settings, SEATS, "c", AUTHORITY).write(files, *SEATS[0])
    assert load_choice(tmp_path).kind is StoreKind.SQLITE
    assert list(tmp_path.iterdir()) == []


def test_members_of_its_own(tmp_path: Path) -> None:
    """The first three of four nodes run one each; all reach them, by one password that only their owner can read."""
    program = tmp_path / "etcd"
    program.write_text("#!/bin/sh\necho etcd Version: 3.5.21\n")
    program.chmod(0o755)
    settings = settled(CCC_PLAY_STORE="etcd", CCC_PLAY_ETCD_BINARY=str(program), CCC_PLAY_ETCD_PORT="4001")
    assert settings.ports == {"etcd": 4001, "etcd members": 4002}
    files = StoreFiles(settings, SEATS, "c", AUTHORITY)
    roots = {name: NodeFiles(tmp_path / name) for name, _ in SEATS}
    for name, address in SEATS:
        files.write(roots[name], name, address)
    plans = {name: load_plan(node.root) for name, node in roots.items()}
    assert plans["n14"] is None
    first = plans["n11"]
    assert first is not None
    assert first.initial == {f"n{n}": f"https://127.0.0.{n}:4002" for n in (11, 12, 13)}
    assert (first.binary, first.joining) == (str(program), False)
    for name, address in SEATS:
        access = load_choice(roots[name].root).etcd
        assert access is not None
        assert sorted(access.endpoints) == [f"https://127.0.0.{n}:4001" for n in (11, 12, 13)]
        assert access.endpoints[0] == f"https://{address}:4001" or name == "n14"
        assert stat.S_IMODE((roots[name].root / PASSWORD_FILE).stat().st_mode) == 0o600
    assert len({(node.root / PASSWORD_FILE).read_text() for node in roots.values()}) == 1


def test_an_etcd_that_exists(tmp_path: Path) -> None:
    """Its files are kept by each node, its keys begin with the cluster's name; the nodes run no members."""
    given = {name: tmp_path / name for name in ("password", "ca", "cert", "key")}
    for name, path in given.items():
        path.write_text(f"{name}\n")
    settings = settled(
        CCC_PLAY_STORE="etcd", CCC_PLAY_ETCD_ENDPOINTS="https://10.0.0.1:2379 https://10.0.0.2", CCC_PLAY_ETCD_USER="u",
        CCC_PLAY_ETCD_PASSWORD_FILE=str(given["password"]), CCC_PLAY_ETCD_CA_FILE=str(given["ca"]),
        CCC_PLAY_ETCD_CERT_FILE=str(given["cert"]), CCC_PLAY_ETCD_KEY_FILE=str(given["key"]),
    )  # fmt: skip
    assert settings.ports == {}
    files = NodeFiles(tmp_path / "n11")
    StoreFiles(settings, SEATS, "play1_x", AUTHORITY).write(files, *SEATS[0])
    choice = load_choice(files.root)
    access = choice.etcd
    assert access is not None
    assert (choice.prefix, access.user, access.password()) == ("/openconfd/play1_x/", "u", "password")
    assert access.names_checked
    assert load_plan(files.root) is None
    for path in given.values():
        path.unlink()
    assert Path(str(access.ca)).read_text() == "ca\n"


@pytest.mark.parametrize(("texts", "said"), [
    ({"CCC_PLAY_STORE": "zookeeper"}, "must be sqlite or etcd"),
    ({"CCC_PLAY_ETCD_ENDPOINTS": "https://x:1"}, "set it to etcd"),
    ({"CCC_PLAY_STORE": "etcd", "CCC_PLAY_ETCD_ENDPOINTS": "ftp://x"}, "no endpoint of etcd"),
    ({"CCC_PLAY_STORE": "etcd", "CCC_PLAY_ETCD_ENDPOINTS": "http://x", "CCC_PLAY_ETCD_USER": "u"}, "go together"),
    ({"CCC_PLAY_STORE": "etcd", "CCC_PLAY_ETCD_ENDPOINTS": "http://x", "CCC_PLAY_ETCD_CA_FILE": "/nowhere"}, "cannot be read"),
])  # fmt: skip
def test_parameters_that_do_not_go_together(texts: dict[str, str], said: str) -> None:
    """They are refused by name, with what to do."""
    with pytest.raises(InvalidParameter, match=said):
        settled(**texts)


def test_no_etcd_to_run(tmp_path: Path) -> None:
    """It is said what to install."""
    with pytest.raises(Unsupported, match="CCC_PLAY_ETCD_BINARY"):
        settled(CCC_PLAY_STORE="etcd", CCC_PLAY_ETCD_BINARY=str(tmp_path / "missing"))


def test_an_etcd_that_is_given_has_to_answer() -> None:
    """Where nobody answers it is said before anything is made."""
    require(ETCD)
    with etcd() as running:
        check_given(StoreSettings(kind=StoreKind.ETCD, endpoints=(running.url,)))
        check_given(StoreSettings())
    with pytest.raises(
        InvalidParameter, match=r"CCC_PLAY_ETCD_ENDPOINTS: etcd does not answer at .*; nothing was made"
    ):
        check_given(StoreSettings(kind=StoreKind.ETCD, endpoints=(running.url,)))
