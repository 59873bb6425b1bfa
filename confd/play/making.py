"""Making the files of a play: certificates, keys, identities, devices, the first EXAConf."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from confd.cluster.certificates import Pair, new_authority, new_member, new_self_signed
from confd.cluster.identity import NodeFiles, portable, write_private
from confd.daemon.bootstrap import Bootstrap
from confd.model.secret import Secret, Vault
from confd.play import home, record
from confd.play.accounts import check_reachable, database_user, postgresql
from confd.play.firstconf import first_conf, new_password, new_uuid
from confd.play.holders import check_free
from confd.play.kit import Ground, NodeKit, make_node, share_of_disk
from confd.play.record import Play, PlayNode, Progress
from confd.play.settings import ACCESS_NODE, NODE_PORT, Seat, Settings
from confd.play.store import StoreFiles, check_given
from confd.play.unfinished import begin
from confd.services.access.passwords import hash_password
from confd.services.database.definition import check_name
from confd.services.database.engine.installation import Installation
from confd.services.database.scram import make_verifier
from confd.services.etcd.members import RECORD as MEMBERS
from confd.services.etcd.members import Members
from confd.services.nodes.admission import AUTHORITY, JOINED


class Made(msgspec.Struct, frozen=True):
    """A play whose files are there, and the passwords that were generated for it."""

    play: Play
    generated: dict[str, str]


class Workshop:
    """Makes one play; nothing is left of it when something fails."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._place = home.home()

    def make(self) -> Made:
        """Make all files of a new play.

        :raises InUse: an address or port is taken.
        :raises InvalidParameter: the name of the database cannot be one, or an etcd that is given does not answer.
        :raises Unsupported: databases could not run there.
        """
        if self._settings.with_db:
            check_name(self._settings.database)
        user = database_user()
        check_reachable(self._place, user)
        check_given(self._settings.store)
        with home.alone():
            check_free((seat.address for seat in self._settings.seats), self._settings.ports, home.plays())
            engine = postgresql(self._place)
            number, play_id = home.new_place()
            play = self._plan(number, play_id, engine)
            home.make_passable(play.directory)
            try:
                # Known before anything of it is there, so that c4 can delete it when this is cut off.
                play.save()
                return self._fill(play, Ground(user, engine, share_of_disk(play.directory, len(play.nodes))))
            except BaseException:
                home.clear_runtime(play.nodes)
                with suppress(OSError):
                    home.discard(play.directory)
                raise

    def _plan(self, number: int, play_id: str, engine: Installation) -> Play:
        settings, runtime = self._settings, home.runtime(play_id)
        directory = self._place / f"{number}_{play_id}"
        return begin(Play(
            number=number, id=play_id, created=time.time(), postgresql=engine.version, engine=Path(engine.prefix),
            nodes=tuple(
                PlayNode(node=seat.node, address=seat.address, root=directory / seat.name, runtime=runtime / seat.name)
                for seat in settings.seats
            ),
            confd_port=settings.confd_port, db_port=settings.db_port,
            database=settings.database if settings.with_db else None, active=settings.active_nodes,
        ))  # fmt: skip

    def _fill(self, play: Play, ground: Ground) -> Made:
        generated, settings = with_passwords(self._settings)
        kits = make_kits(settings, cluster_name(play.number, play.id), play.postgresql)
        for node, kit in zip(play.nodes, kits, strict=True):
            make_node(kit, node, ground)
        if generated:
            record.write_passwords(play.directory, generated)
        made = play.with_progress(Progress.MADE)
        made.save()
        return Made(made, generated)


def cluster_name(number: int, play_id: str) -> str:
    """Return the name of a play's cluster."""
    return f"play{number}_{play_id}"


def make_kits(settings: Settings, cluster: str, version: str) -> list[NodeKit]:
    """Make everything that the nodes of a new cluster begin with, in the order of its seats.

    :param version: of PostgreSQL.
    """
    return _Kits(settings, cluster, version).make()


class _Kits:
    """A new cluster before it lies anywhere."""

    def __init__(self, settings: Settings, cluster: str, version: str) -> None:
        self._settings, self._cluster, self._version = settings, cluster, version
        self._uuids = {seat.node: new_uuid() for seat in settings.seats}
        self._data_key = Vault.new_key()
        self._authority = new_authority(cluster)
        data = [(seat.name, seat.address) for seat in settings.seats if seat.node != ACCESS_NODE]
        self._store = StoreFiles(settings.store, data, cluster, self._authority)

    def make(self) -> list[NodeKit]:
        """Make the kits of all nodes."""
        shown = new_self_signed(self._cluster, [seat.address for seat in self._settings.seats])
        return [self._make_kit(seat, shown) for seat in self._settings.seats]

    def _make_kit(self, seat: Seat, shown: Pair) -> NodeKit:
        uuid = self._uuids[seat.node]
        member = new_member(self._authority, uuid, [seat.address, seat.name])
        first = seat.node == self._settings.data_nodes[0]
        return NodeKit(
            cluster=self._cluster, node=seat.node, uuid=uuid, address=seat.address, port=NODE_PORT,
            members=tuple(self._uuids.values()), ca=self._authority.certificate_pem,
            certificate=member.certificate_pem, key=member.key_pem, data_key=self._data_key,
            files=self._store_files(seat) | {
                "etc/ssl/ssl.crt": shown.certificate_pem, "etc/ssl/ssl.key": shown.key_pem,
                "etc/ssl/ssl.ca": shown.certificate_pem,
            },
            disk=seat.node != ACCESS_NODE, bootstrap=self._bootstrap() if first else None,
        )  # fmt: skip

    def _store_files(self, seat: Seat) -> dict[str, bytes]:
        """Return what tells a node of its store, wherever its root will be."""
        with TemporaryDirectory() as place:
            root = Path(place)
            files = NodeFiles(root)
            write_private(files.ca, self._authority.certificate_pem)
            self._store.write(files, seat.name, seat.address)
            written = [path for path in root.rglob("*") if path.is_file() and path != files.ca]
            return {str(path.relative_to(root)): portable(path.read_bytes(), root) for path in written}

    def _bootstrap(self) -> bytes:
        settings, vault = self._settings, Vault(self._data_key)
        admin = Secret(hash_password(settings.admin_password.reveal()))
        text = first_conf(settings, self._cluster, self._version, self._uuids, admin)
        records: dict[str, Any] = {
            "cluster/sys_password": {"verifier": vault.seal(make_verifier(settings.db_password))},
            AUTHORITY: {
                "certificate": self._authority.certificate_pem.decode(),
                "key": vault.seal(Secret(self._authority.key_pem.decode())),
            },
        }
        if settings.store.runs_members:
            members = Members(settings.store.binary, settings.store.port, self._cluster)
            records[MEMBERS] = msgspec.to_builtins(members)
        records |= {f"{JOINED}{node}": uuid for node, uuid in self._uuids.items()}
        return msgspec.json.encode(Bootstrap(exaconf=text, records=records))


def with_passwords(settings: Settings) -> tuple[dict[str, str], Settings]:
    """Fill in the passwords that were not given; return those that were generated, and the settings with all."""
    generated: dict[str, str] = {}
    if not settings.admin_password:
        generated["CCC_PLAY_ADMIN_PASSWORD"] = new_password()
        settings = msgspec.structs.replace(settings, admin_password=Secret(generated["CCC_PLAY_ADMIN_PASSWORD"]))
    if not settings.db_password:
        generated["CCC_PLAY_DB_PASSWORD"] = new_password()
        settings = msgspec.structs.replace(settings, db_password=Secret(generated["CCC_PLAY_DB_PASSWORD"]))
    return generated, settings
