"""Settings of EXAConf that have no job of their own."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from confd.exaconf import Configuration, Form, Global, Section, name_of, public_view
from confd.exaconf.fields import KeyField, plan
from confd.exaconf.quoting import join_items
from confd.exaconf.tree import join_header, split_header
from confd.exaconf.validation import validate
from confd.jobs import locks
from confd.jobs.observing import check_not_of_etcd, check_port_of_nodes
from confd.jobs.types import Settings
from confd.model.errors import InvalidParameter, NotFound
from confd.scheduler.context import Context
from confd.scheduler.registry import MODIFY, READ, Allow, job, nearest

ALLOWED: Final[dict[str, tuple[str, ...]]] = {
    "Global": (
        "SSHPort",
        "XMLRPCPort",
        "WebUIBackendPort",
        "WebUIDomain",
        "EnableLoadBalancer",
        "Networks",
        "NameServers",
        "SearchDomains",
        "LicenseRAWMEMWarnThreshold",
        "Hugepages",
        "IssueTracker",
        "StorageConnectionThreads",
        "StorageMaxConnections",
        "ExaMonitorUserName",
        "ExaMonitorUserPassword",
    ),
    "Logging": ("LogRotationTypes", "RemoteLogRotationVolume", "RemoteLogRotationPrefix"),
}

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm"))


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.section("Global"), locks.section("Logging")])
def general_settings(ctx: Context, changes: Settings) -> None:
    """Change settings of the sections Global and Logging, all of them or none.

    Services read them when they start.

    :param changes: Section name to a mapping of key and new value.

    Examples:
    {changes: {Global: {NameServers: 4.4.4.4, XMLRPCPort: 20003}}}
    {changes: {Global: {SearchDomains: example.net}}}
    {changes: {Global: {Hugepages: auto}}}
    """
    for name, values in changes.items():
        _check_section(name, values)
        section = ctx.conf.global_ if name == Global.kind else ctx.conf.logging
        ctx.conf.put(_changed(section, values))
    _check_logging(ctx.conf)
    if problems := sorted({*validate(ctx.conf.sections)} - {*validate(ctx.committed.sections)}):
        raise InvalidParameter(f"changes: EXAConf would not fit together: {'; '.join(problems)}")
    if ctx.conf.global_.xmlrpc_port != ctx.committed.global_.xmlrpc_port:
        check_not_of_etcd(ctx, ctx.conf.global_.xmlrpc_port, "changes: [Global] XMLRPCPort")
        check_port_of_nodes(ctx, ctx.conf.global_.xmlrpc_port)


@job(READ, allow=_ADMINISTRATORS)
def settings_list(ctx: Context, *, sections: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return settings of EXAConf: everything, chosen sections, or chosen keys; secrets as '***'.

    :param sections: Section name to a list of keys; an empty list means the whole section.

    Examples:
    {}
    {sections: {Global: [NameServers, XMLRPCPort]}}
    """
    if not sections:
        return _shown(ctx.committed)
    return {name: _chosen(ctx.committed, name, keys) for name, keys in sections.items()}


def _check_section(name: str, values: Any) -> None:
    if name not in ALLOWED:
        raise InvalidParameter(f"changes: section {name!r} cannot be changed here; allowed are {', '.join(ALLOWED)}")
    if not isinstance(values, dict):
        raise InvalidParameter(f"changes: {name} needs a mapping of keys to values, such as {{SSHPort: 22}}")
    for key in values:
        if key not in ALLOWED[name]:
            near = nearest(str(key), ALLOWED[name])
            allowed = ", ".join(ALLOWED[name])
            raise InvalidParameter(f"changes: [{name}] {key!r} cannot be changed here{near}; allowed are {allowed}")


def _changed(section: Section, values: dict[str, Any]) -> Section:
    fields = {field.name: field for field in plan(type(section)).keys}
    new = {fields[key].attribute: _read(section.kind, fields[key], value) for key, value in values.items()}
    return msgspec.structs.replace(section, **new)


def _read(section: str, field: KeyField, value: Any) -> Any:
    here = f"changes: [{section}] {field.name}"
    try:
        typed = field.codec.decode(_text(field, value))
    except (ValueError, InvalidParameter):
        shown = "the value" if field.codec.secret else repr(value)
        raise InvalidParameter(f"{here}: {shown} is not valid, expected {field.codec.expected}") from None
    if field.check is not None:
        try:
            field.check(typed)
        except InvalidParameter as error:
            raise InvalidParameter(f"{here}: {error.message}") from None
    return typed


def _text(field: KeyField, value: Any) -> str:
    """Write a value as EXAConf does, for the codec to read.

    :raises ValueError: the key cannot have a value of this kind.
    """
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) and isinstance(field.default, tuple):
        return join_items(tuple(_word(item) for item in value))
    if isinstance(value, bool) and isinstance(field.default, bool):
        return str(value)
    return _word(value)


def _word(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or "\n" in str(value):
        raise ValueError(value)
    return str(value).strip()


def _check_logging(conf: Configuration) -> None:
    volume = conf.logging.remote_log_rotation_volume
    if volume is None and "remote" in conf.logging.log_rotation_types:
        raise InvalidParameter("changes: [Logging] LogRotationTypes: remote needs RemoteLogRotationVolume as well")
    if volume is not None and not (volume in conf.volumes or volume in conf.remote_volumes):
        raise NotFound(f"changes: [Logging] RemoteLogRotationVolume: there is no volume {volume!r}; create it first")


def _shown(conf: Configuration, header: str | None = None) -> dict[str, Any]:
    """Return all sections as in the file, or those below one header; users and groups stand below one each."""
    shown: dict[str, Any] = {}
    for section in conf.sections.values():
        if header is not None and header != _header(section):
            continue
        if section.form is Form.INSIDE:
            shown.setdefault(section.kind, {})[name_of(section)] = public_view(section)
        else:
            shown[section.key] = public_view(section)
    if Global.kind in shown:
        shown[Global.kind] = {"Revision": conf.revision, **shown[Global.kind]}
    return shown


def _header(section: Section) -> str:
    return section.kind if section.form is Form.INSIDE else section.key


def _chosen(conf: Configuration, name: str, keys: Any) -> Any:
    header = join_header(*split_header(name))
    shown = _shown(conf, header)
    if header not in shown:
        known = list(dict.fromkeys(_header(section) for section in conf.sections.values()))
        raise NotFound(f"sections: EXAConf has no section {name!r}{nearest(header, known)}; it has {', '.join(known)}")
    wanted = [] if keys is None else [keys] if isinstance(keys, str) else keys
    if not isinstance(wanted, (list, tuple)) or not all(isinstance(key, str) for key in wanted):
        raise InvalidParameter(f"sections: {name} needs a list of keys, such as [NameServers]")
    section = shown[header]
    for key in wanted:
        if key not in section:
            raise NotFound(f"sections: [{header}] has no key {key!r}{nearest(key, section)}")
    return {key: section[key] for key in wanted} if wanted else section
