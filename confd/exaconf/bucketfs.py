"""BucketFS services and their buckets."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from confd.exaconf.codecs import PORT, within
from confd.exaconf.fields import Key, Name, Parts
from confd.exaconf.section import Entry, Form, Section
from confd.model.secret import Secret


class Bucket(Entry, frozen=True):
    """A bucket; both passwords stand in base64."""

    name: Annotated[str, Name("Name")]
    read_passwd: Annotated[Secret, Key("ReadPasswd")] = Secret("")
    write_passwd: Annotated[Secret, Key("WritePasswd")] = Secret("")
    public: Annotated[bool, Key("Public")] = False
    additional_files: Annotated[tuple[str, ...], Key("AdditionalFiles", optional=True)] = ()


class BucketFs(Section, frozen=True):
    """A file service; a port of 0 is off, the sync period is in milliseconds."""

    kind: ClassVar[str] = "BucketFS"
    form: ClassVar[Form] = Form.NAMED

    name: Annotated[str, Name()]
    owner: Annotated[tuple[int, int], Key("Owner")] = (500, 500)
    http_port: Annotated[int, Key("HttpPort", PORT)] = 0
    https_port: Annotated[int, Key("HttpsPort", PORT)] = 0
    sync_key: Annotated[Secret, Key("SyncKey")] = Secret("")
    sync_period: Annotated[int, Key("SyncPeriod", within(0))] = 30000
    mode: Annotated[str, Key("mode")] = "rsync"
    bucketvolume: Annotated[str | None, Key("bucketvolume", none="None")] = None
    path: Annotated[str | None, Key("Path", optional=True)] = None
    buckets: Annotated[dict[str, Bucket], Parts("Bucket")] = msgspec.field(default_factory=dict)
