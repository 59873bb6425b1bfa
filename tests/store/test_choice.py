"""Which files of a node belong to the store that it uses."""

from __future__ import annotations

from pathlib import Path

from confd.store.choice import StoreChoice, StoreKind, own_files
from confd.store.etcd.access import EtcdAccess

ROOT = Path("/node/root")


def test_files_that_a_choice_names_below_the_root() -> None:
    """Wherever they are there; those of the machine, and ways out of the root, are none of the node's."""
    access = EtcdAccess(
        endpoints=("https://n11",), ca="/etc/ssl/ca.crt", certificate=f"{ROOT}/../other/crt", key=f"{ROOT}/etc/ssl/key",
        password_file=f"{ROOT}/etc/some/where/password",
    )  # fmt: skip
    choice = StoreChoice(kind=StoreKind.ETCD, etcd=access)
    assert own_files(choice, ROOT) == ["etc/ssl/key", "etc/some/where/password"]
    assert own_files(StoreChoice(), ROOT) == []
