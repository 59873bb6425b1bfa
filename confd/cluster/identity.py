"""Who a node is: what lies on its own disk before it knows the configuration.

The file ``etc/node.json`` below the node root is written once, when the node is made. Paths are real paths.
"""

from __future__ import annotations

import datetime as dt
import os
import ssl
from pathlib import Path

import msgspec

from confd.cluster.certificates import check_member
from confd.cluster.exchanging import put_in_place
from confd.model.secret import Vault
from confd.store.choice import STORE_FILE

IDENTITY_FILE = "etc/node.json"
_UNFINISHED = ".tmp"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A node's own facts.

    ``port`` is the node port. ``runtime`` is a short directory for unix sockets. ``database_user`` owns
    database processes, None for the daemon's own user. ``installations`` are prefixes of PostgreSQL.
    ``bootstrap`` names the file with the first EXAConf; only the first master has one. ``members`` are the UUIDs of
    the nodes that it believes until it has a configuration of its own.
    """

    cluster: str
    node: int
    uuid: str
    address: str
    port: int
    runtime: str
    database_user: str | None = None
    installations: tuple[str, ...] = ()
    bootstrap: str | None = None
    members: tuple[str, ...] = ()


class NodeFiles:
    """The places of a node's private files below its root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.identity = root / IDENTITY_FILE
        self.exaconf = root / "etc/EXAConf"
        self.ca = root / "etc/cluster/ca.crt"
        self.certificate = root / "etc/cluster/node.crt"
        self.key = root / "etc/cluster/node.key"
        self.data_key = root / "etc/cluster/data.key"
        self.store = root / STORE_FILE
        self.journal = root / "metadata/confd/journal.db"
        self.results = root / "metadata/confd/commands.db"
        self.removed = root / "metadata/confd/removed"
        """Says that the cluster has removed this node, and how it learned so."""
        self.counter = root / "spool/jobs/next.id"
        self.log = root / "logs/logd/ConfD.log"

    def load_identity(self) -> Identity:
        """Read the identity.

        :raises ValueError: missing or damaged, with what to do.
        """
        try:
            return msgspec.json.decode(self.identity.read_bytes(), type=Identity)
        except FileNotFoundError:
            raise ValueError(
                f"{self.root} is no node root: {self.identity} is missing; make nodes with c4 host play"
            ) from None
        except msgspec.DecodeError as error:
            raise ValueError(f"{self.identity} is damaged: {error}") from None

    def write_identity(self, identity: Identity) -> None:
        """Write the identity, mode 600."""
        write_private(self.identity, msgspec.json.format(msgspec.json.encode(identity)))

    def check_certificate(self, uuid: str) -> None:
        """Check that this node's certificate is one that its cluster takes now.

        :raises ValueError: says what is wrong with it.
        """
        given = self.ca.read_bytes(), self.certificate.read_bytes(), self.key.read_bytes()
        try:
            check_member(*given, uuid, dt.datetime.now(dt.UTC))
        except (ValueError, TypeError) as error:
            raise ValueError(f"the certificate of this node, {self.certificate}, is not good: {error}") from None

    def vault(self) -> Vault:
        """Open the vault with this node's copy of the data key."""
        return Vault(self.data_key.read_bytes())

    def server_tls(self) -> ssl.SSLContext:
        """TLS of the node port; it demands the certificate itself, as nodes that join have none yet."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        return self._with_certificates(context)

    def client_tls(self) -> ssl.SSLContext:
        """TLS towards another node's port; its name does not matter, its membership does."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        return self._with_certificates(context)

    def _with_certificates(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self.ca)
        context.load_cert_chain(self.certificate, self.key)
        return context


_ROOT = b"@NODE_ROOT@"


def portable(content: bytes, root: Path) -> bytes:
    """Return the content of a file without the root of the node that it names, for a node elsewhere."""
    return content.replace(str(root).encode(), _ROOT)


def at_home(content: bytes, root: Path) -> bytes:
    """Return what ``portable`` gave as the content of a file of the node with this root."""
    return content.replace(_ROOT, str(root).encode())


def write_private(path: Path, content: bytes) -> None:
    """Write a file for the owner only, durable and in one piece: readers see the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_private(path, content, durable=True)
    sync_directory(path.parent)


def replace_private(path: Path, content: bytes, *, durable: bool = False) -> os.stat_result:
    """Replace a file for the owner only in one piece; after a power failure it may be any, unless ``durable``.

    Returns what it was when it was written: who finds another inode, time or size finds what somebody else wrote.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_UNFINISHED}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            written = os.fstat(file.fileno())
        if durable:
            temporary.replace(path)
        else:
            put_in_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return written


def clear_unfinished(path: Path) -> None:
    """Delete what daemons that were killed left beside a file that they were replacing."""
    for left in path.parent.glob(f".{path.name}.*{_UNFINISHED}"):
        left.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make renames in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
