"""Volumes: on the nodes' disks, outside the cluster, in object stores."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

import msgspec

from confd.exaconf import values
from confd.exaconf.codecs import PORT, WORDS, within
from confd.exaconf.fields import Key, Name
from confd.exaconf.section import Form, Section
from confd.model.secret import Secret
from confd.model.sizes import Bytes

FIRST_REMOTE_ID: Final = 10000
_KIB: Final = 1024
_PRIORITY: Final = within(0, 20)
_OWNER: Final = (500, 500)


class VolumeType(StrEnum):
    """What a volume holds: database instances or files."""

    DATA = "data"
    ARCHIVE = "archive"


#: Block and stripe size where the volume does not say it.
BLOCK_SIZES: Final = {VolumeType.DATA: Bytes(4 * _KIB), VolumeType.ARCHIVE: Bytes(64 * _KIB)}
STRIPE_SIZES: Final = {VolumeType.DATA: Bytes(256 * _KIB), VolumeType.ARCHIVE: Bytes(64 * _KIB)}


class Volume(Section, frozen=True):
    """A volume on disks of nodes; a port of 0 is off, ``id`` is our own key."""

    kind: ClassVar[str] = "EXAVolume"
    form: ClassVar[Form] = Form.NAMED

    name: Annotated[str, Name()]
    type: Annotated[VolumeType, Key("Type")]
    size: Annotated[Bytes, Key("Size", check=values.check_positive_size)]
    disk: Annotated[str, Key("Disk")]
    nodes: Annotated[tuple[int, ...], Key("Nodes")]
    num_master_nodes: Annotated[int, Key("NumMasterNodes", within(0))] = 0
    redundancy: Annotated[int, Key("Redundancy", within(1))] = 1
    block_size: Annotated[Bytes, Key("BlockSize", check=values.check_block_size)] = Bytes(0)
    stripe_size: Annotated[Bytes, Key("StripeSize", check=values.check_block_size)] = Bytes(0)
    partition_size: Annotated[Bytes | None, Key("PartitionSize", optional=True)] = None
    owner: Annotated[tuple[int, int], Key("Owner")] = _OWNER
    permissions: Annotated[str, Key("Permissions", check=values.check_permissions)] = "rwx"
    labels: Annotated[tuple[str, ...], Key("Labels", optional=True)] = ()
    http_port: Annotated[int, Key("HttpPort", PORT, optional=True)] = 0
    https_port: Annotated[int, Key("HttpsPort", PORT, optional=True)] = 0
    ftp_port: Annotated[int, Key("FtpPort", PORT, optional=True)] = 0
    ftps_port: Annotated[int, Key("FtpsPort", PORT, optional=True)] = 0
    sftp_port: Annotated[int, Key("SftpPort", PORT, optional=True)] = 0
    shared: Annotated[bool, Key("Shared")] = True
    priority: Annotated[int, Key("Priority", _PRIORITY)] = 10
    id: Annotated[int | None, Key("ID", within(0), optional=True)] = None

    def __post_init__(self) -> None:
        derive = msgspec.structs.force_setattr
        if not self.num_master_nodes:
            derive(self, "num_master_nodes", len(self.nodes))
        if not self.block_size:
            derive(self, "block_size", BLOCK_SIZES[self.type])
        if not self.stripe_size:
            derive(self, "stripe_size", STRIPE_SIZES[self.type])

    @property
    def ports(self) -> dict[str, int]:
        """The open ports by protocol: http, https, ftp, ftps, sftp."""
        return _open_ports(self)


class RemoteType(StrEnum):
    """How a store outside the cluster is reached."""

    SMB = "smb"
    FTP = "ftp"
    SFTP = "sftp"
    WEBHDFS = "webhdfs"
    WEBDAV = "webdav"
    FILE = "file"
    S3 = "s3"
    GS = "gs"
    AZURE = "azure"


class RemoteVolume(Section, frozen=True):
    """A store outside the cluster that takes backups."""

    kind: ClassVar[str] = "RemoteVolume"
    form: ClassVar[Form] = Form.NAMED

    name: Annotated[str, Name()]
    type: Annotated[RemoteType, Key("Type")]
    id: Annotated[int, Key("ID", within(0))]
    url: Annotated[str, Key("URL")]
    owner: Annotated[tuple[int, int], Key("Owner")] = _OWNER
    username: Annotated[str | None, Key("Username", optional=True)] = None
    passwd: Annotated[Secret | None, Key("Passwd", optional=True)] = None
    labels: Annotated[tuple[str, ...], Key("Labels", optional=True)] = ()
    options: Annotated[tuple[str, ...], Key("Options", WORDS, optional=True)] = ()
    http_port: Annotated[int, Key("HttpPort", PORT, optional=True)] = 0
    https_port: Annotated[int, Key("HttpsPort", PORT, optional=True)] = 0
    ftp_port: Annotated[int, Key("FtpPort", PORT, optional=True)] = 0
    ftps_port: Annotated[int, Key("FtpsPort", PORT, optional=True)] = 0
    sftp_port: Annotated[int, Key("SftpPort", PORT, optional=True)] = 0

    @property
    def ports(self) -> dict[str, int]:
        """The open ports by protocol: http, https, ftp, ftps, sftp."""
        return _open_ports(self)


class ObjectType(StrEnum):
    """Which object store holds an object volume."""

    S3 = "s3"
    GS = "gs"
    AZURE = "azure"


class ObjectVolume(Section, frozen=True):
    """A data volume whose durable copy lies in an object store."""

    kind: ClassVar[str] = "ObjectVolume"
    form: ClassVar[Form] = Form.NAMED

    name: Annotated[str, Name()]
    type: Annotated[ObjectType, Key("Type")]
    region: Annotated[str | None, Key("Region", optional=True)] = None
    bucket: Annotated[str | None, Key("Bucket", optional=True)] = None
    prefix: Annotated[str | None, Key("Prefix", optional=True)] = None
    end_point: Annotated[str | None, Key("EndPoint", optional=True)] = None
    credentials: Annotated[str | None, Key("Credentials", optional=True)] = None
    owner: Annotated[tuple[int, int], Key("Owner")] = _OWNER
    permissions: Annotated[str, Key("Permissions", check=values.check_permissions)] = "rwx"
    labels: Annotated[tuple[str, ...], Key("Labels", optional=True)] = ()
    options: Annotated[tuple[str, ...], Key("Options", WORDS, optional=True)] = ()
    shared: Annotated[bool, Key("Shared")] = True
    priority: Annotated[int, Key("Priority", _PRIORITY)] = 10
    id: Annotated[int | None, Key("ID", within(0), optional=True)] = None


def _open_ports(volume: Volume | RemoteVolume) -> dict[str, int]:
    ports = {name: getattr(volume, f"{name}_port") for name in ("http", "https", "ftp", "ftps", "sftp")}
    return {name: port for name, port in ports.items() if port}
