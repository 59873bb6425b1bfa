"""A node's copy of the configuration: kept from the journal, rendered to the file EXAConf.

The file is never the source of truth. It is replaced in one piece after every revision; a file that
somebody edited meanwhile is kept beside it as ``EXAConf.edited``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from confd.cluster.identity import NodeFiles, clear_unfinished, replace_private
from confd.exaconf import Conf, Renderer, Section, from_stored
from confd.exaconf.integrity import Trust, check
from confd.model.errors import ConfDError
from confd.model.failpoints import Failpoint, reach
from confd.model.secret import Vault
from confd.store.protocol import Kind, Record, Store
from confd.store.records import Finished

log = structlog.get_logger("replica")

_Mark = tuple[int, int, int]

_RETRY_SECONDS: Final = 1.0
_SYNC_SECONDS: Final = 0.5


def load_conf(store: Store, vault: Vault, revision: int | None = None) -> Conf:
    """Read a revision of the configuration from the store; the newest when None."""
    number, stored = store.sections(revision)
    return Conf(number, {key: from_stored(section, vault) for key, section in stored.items()})


class Replica:
    """Follows the journal of its node and writes EXAConf; tells when a revision is written."""

    def __init__(self, store: Store, files: NodeFiles, vault: Vault) -> None:
        self._store, self._files, self._vault = store, files, vault
        self._conf = load_conf(store, vault)
        self._renderer = Renderer()
        self._changed = threading.Condition()
        self._written, self._digest, self._closing = 0, b"", False
        self._mark: _Mark | None = None
        self._writing = threading.Lock()
        self._held = 0
        self._sync_at: float | None = None
        self._watchers: list[Callable[[], None]] = []
        clear_unfinished(files.exaconf)
        store.watch(self._take)
        self._writer = threading.Thread(target=self._write_newest, name="exaconf", daemon=True)
        self._writer.start()

    @property
    def conf(self) -> Conf:
        """The newest revision of this node's journal."""
        return self._conf

    @property
    def written(self) -> int:
        """The newest revision that is in the file."""
        return self._written

    def watch(self, changed: Callable[[], None]) -> None:
        """Call back, from any thread, when a revision was written."""
        self._watchers.append(changed)

    def reload(self) -> None:
        """Read the configuration anew after the whole journal was replaced."""
        with self._changed:
            self._conf = load_conf(self._store, self._vault)
            # The revision with this number may be another one than the one that was written.
            self._written = 0
            self._changed.notify()

    def take_in(self, records: Callable[[], None]) -> None:
        """Have the journal take in records, and write EXAConf in the same thread: who waits is spared a change of them.

        A file that cannot be written is left to the writer, which tries again.
        """
        with self._changed:
            self._held += 1
        try:
            records()
        finally:
            self._write_here()
            with self._changed:
                self._held -= 1
                self._changed.notify()

    def text(self) -> str:
        """Return the text that belongs into the file now."""
        return self._renderer.render(self._conf)

    def close(self) -> None:
        """Stop writing."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join()

    def _take(self, records: Sequence[Record]) -> None:
        conf = self._conf
        for record in records:
            if record.kind is Kind.FINISHED:
                body = msgspec.json.decode(record.body, type=Finished)
                if body.revision is not None:
                    conf = conf.with_changes(self._sections(body), body.revision)
        if conf is not self._conf:
            with self._changed:
                self._conf = conf
                self._changed.notify()

    def _sections(self, body: Finished) -> dict[str, Section | None]:
        return {
            key: None if section is None else from_stored(section, self._vault) for key, section in body.changes.items()
        }

    def _write_newest(self) -> None:
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._is_due(), self._until_sync())
                closing, due = self._closing, self._is_due()
            if due and not closing and not self._write_here():
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, timeout=_RETRY_SECONDS)
            if self._sync_at is not None and (closing or time.monotonic() >= self._sync_at):
                self._sync()

    def _is_due(self) -> bool:
        return self._behind() and not self._held

    def _until_sync(self) -> float | None:
        return None if self._sync_at is None else max(0.0, self._sync_at - time.monotonic())

    def _sync(self) -> None:
        self._sync_at = None
        try:
            with self._files.exaconf.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            log.error("exaconf_not_synced", error=str(error))

    def _behind(self) -> bool:
        return self._conf.revision != self._written

    def _write_here(self) -> bool:
        """Write the file unless it is as it should be; False when that fails."""
        with self._writing:
            conf = self._conf
            if conf.revision == self._written:
                return True
            written = self._write(conf)
        for watcher in self._watchers:
            watcher()
        return written

    def _write(self, conf: Conf) -> bool:
        try:
            content = self._renderer.render(conf).encode()
            self._keep_edited(content)
            reach(Failpoint.EXACONF_DUE)
            # Synced a moment later: it is made anew from the store at the next start, whatever a power failure left.
            self._mark = _mark(replace_private(self._files.exaconf, content))
            self._digest = hashlib.sha256(content).digest()
            reach(Failpoint.EXACONF_WRITTEN)
        except Exception as error:
            # The node stays behind, and says so by not confirming the revision; the next one is tried again.
            log.error("exaconf_not_written", revision=conf.revision, error=str(error))
            return False
        with self._changed:
            replaced = conf is not self._conf and conf.revision == self._conf.revision
            self._written = 0 if replaced else conf.revision
            if self._sync_at is None:
                self._sync_at = time.monotonic() + _SYNC_SECONDS
                self._changed.notify()
        return True

    def _keep_edited(self, content: bytes) -> None:
        try:
            if self._mark == _mark(self._files.exaconf.stat()):
                return
            present = self._files.exaconf.read_bytes()
        except FileNotFoundError:
            return
        digest = hashlib.sha256(present).digest()
        if present != content and (digest != self._digest if self._digest else _edited(present)):
            kept = self._files.exaconf.with_name("EXAConf.edited")
            shutil.copy2(self._files.exaconf, kept)
            kept.chmod(0o600)
            log.warning("edited_file_replaced", kept=str(kept))


def _mark(file: os.stat_result) -> _Mark:
    """Return what changes when somebody writes to a file or replaces it."""
    return file.st_ino, file.st_mtime_ns, file.st_size


def _edited(content: bytes) -> bool:
    """Tell whether somebody changed a file that an earlier daemon wrote: its checksum does not fit."""
    if not content.strip(b"\0"):
        # Nobody's work: a power failure came before the file was on the disk.
        return False
    try:
        return check(content.decode()).trust in (Trust.BROKEN, Trust.COMMIT)
    except (UnicodeDecodeError, ConfDError):
        return True
