"""A node learns that it was removed, once and for good; what it tells others that were."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confd.cluster.certificates import new_authority, new_member
from confd.cluster.following.follower import MasterSeen
from confd.cluster.identity import Identity, NodeFiles, write_private
from confd.cluster.removal import Removal
from confd.cluster.transport.nodeport import NodePort
from confd.daemon.belonging import Belonging, check_not_forgotten, forget_secrets, secrets_of
from confd.daemon.candidacy import Candidacy
from confd.exaconf import Conf, Global, Node
from confd.model.errors import WrongState
from confd.services.etcd.plan import own_choice, save_choice
from confd.services.nodes.naming import RETIRED
from confd.store.choice import StoreChoice
from confd.store.etcd.errors import EtcdUnreachable
from tests.nodes.conftest import free_port

UUIDS = {11: "a", 12: "b"}


class Place:
    """Node n11 from start to end: its disk stays, its journal says what the test wants."""

    def __init__(self, root: Path, *members: int, port: int = 3250, term: int = 5) -> None:
        nodes = [Node(id=n, name=f"n{n}", private_net="127.0.0.1/8", uuid=UUIDS[n]) for n in members]
        sections = [Global(cluster_name="test", cored_port=port), *nodes]
        self.conf = Conf(1, {section.key: section for section in sections})
        self.files = NodeFiles(root)
        self.identity = Identity(cluster="c", node=11, uuid="a", address="127.0.0.1", port=port, runtime=str(root))
        self.master, self.records = MasterSeen(12, term, 0.0), dict[str, Any]()
        self.said: list[str] = []
        self.leads, self.heard, self.looked = False, 99.0, 0
        store: Any = self
        self.belonging = Belonging(
            self.identity, self.files, store, store, lambda: self.conf, lambda: self.leads, self.said.append
        )

    def leader(self) -> tuple[int, int]:
        """Return what the journal says of the master."""
        return self.master.term - 1, 12

    def runtime(self) -> dict[str, Any]:
        """Return the runtime records."""
        return self.records

    def silence(self) -> float:
        """Return for how long no master was heard."""
        self.looked += 1
        return self.heard


def test_a_removal_that_counts(tmp_path: Path) -> None:
    """The daemon ends once and says what to do; so does every later one, although nobody is there to tell it."""
    place = Place(tmp_path, 11, 12)
    place.belonging.hear(Removal("b", 5))
    place.belonging.hear(Removal("b", 6))
    (said,) = place.said
    assert "n11 was removed (n12 says so, under term 5)" in said
    assert "node_add" in said
    again = Place(tmp_path, 11, 12)
    assert again.belonging.check()
    assert again.said == place.said


def test_a_removal_under_an_older_term(tmp_path: Path) -> None:
    """It is the word of a node that was left behind: nothing happens, now or later."""
    place = Place(tmp_path, 11, 12)
    place.belonging.hear(Removal("b", 4))
    assert (place.said, place.belonging.removed) == ([], False)
    assert not Place(tmp_path, 11, 12).belonging.check()


def test_the_own_configuration(tmp_path: Path) -> None:
    """One without this node is the end of it; an empty one belongs to a node that is new."""
    assert not Place(tmp_path).belonging.check()
    place = Place(tmp_path, 12)
    assert place.belonging.check()
    assert "its configuration says so" in place.said[0]


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    """The daemon ends all the same."""
    (tmp_path / "metadata").write_text("in the way")
    place = Place(tmp_path, 11, 12)
    place.belonging.hear(Removal("b", 5))
    assert len(place.said) == 1
    assert place.belonging.check()


def test_the_keys_go(tmp_path: Path) -> None:
    """Also when the node was told in order; what the administrator gave of his own stays, and no daemon starts again."""
    files, given = NodeFiles(tmp_path / "n11"), tmp_path / "password"
    write_private(given, b"sesam")
    choice = own_choice(files, "127.0.0.1", ["127.0.0.1"], 2379)
    assert choice.etcd is not None
    for etcd in (choice.etcd, msgspec.structs.replace(choice.etcd, password_file=str(given), key=None)):
        save_choice(files.root, msgspec.structs.replace(choice, etcd=etcd))
        secret = secrets_of(files)
        for path in (*secret, files.certificate):
            write_private(path, b"key")
        files.removed.unlink(missing_ok=True)
        check_not_forgotten(files, 11)
        forget_secrets(files)
        # Killed before it had deleted more than the first one: the next daemon goes on, and does not start.
        for path in secret[1:]:
            write_private(path, b"key")
        with pytest.raises(WrongState, match="n11 was removed"):
            check_not_forgotten(files, 11)
        assert [path for path in secret if path.exists()] == []
        assert files.certificate.exists()
        with pytest.raises(WrongState, match=r"n11 was removed \(it was told to leave\).*c4 rm -t PLAY.NODE"):
            check_not_forgotten(files, 11)
    assert given.exists()


def test_keys_that_cannot_be_deleted(tmp_path: Path) -> None:
    """The daemon ends all the same; the next one starts, and tries again."""
    files = NodeFiles(tmp_path)
    write_private(files.removed, b"n12 says so")
    write_private(files.data_key, b"key")
    files.key.mkdir(parents=True)
    forget_secrets(files)
    check_not_forgotten(files, 11)
    files.key.rmdir()
    forget_secrets(files)
    assert not files.data_key.exists()


def test_what_others_are_told(tmp_path: Path) -> None:
    """Who is in the record of removed nodes; not who is merely unknown, such as one that was added meanwhile."""
    place = Place(tmp_path, 11)
    assert place.belonging.removed_under("b") is None
    place.records[RETIRED] = {"12": "b"}
    assert place.belonging.removed_under("b") == 5
    assert place.belonging.removed_under("c") is None


def test_who_hears_its_master_does_not_ask(tmp_path: Path) -> None:
    """One that is removed in order is told to clean up first; it ends by itself when the master has fallen silent."""
    place = Place(tmp_path, 12)
    place.heard = 0.0
    asyncio.run(watch(place, lambda: place.looked > 0))
    assert place.said == []
    place.heard = 99.0
    asyncio.run(watch(place, lambda: place.said))


async def watch(place: Place, ended: Callable[[], Any]) -> None:
    """Have a node watch until something is so."""
    task = asyncio.create_task(place.belonging.watch())
    async with asyncio.timeout(30):
        while not ended():  # noqa: ASYNC110 - promises have no event
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("removed", [True, False])
def test_who_hears_no_master_asks(tmp_path: Path, removed: bool) -> None:
    """The other nodes, at their port; only a node that was removed ends."""
    port, authority, asked = free_port(), new_authority("test"), list[str]()
    for number, uuid in UUIDS.items():
        files, member = NodeFiles(tmp_path / f"n{number}"), new_member(authority, uuid, ["127.0.0.1"])
        write_private(files.ca, authority.certificate_pem)
        write_private(files.certificate, member.certificate_pem)
        write_private(files.key, member.key_pem)
    place = Place(tmp_path / "n11", 11, 12, port=port)

    def knows(uuid: str) -> int | None:
        asked.append(uuid)
        return 5 if removed else None

    async def test() -> None:
        other = NodePort({}, lambda uuid: False, removed=knows)
        await other.start("127.0.0.1", port, NodeFiles(tmp_path / "n12").server_tls())
        try:
            await watch(place, lambda: place.said if removed else asked)
        finally:
            await other.close()

    asyncio.run(test())
    assert place.belonging.removed is removed
    assert set(asked) == {"a"}


class Seat:
    """A daemon that is removed, as far as its candidacy sees it; it stands for its store and its candidate, too."""

    mastership = None
    removed = False
    alive: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.did: list[str] = []
        self.etcd_says: list[Any] = []

    def retired(self) -> bool:
        """Say what etcd says."""
        said = self.etcd_says.pop(0)
        if isinstance(said, Exception):
            raise said
        return bool(said)

    def end_removed(self, why: str) -> None:
        """End."""
        self.did.append(f"removed: {why}")

    async def lead(self, term: int) -> None:
        """Refuse, as a daemon does that is removed."""
        self.did.append(f"asked to lead {term}")
        raise WrongState("n11 was removed")

    async def leave(self) -> None:
        """Be master no longer."""
        self.did.append("left")

    def start(self) -> None:
        """Begin to be a candidate."""
        self.did.append("candidate")

    def resign(self, *words: Any) -> None:
        """Give mastership free."""
        self.did.append("resigned")

    def holds(self, term: int) -> bool:
        """Hold the lease."""
        return True


async def candidacy(seat: Seat) -> Candidacy:
    """Return the part of n11 in elections."""
    some: Any = seat
    return Candidacy(
        11,
        some,
        some,
        some,
        lambda: Conf(0, {}),
        some,
        lambda: None,
        lambda made: some,
        some,
        seat.retired,
        StoreChoice(),
    )


@pytest.mark.parametrize(("says", "did"), [
    ([True], ["removed: etcd says so"]), ([False], ["candidate"]),
    ([EtcdUnreachable("nobody there"), True], ["removed: etcd says so"]),
])  # fmt: skip
def test_no_candidate_before_etcd_was_asked(monkeypatch: pytest.MonkeyPatch, says: list[Any], did: list[str]) -> None:
    """One that etcd knows to be removed never is one; while etcd does not answer nobody is."""
    monkeypatch.setattr("confd.daemon.candidacy._RETRY_SECONDS", 0.01)

    async def test() -> None:
        seat = Seat()
        seat.etcd_says = says
        await (await candidacy(seat))._enter()
        assert seat.did == did

    asyncio.run(test())


def test_a_removed_node_that_won_resigns(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a candidate when it was removed, and learns so when it has caught up: it leaves the place to others."""

    async def test() -> None:
        seat = Seat()
        made = await candidacy(seat)

        async def catch_up(*words: Any) -> None:
            seat.did.append("caught up")

        monkeypatch.setattr("confd.daemon.candidacy.catch_up", catch_up)
        await made._lead(7)
        assert seat.did == ["caught up", "asked to lead 7", "left", "resigned"]
        assert made.trouble == "n11 cannot be master: n11 was removed"

    asyncio.run(test())
