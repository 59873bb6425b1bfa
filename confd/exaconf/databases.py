"""Databases, their driver sources and schedules."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

import msgspec

from confd.exaconf.codecs import PORT, within
from confd.exaconf.fields import Key, Name, Part, Parts
from confd.exaconf.section import Entry, Form, Section
from confd.model.durations import parse_duration
from confd.model.secret import Secret
from confd.model.sizes import Bytes

_LEVEL: Final = within(0, 9)


class DriverSource(Entry, frozen=True):
    """Where drivers are searched: a directory of a bucket, and further URLs."""

    bucketfs: Annotated[str, Key("BucketFS")] = "bfsdefault"
    bucket: Annotated[str, Key("Bucket")] = "default"
    dir: Annotated[str, Key("Dir")] = ""
    additional_urls: Annotated[tuple[str, ...], Key("AdditionalURLs", optional=True)] = ()


class SnapshotSchedule(Entry, frozen=True):
    """When snapshots are taken, in cron fields; ``expire`` stays as it was given."""

    name: Annotated[str, Name()]
    enabled: Annotated[bool, Key("Enabled")] = True
    minute: Annotated[str, Key("Minute")] = "0"
    hour: Annotated[str, Key("Hour")] = "*"
    day: Annotated[str, Key("Day")] = "*"
    month: Annotated[str, Key("Month")] = "*"
    weekday: Annotated[str, Key("Weekday")] = "*"
    expire: Annotated[str | None, Key("Expire", optional=True)] = None

    @property
    def expire_seconds(self) -> int:
        """Lifetime of what the schedule makes; 0 is forever."""
        return _seconds(self.expire)


class BackupSchedule(Entry, frozen=True, kw_only=True):
    """When backups are taken and where they go; ``volume`` is a name or an id."""

    name: Annotated[str, Name()]
    enabled: Annotated[bool, Key("Enabled")] = True
    volume: Annotated[str, Key("Volume")]
    level: Annotated[int, Key("Level", _LEVEL)] = 0
    minute: Annotated[str, Key("Minute")] = "0"
    hour: Annotated[str, Key("Hour")] = "*"
    day: Annotated[str, Key("Day")] = "*"
    month: Annotated[str, Key("Month")] = "*"
    weekday: Annotated[str, Key("Weekday")] = "*"
    expire: Annotated[str | None, Key("Expire", optional=True)] = None

    @property
    def expire_seconds(self) -> int:
        """Lifetime of what the schedule makes; 0 is forever."""
        return _seconds(self.expire)


class Database(Section, frozen=True, kw_only=True):
    """A database; reserve nodes stand last in ``nodes``. A worker names its ``master_database``.

    ``wal_archive_volume`` is our own key: the archive volume that keeps the database's WAL.
    """

    kind: ClassVar[str] = "DB"
    form: ClassVar[Form] = Form.NAMED

    name: Annotated[str, Name()]
    id: Annotated[str, Key("ID")]
    version: Annotated[str, Key("Version")]
    mem_size: Annotated[Bytes, Key("MemSize")]
    port: Annotated[int, Key("Port", PORT)] = 8563
    owner: Annotated[tuple[int, int], Key("Owner")] = (500, 500)
    nodes: Annotated[tuple[int, ...], Key("Nodes")]
    num_active_nodes: Annotated[int, Key("NumActiveNodes", within(1))]
    data_volume: Annotated[str, Key("DataVolume")]
    cloud_data_volume: Annotated[str | None, Key("CloudDataVolume", optional=True)] = None
    cloud_data_volume_sync: Annotated[str | None, Key("CloudDataVolumeSync", optional=True)] = None
    snapshot_volume: Annotated[str | None, Key("SnapshotVolume", optional=True)] = None
    snapshot_volume_sync: Annotated[str | None, Key("SnapshotVolumeSync", optional=True)] = None
    cache_volume_disk: Annotated[str | None, Key("CacheVolumeDisk", optional=True)] = None
    wal_archive_volume: Annotated[str, Key("WalArchiveVolume", optional=True)] = ""
    volume_quota: Annotated[Bytes | None, Key("VolumeQuota", optional=True)] = None
    volume_move_delay: Annotated[int | None, Key("VolumeMoveDelay", within(0), optional=True)] = None
    enable_auditing: Annotated[bool, Key("EnableAuditing")] = True
    auto_start: Annotated[bool, Key("AutoStart")] = True
    interfaces: Annotated[tuple[str, ...], Key("Interfaces", optional=True)] = ()
    ldap_servers: Annotated[tuple[str, ...], Key("LdapServers", optional=True)] = ()
    params: Annotated[str, Key("Params", optional=True)] = ""
    master_database: Annotated[str | None, Key("MasterDatabase", optional=True)] = None
    initial_sql: Annotated[str | None, Key("InitialSQL", optional=True)] = None
    default_sys_passwd_hash: Annotated[Secret | None, Key("DefaultSysPasswdHash", optional=True)] = None
    additional_sys_passwd_hashes: Annotated[Secret | None, Key("AdditionalSysPasswdHashes", optional=True)] = None
    builtin_script_language_name: Annotated[str | None, Key("BuiltinScriptLanguageName", optional=True)] = None
    jdbc: Annotated[DriverSource, Part("JDBC")] = msgspec.field(
        default_factory=lambda: DriverSource(dir="drivers/jdbc")
    )
    oracle: Annotated[DriverSource, Part("Oracle")] = msgspec.field(
        default_factory=lambda: DriverSource(dir="drivers/oracle")
    )
    backups: Annotated[dict[str, BackupSchedule], Parts("Backup")] = msgspec.field(default_factory=dict)
    snapshots: Annotated[dict[str, SnapshotSchedule], Parts("Snapshot")] = msgspec.field(default_factory=dict)

    @property
    def active_nodes(self) -> tuple[int, ...]:
        """Ids of the nodes with an instance."""
        return self.nodes[: self.num_active_nodes]

    @property
    def reserve_nodes(self) -> tuple[int, ...]:
        """Ids of the nodes that stand by."""
        return self.nodes[self.num_active_nodes :]


def _seconds(expire: str | None) -> int:
    return parse_duration(expire) if expire else 0
