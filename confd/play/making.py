"""Making the files of a play: certificates, keys, identities, devices, the first EXAConf."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.cluster.certificates import Pair, new_authority, new_member, new_self_signed
from confd.cluster.host import Host
from confd.cluster.identity import Identity, NodeFiles, write_private
from confd.daemon.bootstrap import Bootstrap
from confd.exaconf import Conf
from confd.model.errors import InsufficientSpace
from confd.model.secret import Secret, Vault
from confd.play import home, record
from confd.play.accounts import check_reachable, database_user, postgresql
from confd.play.firstconf import DEVICE, DISK, first_conf, new_password, new_uuid
from confd.play.holders import check_free
from confd.play.record import Play, PlayNode
from confd.play.settings import ACCESS_NODE, NODE_PORT, Settings
from confd.play.store import StoreFiles
from confd.services.access.passwords import hash_password
from confd.services.database.definition import check_name
from confd.services.database.engine.installation import Installation
from confd.services.database.scram import make_verifier
from confd.services.etcd.members import RECORD as MEMBERS
from confd.services.etcd.members import Members
from confd.services.storage.devices import NewDevice, add_device

_SHARE: Final = 0.8
_SECTOR: Final = 4096
_LEAST: Final = 2 << 30
# The databases' user passes through some directories, and has no business in others.
_PASSABLE: Final = ("etc", "data/storage", "logs", "metadata")
_PRIVATE: Final = ("etc/cluster", "etc/ssl", "logs/logd", "metadata/confd", "spool")
_BOOTSTRAP: Final = "etc/bootstrap.json"


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
        :raises InvalidParameter: the name of the database cannot be one.
        :raises Unsupported: databases could not run there.
        """
        if self._settings.with_db:
            check_name(self._settings.database)
        user = database_user()
        check_reachable(self._place, user)
        with home.alone():
            check_free((seat.address for seat in self._settings.seats), self._settings.ports, home.plays())
            engine = postgresql(self._place)
            number, play_id = home.new_place()
            directory = self._place / f"{number}_{play_id}"
            runtime = home.runtime(play_id)
            try:
                return self._fill(directory, runtime, number, play_id, user, engine)
            except BaseException:
                shutil.rmtree(directory, ignore_errors=True)
                shutil.rmtree(runtime, ignore_errors=True)
                raise

    def _fill(
        self, directory: Path, runtime: Path, number: int, play_id: str, user: str | None, engine: Installation
    ) -> Made:
        nodes = tuple(
            PlayNode(node=seat.node, address=seat.address, root=directory / seat.name, runtime=runtime / seat.name)
            for seat in self._settings.seats
        )
        for node in nodes:
            for name in _PASSABLE:
                home.make_passable(node.root / name)
            for name in _PRIVATE:
                (node.root / name).mkdir(mode=0o700)
        home.make_runtime(nodes)
        generated, settings = _with_passwords(self._settings)
        _Files(settings, nodes, user, engine).write(f"play{number}_{play_id}")
        if generated:
            record.write_passwords(directory, generated)
        play = Play(
            number=number, id=play_id, created=time.time(), postgresql=engine.version, engine=Path(engine.prefix),
            nodes=nodes, confd_port=settings.confd_port, db_port=settings.db_port,
            database=settings.database if settings.with_db else None, active=settings.active_nodes,
        )  # fmt: skip
        play.save()
        return Made(play, generated)


class _Files:
    """Writes what each node needs before its daemon starts for the first time."""

    def __init__(self, settings: Settings, nodes: tuple[PlayNode, ...], user: str | None, engine: Installation) -> None:
        self._settings, self._nodes, self._user, self._engine = settings, nodes, user, engine
        self._uuids = {node.node: new_uuid() for node in nodes}
        self._data_key = Vault.new_key()
        self._share = _share(nodes)

    def write(self, cluster: str) -> None:
        """Write the files of all nodes."""
        authority = new_authority(cluster)
        data = [(node.name, node.address) for node in self._nodes if node.node != ACCESS_NODE]
        store = StoreFiles(self._settings.store, data, cluster, authority)
        shown = new_self_signed(cluster, [node.address for node in self._nodes])
        for node in self._nodes:
            self._write_node(node, cluster, authority, shown)
            store.write(NodeFiles(node.root), node.name, node.address)
        self._write_bootstrap(cluster)

    def _write_node(self, node: PlayNode, cluster: str, authority: Pair, shown: Pair) -> None:
        files, uuid = NodeFiles(node.root), self._uuids[node.node]
        member = new_member(authority, uuid, [node.address, node.name])
        for path, content in (
            (files.ca, authority.certificate_pem), (files.certificate, member.certificate_pem),
            (files.key, member.key_pem), (files.data_key, self._data_key),
            (node.root / "etc/ssl/ssl.crt", shown.certificate_pem), (node.root / "etc/ssl/ssl.key", shown.key_pem),
            (node.root / "etc/ssl/ssl.ca", shown.certificate_pem), (node.root / "etc/node_uuid", uuid.encode()),
        ):  # fmt: skip
            write_private(path, content)
        first = node.node == self._settings.data_nodes[0]
        identity = Identity(
            cluster=cluster, node=node.node, uuid=uuid, address=node.address, port=NODE_PORT,
            runtime=str(node.runtime), database_user=self._user, installations=(self._engine.prefix,),
            bootstrap=str(node.root / _BOOTSTRAP) if first else None,
        )  # fmt: skip
        files.write_identity(identity)
        if node.node != ACCESS_NODE:
            self._add_device(node)

    def _add_device(self, node: PlayNode) -> None:
        engines = (Path(self._engine.prefix),)
        host = Host(node.node, node.address, node.root, node.runtime, self._user, engines, lambda: Conf(0, {}))
        device = NewDevice(name=DEVICE, disk=DISK, uuid=new_uuid(), sector_size=_SECTOR, sectors=self._share)
        add_device.function(host, device)

    def _write_bootstrap(self, cluster: str) -> None:
        settings = self._settings
        admin = Secret(hash_password(settings.admin_password.reveal()))
        text = first_conf(settings, cluster, self._engine.version, self._uuids, admin)
        sealed = Vault(self._data_key).seal(make_verifier(settings.db_password))
        records: dict[str, Any] = {"cluster/sys_password": {"verifier": sealed}}
        if settings.store.runs_members:
            records[MEMBERS] = msgspec.to_builtins(Members(settings.store.binary, settings.store.port, cluster))
        start = Bootstrap(exaconf=text, records=records)
        master = next(node for node in self._nodes if node.node == settings.data_nodes[0])
        write_private(master.root / _BOOTSTRAP, msgspec.json.encode(start))


def _with_passwords(settings: Settings) -> tuple[dict[str, str], Settings]:
    """Fill in the passwords that were not given."""
    generated: dict[str, str] = {}
    if not settings.admin_password:
        generated["CCC_PLAY_ADMIN_PASSWORD"] = new_password()
        settings = msgspec.structs.replace(settings, admin_password=Secret(generated["CCC_PLAY_ADMIN_PASSWORD"]))
    if not settings.db_password:
        generated["CCC_PLAY_DB_PASSWORD"] = new_password()
        settings = msgspec.structs.replace(settings, db_password=Secret(generated["CCC_PLAY_DB_PASSWORD"]))
    return generated, settings


def _share(nodes: tuple[PlayNode, ...]) -> int:
    """Return the sectors that each node gets of the file system they share."""
    system = os.statvfs(nodes[0].root)
    share = int(system.f_bavail * system.f_frsize * _SHARE) // len(nodes)
    if share < _LEAST:
        raise InsufficientSpace(
            f"the file system of {nodes[0].root.parent} has too little free space for {len(nodes)} nodes, at least "
            "2 GiB each: free some, or set CCC_HOME to a place on another one"
        )
    return share // _SECTOR
