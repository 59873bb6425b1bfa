"""A database as EXAConf describes it: checked wishes of an administrator, turned into a section. Pure."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from confd.exaconf import BucketFs, Conf, Configuration, Database, DriverSource, ObjectVolume, Volume, VolumeType
from confd.exaconf.values import check_share
from confd.model.errors import AlreadyExists, InUse, InvalidParameter, NotFound, Unsupported, WrongState
from confd.model.secret import Secret
from confd.model.sizes import parse_size
from confd.services.database.engine.ldap import parse_servers
from confd.services.database.scram import check_verifier

DEFAULT_OWNER: Final = ("exadefusr", "exausers")

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_BUCKETFS: Final = re.compile(r"bucketfs://([^/\s]+)/([^/\s]+)/(\S+)")
_FILE: Final = re.compile(r"file:///\S+")
_CACHE: Final = re.compile(r"[^:\s]+:(.+)")
_KEYWORDS: Final = frozenset({"main", "postgres", "template0", "template1"})
HEAP_KEY: Final = "MaxSystemHeapMemory"
"""Key of EXAConf with the limit of heap memory."""

_MOST_HEAP: Final = 128 << 30


def check_name(name: str) -> None:
    """Check the name of a new database."""
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f"{name!r} cannot name a database: use 1 to 63 letters, digits, '_', '-', beginning with a letter or '_'"
        )
    if name.lower() in _KEYWORDS:
        raise InvalidParameter(f"{name!r} is reserved; choose another name")


def check_memory(text: str) -> None:
    """Check a memory size: with unit, more than nothing."""
    if parse_size(text, require_unit=True) <= 0:
        raise InvalidParameter(f"{text!r} is no memory; give a number with MiB, GiB or TiB")


def check_quota(text: str) -> None:
    """Check a quota: a size with unit."""
    check_memory(text)


def check_heap(text: str) -> None:
    """Check a heap limit: a size up to 128 GiB, or ``default``."""
    if text == "default":
        return
    check_memory(text)
    if parse_size(text, require_unit=True) > _MOST_HEAP:
        raise InvalidParameter(f"{text!r} is above the maximum of 128 GiB")


def check_ldap(text: str) -> None:
    """Check LDAP servers: comma separated URLs."""
    parse_servers(_listed(text))


def check_cache(text: str) -> None:
    """Check disk and size of a cache volume."""
    match = _CACHE.fullmatch(text)
    if match is None:
        raise InvalidParameter(f"{text!r} is not of the form disk:size, such as 'disk1:7 GiB'")
    parse_size(match[1], require_unit=True)


def check_path(path: str) -> None:
    """Check that a path is absolute."""
    if not path.startswith("/"):
        raise InvalidParameter(f"{path!r} is not an absolute path")


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a job was asked to set; None leaves a value as it is. Names are those of the parameters."""

    version: str | None = None
    mem_size: str | None = None
    port: int | None = None
    owner: tuple[int, int] | None = None
    data_volume: str | None = None
    cloud_data_volume_name: str | None = None
    snapshot_sync_volume: str | None = None
    additional_sys_passwd_hashes: str | None = None
    default_sys_passwd_hash: str | None = None
    cache_volume_disk: str | None = None
    initial_sql: str | None = None
    interfaces: str | None = None
    jdbc_urls: Sequence[Any] | None = None
    oracle_url: str | None = None
    ldap_server: str | None = None
    volume_move_delay: int | None = None
    volume_quota: str | None = None
    wal_archive_volume: str | None = None
    max_system_heap_memory: str | None = None
    master_database: str | None = None
    auto_start: bool | None = None
    enable_auditing: bool | None = None
    params: str | None = None


def changed(database: Database, wishes: Wishes) -> Database:
    """Return a database with wishes fulfilled.

    :raises InvalidParameter: a URL or hash that cannot be.
    """
    simple = {
        "version": wishes.version,
        "mem_size": None if wishes.mem_size is None else parse_size(wishes.mem_size),
        "port": wishes.port,
        "owner": wishes.owner,
        "data_volume": wishes.data_volume,
        "snapshot_volume": wishes.snapshot_sync_volume,
        "cache_volume_disk": wishes.cache_volume_disk,
        "initial_sql": wishes.initial_sql,
        "interfaces": None if wishes.interfaces is None else _listed(wishes.interfaces),
        "ldap_servers": None if wishes.ldap_server is None else _listed(wishes.ldap_server),
        "volume_move_delay": wishes.volume_move_delay,
        "volume_quota": None if wishes.volume_quota is None else parse_size(wishes.volume_quota),
        "wal_archive_volume": wishes.wal_archive_volume,
        "auto_start": wishes.auto_start,
        "enable_auditing": wishes.enable_auditing,
        "params": wishes.params,
        "default_sys_passwd_hash": _verifier(wishes.default_sys_passwd_hash),
        "jdbc": None if wishes.jdbc_urls is None else driver_source("jdbc_urls", wishes.jdbc_urls, database.jdbc),
        "oracle": None
        if wishes.oracle_url is None
        else driver_source("oracle_url", [wishes.oracle_url], database.oracle),
    }
    given = {name: value for name, value in simple.items() if value is not None}
    after = _with_heap(msgspec.structs.replace(database, **given), wishes.max_system_heap_memory)
    try:
        check_share(after.mem_size, after.num_active_nodes)
    except InvalidParameter as error:
        raise InvalidParameter(f"mem_size: {error.message}") from None
    return after


def check_supported(conf: Configuration, wishes: Wishes) -> None:
    """Refuse what names something unknown, or what this software cannot do yet.

    :raises NotFound: the object does not exist.
    :raises Unsupported: says what cannot be done.
    """
    if wishes.cloud_data_volume_name is not None:
        conf.require(ObjectVolume, wishes.cloud_data_volume_name)
        raise Unsupported("cloud_data_volume_name: databases on object volumes are not supported yet; leave it out")
    if wishes.master_database is not None:
        conf.require_database(wishes.master_database)
        raise Unsupported("master_database: worker databases are not supported yet; leave it out")
    if wishes.additional_sys_passwd_hashes:
        raise Unsupported("additional_sys_passwd_hashes: PostgreSQL knows one password per user; leave it out")
    for parameter, urls in (
        ("jdbc_urls", wishes.jdbc_urls or ()),
        ("oracle_url", (wishes.oracle_url,) if wishes.oracle_url is not None else ()),
    ):
        for url in urls:
            _check_bucket(conf, parameter, str(url))


def _check_bucket(conf: Configuration, parameter: str, url: str) -> None:
    match = _BUCKETFS.fullmatch(url)
    if match is None:
        return
    service, bucket, _ = match.groups()
    if bucket not in conf.require(BucketFs, service).buckets:
        raise NotFound(f"{parameter}: BucketFS {service} has no bucket {bucket!r}; make it with bucket_add")


def check_seats(conf: Configuration, volume: Volume, nodes: Sequence[int], num_active: int) -> None:
    """Check the nodes of a database against the cluster and its data volume.

    :raises NotFound: a node does not exist.
    :raises InvalidParameter: the numbers do not fit; says which.
    """
    for node in nodes:
        conf.require_node(node)
    if num_active > len(nodes):
        raise InvalidParameter(f"num_active_nodes: {num_active} active nodes, but only {len(nodes)} nodes are given")
    if num_active != volume.num_master_nodes:
        raise InvalidParameter(
            f"num_active_nodes: data volume {volume.name} has {volume.num_master_nodes} master nodes; "
            f"give num_active_nodes {volume.num_master_nodes}, or another volume"
        )
    homeless = [node for node in nodes[:num_active] if node not in volume.nodes]
    if homeless:
        names = ", ".join(f"n{node}" for node in homeless)
        raise InvalidParameter(f"nodes: data volume {volume.name} has no segment on {names}; active nodes need one")


def check_cache_disk(conf: Configuration, database: Database) -> None:
    """Check that the active nodes have the disk of the cache volume.

    :raises NotFound: names the node and the disks it has.
    """
    name = (database.cache_volume_disk or "").partition(":")[0]
    for node in database.active_nodes if name else ():
        if name not in (disks := conf.require_node(node).disks):
            raise NotFound(f"cache_volume_disk: n{node} has no disk {name!r}; it has {', '.join(disks) or 'none'}")


def remarks(conf: Conf, database: Database, wishes: Wishes) -> Iterator[str]:
    """Tell what of the wishes is not as an administrator may expect."""
    if wishes.cache_volume_disk:
        yield "cache_volume_disk is kept; it is used only by databases on object volumes"
    rivals = [
        other.name
        for other in conf.databases.values()
        if other.name != database.name and other.port == database.port and set(other.nodes) & set(database.nodes)
    ]
    if rivals and wishes.port is not None:
        yield (
            f"port {database.port} is also the port of database {', '.join(rivals)}; on the nodes that they share only "
            "one of them can run"
        )


def check_data_volume(conf: Configuration, volume: Volume) -> None:
    """Refuse a volume that is not for data, or that takes snapshots: moving a database would destroy them.

    :raises WrongState: it is for something else.
    :raises InUse: names the database whose snapshots it takes.
    """
    if volume.type is not VolumeType.DATA:
        raise WrongState(f"volume {volume.name} is an {volume.type} volume; a database needs a data volume")
    taker = next((known.name for known in conf.databases.values() if known.snapshot_volume == volume.name), None)
    if taker is not None:
        raise InUse(f"volume {volume.name!r} takes the snapshots of database {taker}; give a data volume of its own")


def database_id(conf: Conf, name: str, given: str | None, fresh: str) -> str:
    """Return the id of a new database: the one given, the name if it is one, else a fresh one.

    :param fresh: 32 random hexadecimal digits.
    :raises InvalidParameter: not a UUID in base64.
    :raises AlreadyExists: another database has it.
    """
    if given is not None:
        chosen = _uuid_text(given)
        if chosen is None:
            raise InvalidParameter(f"db_uuid: {given!r} is not a UUID in base64 (22 characters)")
    else:
        chosen = _uuid_text(name) or _encoded(uuid.UUID(fresh, version=4))
    holder = next((known.name for known in conf.databases.values() if known.id == chosen), None)
    if holder is not None:
        raise AlreadyExists(f"db_uuid: database {holder!r} has this UUID; give another one")
    return chosen


def driver_source(parameter: str, urls: Sequence[Any], base: DriverSource) -> DriverSource:
    """Return where drivers are searched: the first BucketFS URL fills the bucket, the rest are further URLs."""
    texts = [str(url) for url in urls]
    for url in texts:
        if not (_BUCKETFS.fullmatch(url) or _FILE.fullmatch(url)):
            raise InvalidParameter(
                f"{parameter}: {url!r} is not of the form bucketfs://service/bucket/directory or file:///path"
            )
    first = next((url for url in texts if _BUCKETFS.fullmatch(url)), None)
    others = tuple(url for url in texts if url is not first)
    match = _BUCKETFS.fullmatch(first or "")
    if match is None:
        return msgspec.structs.replace(base, additional_urls=others)
    service, bucket, directory = match.groups()
    return DriverSource(bucketfs=service, bucket=bucket, dir=directory.rstrip("/"), additional_urls=others)


def _verifier(text: str | None) -> Secret | None:
    if text is None:
        return None
    try:
        return check_verifier(text)
    except InvalidParameter as error:
        raise InvalidParameter(f"default_sys_passwd_hash: {error.message}") from None


def _with_heap(database: Database, heap: str | None) -> Database:
    if heap is None:
        return database
    extra = {key: value for key, value in database.extra.items() if key != HEAP_KEY}
    return msgspec.structs.replace(database, extra=extra if heap == "default" else extra | {HEAP_KEY: heap})


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _uuid_text(text: str) -> str | None:
    try:
        raw = base64.urlsafe_b64decode(text.rstrip("=") + "==")
    except (binascii.Error, ValueError):
        return None
    return _encoded(uuid.UUID(bytes=raw)) if len(raw) == 16 and len(text.rstrip("=")) == 22 else None


def _encoded(value: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(value.bytes).decode().rstrip("=")
