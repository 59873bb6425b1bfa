"""What a database is: defining one, and changing its settings."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from confd.cluster.operations import MASTER
from confd.exaconf import Configuration, Database, Volume
from confd.exaconf.ports import check_not_of_daemon
from confd.jobs import locks
from confd.jobs.engine import check_upgrade, check_with_engine, draft_of
from confd.jobs.observing import check_not_of_etcd, database_record, require_idle, require_stopped
from confd.jobs.types import DatabaseName, NodeIds, Owner, VolumeName
from confd.model.errors import AlreadyExists, NotFound
from confd.model.sizes import parse_size
from confd.scheduler.context import Context
from confd.scheduler.parameters import Live, Rule
from confd.scheduler.registry import MODIFY, Allow, Substitute, job
from confd.services.access.accounts import find_owner
from confd.services.backup.snapshots.snapshot import check_snapshot_volume
from confd.services.backup.targets import archive_volume
from confd.services.database import definition
from confd.services.database.definition import Wishes
from confd.services.database.params import edit_params
from confd.services.database.record import PREFIX, Record, new_generation
from confd.services.database.supervision.orders import set_create_new

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm", "exadbadm"))
_VOLUME: Final = Substitute("data_volume_id", "data_volume_name", number_wins=True)

NewDatabaseName = Annotated[str, Rule(check=definition.check_name)]
Memory = Annotated[str, Rule(check=definition.check_memory, form="size with unit, e.g. '4 GiB'")]
Quota = Annotated[str, Rule(check=definition.check_quota, form="size with unit, e.g. '100 GiB'")]
Heap = Annotated[str, Rule(check=definition.check_heap, form="size with unit up to 128 GiB, or 'default'")]
Port = Annotated[int, Rule(minimum=1, maximum=65535)]
Seconds = Annotated[int, Rule(minimum=0)]
Gibibytes = Annotated[int, Rule(minimum=1)]
Count = Annotated[int, Rule(minimum=1)]
Hash = Annotated[str, Rule(secret=True)]
Ldap = Annotated[str, Rule(check=definition.check_ldap)]
CacheDisk = Annotated[str, Rule(check=definition.check_cache)]
PathName = Annotated[str, Rule(check=definition.check_path)]
Urls = list[Any] | tuple[Any, ...]
OwnVolumeName = Annotated[str, Rule(live=Live.VOLUME, own=True)]
Words = str | list[str]


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[
        locks.database("db_name"),
        locks.volume("data_volume_name", "data_volume_id", "wal_archive_volume", share=True),
        # Alone: who puts a database onto it at the same time must see that it is taken.
        locks.volume("snapshot_sync_volume"),
        locks.node("nodes", share=True),
        locks.ids("volume"),
        locks.owner("owner"),
        locks.section("Global", share=True),
    ],
    substitutes=[_VOLUME],
)
def db_create(
    ctx: Context,
    data_volume_name: VolumeName | None,
    db_name: NewDatabaseName,
    mem_size: Memory,
    nodes: NodeIds,
    num_active_nodes: Count,
    version: str,
    *,
    additional_sys_passwd_hashes: Hash | None = None,
    cache_volume_disk: CacheDisk | None = None,
    cloud_data_volume_name: str | None = None,
    default_sys_passwd_hash: Hash | None = None,
    initial_sql: PathName | None = None,
    interfaces: str = "",
    jdbc_urls: Urls | None = None,
    ldap_server: Ldap | None = None,
    oracle_url: str | None = None,
    volume_move_delay: Seconds | None = None,
    auto_start: bool = True,
    data_volume_id: int | None = None,
    db_uuid: str | None = None,
    enable_auditing: bool = True,
    master_database: str | None = None,
    owner: Owner = definition.DEFAULT_OWNER,
    params: str | None = None,
    port: Port = 8563,
    snapshot_sync_volume: str | None = None,
    volume_quota: Gibibytes | None = None,
    wal_archive_volume: OwnVolumeName = "",
) -> None:
    """Define a new database on existing nodes and an existing data volume.

    The database is in state setup; its first start makes it empty, whatever the volume held before.
    Surplus nodes are reserve nodes.

    :param data_volume_name: Data volume, by name.
    :param db_name: Name of the new database.
    :param mem_size: Memory of the database over all active nodes, with unit.
    :param nodes: Node ids, active nodes first, then reserve nodes.
    :param num_active_nodes: How many of the nodes are active.
    :param version: PostgreSQL version, such as 18 or 18.4; a release of Exasol means the default.
    :param additional_sys_passwd_hashes: Further password hashes for sys; not supported.
    :param cache_volume_disk: Disk and size of the cache volume, as disk:size.
    :param cloud_data_volume_name: Object volume for data.
    :param default_sys_passwd_hash: SCRAM verifier of the password of sys, made with c4 pwdhash.
    :param initial_sql: Path below /exa of a YAML file, on the first node, with a list of SQL for the first start.
    :param interfaces: Networks to listen on, private and public, comma separated; empty means all.
    :param jdbc_urls: Where JDBC drivers are searched: bucketfs://service/bucket/dir or file:///path.
    :param ldap_server: LDAP servers for logins of members of role ldap_users, comma separated URLs.
    :param oracle_url: Where the Oracle client is searched: bucketfs://service/bucket/dir.
    :param volume_move_delay: Seconds to wait before the volume of a failed node moves.
    :param auto_start: Start with the cluster.
    :param data_volume_id: Data volume, by id; wins over the name.
    :param db_uuid: UUID of the database in base64; made when left out.
    :param enable_auditing: Log connections and statements.
    :param master_database: Main database of a worker database.
    :param owner: Owner, as [uid, gid] or [user, group].
    :param params: Further parameters as '-name=value -name2=value2'.
    :param port: Port for clients.
    :param snapshot_sync_volume: Data volume of its own, redundancy 1, to which snapshots go.
    :param volume_quota: Upper size of the data in GiB.
    :param wal_archive_volume: Archive volume that keeps the WAL for restores to a point in time; empty for none.

    Examples:
    {db_name: db2, version: 6.1.1, data_volume_name: DataVolume1, owner: [1000, 1000], mem_size: 2048MiB, port: 3333, nodes: [11, 12], num_active_nodes: 2}
    {db_name: MY_DEV_DATABASE, version: 8.32.0, data_volume_name: DATA_VOLUME_1, mem_size: 2048 MiB, nodes: [11, 12, 13, 14, 15], num_active_nodes: 4, default_sys_passwd_hash: 9B37963C9904E08B4516711AAA5840206B3817F9B671C385F00BFC2E}
    {db_name: PROD, version: 8.29.12, data_volume_name: data_vol, mem_size: 100 GiB, port: 8563, nodes: [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22], num_active_nodes: 11, auto_start: false}
    {db_name: qa, version: 8.32.0, data_volume_name: DataVolume1, mem_size: 23 GiB, port: 8563, nodes: [11, 12, 13], num_active_nodes: 2, owner: [500, 500], enable_auditing: true, ldap_server: "ldaps://ads.example.com:3269,ldaps://ads.example.com:636"}
    """  # noqa: E501
    if db_name in ctx.conf.databases:
        raise AlreadyExists(f"database {db_name!r} exists already; choose another name, or delete it with db_delete")
    _check_port(ctx, port)
    volume = _data_volume(ctx.conf, data_volume_name, data_volume_id)
    definition.check_seats(ctx.conf, volume, nodes, num_active_nodes)
    if snapshot_sync_volume is not None:
        check_snapshot_volume(ctx.conf, snapshot_sync_volume, volume.name, nodes[:num_active_nodes])
    wishes = Wishes(
        owner=find_owner(ctx.conf, owner), cache_volume_disk=cache_volume_disk, interfaces=interfaces,
        cloud_data_volume_name=cloud_data_volume_name, snapshot_sync_volume=snapshot_sync_volume,
        additional_sys_passwd_hashes=additional_sys_passwd_hashes, initial_sql=initial_sql, port=port,
        default_sys_passwd_hash=default_sys_passwd_hash or _cluster_password(ctx), jdbc_urls=jdbc_urls,
        ldap_server=ldap_server, oracle_url=oracle_url, volume_move_delay=volume_move_delay,
        master_database=master_database, auto_start=auto_start, enable_auditing=enable_auditing,
        volume_quota=None if volume_quota is None else f"{volume_quota} GiB", params=edit_params("", params),
        wal_archive_volume=_wal_archive(ctx.conf, wal_archive_volume),
    )  # fmt: skip
    definition.check_supported(ctx.conf, wishes)
    database = Database(
        name=db_name,
        id=definition.database_id(ctx.committed, db_name, db_uuid, ctx.token(32)),
        version=version,
        mem_size=parse_size(mem_size),
        nodes=tuple(nodes),
        num_active_nodes=num_active_nodes,
        data_volume=volume.name,
    )
    database = definition.changed(database, wishes)
    definition.check_cache_disk(ctx.conf, database)
    _remark(ctx, database, wishes)
    check_with_engine(ctx, database)
    ctx.conf.put(database)
    record = Record(
        next_generation=ctx.learn("generation", new_generation),
        create_new=True,
        volume=volume.name,
        temporary_volume=ctx.next_number("volume", 0),
    )
    ctx.put_record(PREFIX + db_name, msgspec.to_builtins(record))


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[
        locks.database("db_name"),
        locks.volume("data_volume_name", "data_volume_id", "wal_archive_volume", share=True),
        locks.owner("owner"),
        locks.section("Global", share=True),
    ],
    substitutes=[_VOLUME],
)
def db_configure(
    ctx: Context,
    db_name: DatabaseName,
    *,
    additional_sys_passwd_hashes: Hash | None = None,
    cache_volume_disk: CacheDisk | None = None,
    cloud_data_volume_name: str | None = None,
    default_sys_passwd_hash: Hash | None = None,
    initial_sql: PathName | None = None,
    interfaces: str | None = None,
    jdbc_urls: Urls | None = None,
    ldap_server: Ldap | None = None,
    oracle_url: str | None = None,
    volume_move_delay: Seconds | None = None,
    params: Words | None = None,
    params_add: Words | None = None,
    params_delete: Words | None = None,
    auto_start: bool | None = None,
    create_new_db: bool | None = None,
    data_volume_id: str | None = None,
    data_volume_name: VolumeName | None = None,
    enable_auditing: bool | None = None,
    max_system_heap_memory: Heap | None = None,
    mem_size: Memory | None = None,
    owner: Owner | None = None,
    port: Port | None = None,
    version: str | None = None,
    volume_quota: Quota | None = None,
    wal_archive_volume: OwnVolumeName | None = None,
) -> None:
    """Change settings of a stopped database; they are used at its next start.

    ``params`` replaces all further parameters, then ``params_add`` adds, then ``params_delete`` removes:
    '-name' whatever its value, '-name=value' only that value.

    :param db_name: Name of an existing database.
    :param additional_sys_passwd_hashes: Further password hashes for sys; not supported.
    :param cache_volume_disk: Disk and size of the cache volume, as disk:size.
    :param cloud_data_volume_name: Object volume for data.
    :param default_sys_passwd_hash: SCRAM verifier of the password that sys gets at the next start.
    :param initial_sql: Path below /exa of a YAML file, on the first node, with a list of SQL for the first start.
    :param interfaces: Networks to listen on, private and public, comma separated; empty means all.
    :param jdbc_urls: Where JDBC drivers are searched: bucketfs://service/bucket/dir or file:///path.
    :param ldap_server: LDAP servers for logins of members of role ldap_users, comma separated URLs.
    :param oracle_url: Where the Oracle client is searched: bucketfs://service/bucket/dir.
    :param volume_move_delay: Seconds to wait before the volume of a failed node moves.
    :param params: Replaces all further parameters.
    :param params_add: Parameters to add.
    :param params_delete: Parameters to remove.
    :param auto_start: Start with the cluster.
    :param create_new_db: True makes the next start build an empty database, False takes that back.
    :param data_volume_id: Data volume, by id; wins over the name.
    :param data_volume_name: Data volume, by name.
    :param enable_auditing: Log connections and statements.
    :param max_system_heap_memory: Heap limit with unit, at most 128 GiB; 'default' removes it.
    :param mem_size: Memory of the database over all active nodes, with unit.
    :param owner: Owner, as [uid, gid] or [user, group].
    :param port: Port for clients.
    :param version: PostgreSQL version, such as 18 or 18.4; a release of Exasol means the default.
    :param volume_quota: Upper size of the data, with unit.
    :param wal_archive_volume: Archive volume that keeps the WAL for restores to a point in time; empty ends that.

    Examples:
    {db_name: exa_db, mem_size: 2048MiB, owner: [1000, 1000], port: '3000', version: 8.0.0}
    {db_name: exa_db, enable_auditing: true, params_add: [-forceProtocolEncryption=1]}
    {db_name: exa_db, ldap_server: 'ldap://192.168.16.10:389'}
    {db_name: MY_DATABASE, params: [-forceProtocolEncryption=0]}
    {db_name: MY_DATABASE, params_delete: [-forceProtocolEncryption]}
    {db_name: MYDB, jdbc_urls: ['bucketfs://bucketfsfordrivers/mydrivers/jdbc']}
    {db_name: PROD_DR, create_new_db: false}
    {db_name: DB1, mem_size: 256 GiB}
    """
    database = ctx.conf.require_database(db_name)
    require_stopped(ctx, db_name, "configured")
    require_idle(ctx, db_name)
    _check_port(ctx, port)
    moved = None
    if data_volume_name is not None or data_volume_id is not None:
        volume = _data_volume(ctx.conf, data_volume_name, data_volume_id)
        definition.check_seats(ctx.conf, volume, database.nodes, database.num_active_nodes)
        moved = volume.name
    text = edit_params(database.params, params, params_add, params_delete)
    wishes = Wishes(
        owner=None if owner is None else find_owner(ctx.conf, owner), cache_volume_disk=cache_volume_disk,
        interfaces=interfaces, cloud_data_volume_name=cloud_data_volume_name, initial_sql=initial_sql,
        additional_sys_passwd_hashes=additional_sys_passwd_hashes, jdbc_urls=jdbc_urls, port=port,
        default_sys_passwd_hash=default_sys_passwd_hash, ldap_server=ldap_server, oracle_url=oracle_url,
        volume_move_delay=volume_move_delay, auto_start=auto_start, enable_auditing=enable_auditing,
        volume_quota=volume_quota, params=text, mem_size=mem_size, version=version, data_volume=moved,
        max_system_heap_memory=max_system_heap_memory,
        wal_archive_volume=_wal_archive(ctx.conf, wal_archive_volume),
    )  # fmt: skip
    definition.check_supported(ctx.conf, wishes)
    after = definition.changed(database, wishes)
    if cache_volume_disk is not None:
        definition.check_cache_disk(ctx.conf, after)
    _remark(ctx, after, wishes)
    # Words that are there already are looked at again: who gives them is told what they are good for.
    if draft_of(after) != draft_of(database) or params or params_add:
        check_with_engine(ctx, after)
    if version is not None and not create_new_db:
        check_upgrade(ctx, after)
    ctx.conf.put(after)
    if create_new_db is not None:
        # What is undone is the change: a flag that was set, or not, before this job stays so.
        before = database_record(ctx, db_name).create_new
        ctx.run(
            set_create_new.on(MASTER, database=db_name, create_new=create_new_db),
            undo=set_create_new.on(MASTER, database=db_name, create_new=before),
        )


def _check_port(ctx: Context, port: int | None) -> None:
    """Refuse a port that the nodes themselves use."""
    if port is not None:
        check_not_of_daemon(ctx.conf, port, "port")
        check_not_of_etcd(ctx, port, "port")


def _remark(ctx: Context, database: Database, wishes: Wishes) -> None:
    for text in definition.remarks(ctx.committed, database, wishes):
        ctx.warn(text)


def _data_volume(conf: Configuration, name: str | None, number: str | int | None) -> Volume:
    volume = conf.require_volume(name) if number is None and name is not None else _volume_by_id(conf, number)
    definition.check_data_volume(conf, volume)
    return volume


def _wal_archive(conf: Configuration, name: str | None) -> str | None:
    return archive_volume(conf, name, None, "wal_archive_volume").name if name else name


def _volume_by_id(conf: Configuration, number: str | int | None) -> Volume:
    found = next((volume for volume in conf.volumes.values() if str(volume.id) == str(number)), None)
    if found is None:
        raise NotFound(f"There is no volume with id {number}; st_volume_list shows all")
    return found


def _cluster_password(ctx: Context) -> str | None:
    record = ctx.record("cluster/sys_password")
    return ctx.open_secret(record["verifier"]).reveal() if record else None
