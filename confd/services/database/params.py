"""Extra database parameters: words ``-name=value`` of ``params`` in EXAConf.

Names of PostgreSQL settings reach the server and are checked before they are stored. Words of other systems,
such as ``-forceProtocolEncryption=1``, are kept and have no effect; callers are told. Settings on which the
safety of the data rests are managed by the daemon and refused here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from confd.model.errors import InvalidParameter

Words = str | list[str] | tuple[str, ...]

_MANAGED: Final = {
    "synchronous_*": "a commit must reach as many nodes as the volume has copies",
    "fsync": "acknowledged rows would be lost at a power failure",
    "full_page_writes": "acknowledged rows would be lost at a power failure",
    "wal_sync_method": "acknowledged rows would be lost at a power failure",
    "data_sync_retry": "acknowledged rows would be lost after an I/O error",
    "primary_*": "the supervisor decides which node follows which",
    "recovery_*": "the supervisor decides which node follows which",
    "promote_trigger_file": "the supervisor decides which node follows which",
    "hot_standby": "active nodes take reads",
    "wal_level": "replication and backups depend on it",
    "max_wal_senders": "replication and backups depend on it",
    "max_replication_slots": "replication and backups depend on it",
    "summarize_wal": "replication and backups depend on it",
    "wal_sender_timeout": "the loss of a node is noticed by it",
    "wal_receiver_timeout": "the loss of a node is noticed by it",
    "wal_receiver_status_interval": "the loss of a node is noticed by it",
    "default_transaction_read_only": "it follows from volume_quota; use ALTER ROLE or ALTER DATABASE",
    "archive_*": "backups depend on it",
    "restore_command": "restores depend on it",
    "*_libraries": "foreign code could end the protection of the data",
    "dynamic_library_path": "foreign code could end the protection of the data",
    "extension_control_path": "foreign code could end the protection of the data",
    "jit_provider": "foreign code could end the protection of the data",
    "listen_addresses": "it follows from the node; see job db_configure, interfaces",
    "port": "use the parameter port of the job",
    "unix_socket_*": "the daemon connects through it",
    "*_file": "the daemon keeps the server's files",
    "data_directory": "it follows from the data volume",
    "external_pid_file": "the daemon keeps the server's files",
    "temp_file_limit": "it follows from the temporary volume",
    "temp_tablespaces": "it follows from the temporary volume",
    "allow_alter_system": "EXAConf is where settings are kept",
    "restart_after_crash": "the keeper depends on it",
    "cluster_name": "the supervisor tells instances apart by it",
    "logging_collector": "the keeper writes the log",
    "log_destination": "the keeper writes the log",
    "krb_server_keyfile": "use db_configure_kerberos",
    "confd.*": "the daemon keeps its notes there",
    "ssl*": "certificates are kept by job cert_update",
}
_LONGEST: Final = 10_000
_NAME: Final = re.compile(r"-(?P<name>[A-Za-z_][A-Za-z0-9_.$-]*)(?:=(?P<raw>.*))?", re.DOTALL)
_WORD: Final = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+|["']""")


class Param(msgspec.Struct, frozen=True):
    """One word; ``raw`` is the value as written, with its quotes, None when there is no ``=``."""

    name: str
    raw: str | None = None

    @property
    def value(self) -> str:
        """The value without quotes around it."""
        raw = self.raw or ""
        return raw[1:-1] if len(raw) > 1 and raw[0] == raw[-1] and raw[0] in "\"'" else raw

    def is_like(self, other: Param) -> bool:
        """Tell whether both name the same; PostgreSQL does not look at the case of letters."""
        return self.name.lower() == other.name.lower()

    def __str__(self) -> str:
        return f"-{self.name}" if self.raw is None else f"-{self.name}={self.raw}"


class Setting(msgspec.Struct, frozen=True):
    """A setting that an installation knows."""

    name: str
    context: str
    kind: str


def parse_params(words: Words) -> tuple[Param, ...]:
    """Read parameters from one text or a list of texts, each with any number of words.

    :raises InvalidParameter: a word is not ``-name`` or ``-name=value``.
    """
    texts = [words] if isinstance(words, str) else words
    return tuple(_param(word) for text in texts for word in _WORD.findall(text))


def format_params(params: Iterable[Param]) -> str:
    """Write parameters as EXAConf and db_info show them."""
    return " ".join(map(str, params))


def edit_params(
    current: Words, replace: Words | None = None, add: Words | None = None, delete: Words | None = None
) -> str:
    """Return what ``params``, ``params_add`` and ``params_delete`` make of the current text, in this order.

    A word that is added takes the place of an earlier one with the same name. ``-p`` deletes any value,
    ``-p=1`` only that one. The case of letters in names does not count.

    :raises InvalidParameter: a word is not of the form, or all together have too many characters.
    """
    for words in (replace, add, delete):
        _check_length(" ".join([words] if isinstance(words, str) else words or ()))
    params = parse_params(current if replace is None else replace)
    for added in parse_params(add or ""):
        params = (*(param for param in params if not param.is_like(added)), added)
    for deleted in parse_params(delete or ""):
        params = tuple(param for param in params if not _deletes(deleted, param))
    text = format_params(params)
    _check_length(text)
    return text


def check_params(
    params: Iterable[Param], settings: Mapping[str, Setting], own: Container[str] = frozenset()
) -> list[str]:
    """Return a warning for each word without effect.

    :param settings: what the installation knows, by lower-case name.
    :param own: words that the daemon itself understands.
    :raises InvalidParameter: a managed setting, a missing value, or what looks like a mistyped setting.
    """
    return [warning for param in params if param.name not in own and (warning := _check(param, settings))]


def effective(params: Iterable[Param], settings: Mapping[str, Setting]) -> dict[str, str]:
    """Return the settings that reach the server; of equal names the last."""
    known = (param for param in params if _is_setting(param, settings) and not _managed(param.name))
    return {param.name.lower(): param.value for param in known}


def _check_length(text: str) -> None:
    if len(text) > _LONGEST:
        raise InvalidParameter(f"database parameters have {len(text)} characters; allowed are {_LONGEST}")


def _param(word: str) -> Param:
    match = _NAME.fullmatch(word)
    if match is None:
        raise InvalidParameter(f"database parameter {word!r} is not of the form -name=value")
    return Param(match["name"], match["raw"])


def _deletes(deleted: Param, param: Param) -> bool:
    return deleted.is_like(param) and (deleted.raw is None or deleted.value == param.value)


def _check(param: Param, settings: Mapping[str, Setting]) -> str | None:
    if reason := _managed(param.name):
        raise InvalidParameter(f"{param.name} cannot be given in params: {reason}")
    if _is_setting(param, settings):
        if param.raw is None:
            raise InvalidParameter(f"database parameter -{param.name} needs a value: -{param.name}=...")
        return None
    near = difflib.get_close_matches(param.name.lower(), settings, n=1, cutoff=0.8)
    if "_" in param.name:
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidParameter(f"params: this PostgreSQL has no setting {param.name!r}{hint}")
    return f"database parameter {param} is kept but has no effect: it is not a setting of PostgreSQL"


def _is_setting(param: Param, settings: Mapping[str, Setting]) -> bool:
    return param.name.lower() in settings or "." in param.name


def _managed(name: str) -> str | None:
    return next((reason for form, reason in _MANAGED.items() if fnmatchcase(name.lower(), form)), None)
