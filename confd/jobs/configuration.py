"""The configuration as a whole: taking in a file edited by hand, going back to an earlier revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

from confd.cluster.following.replica import load_conf
from confd.exaconf import (
    BackupSchedule,
    Conf,
    Database,
    Global,
    Group,
    Node,
    Section,
    SnapshotSchedule,
    Trust,
    User,
    Volume,
    check,
    parse,
)
from confd.exaconf.accounts import PREDEFINED_GROUPS, PREDEFINED_USERS
from confd.exaconf.validation import upgraded, validate
from confd.jobs import locks
from confd.jobs.engine import check_upgrade, check_with_engine, draft_of
from confd.jobs.observing import check_not_of_etcd, check_port_of_nodes, require_idle, require_stopped
from confd.model.errors import Conflict, InvalidParameter, NotFound, WrongState
from confd.model.secret import Vault
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, Allow, job
from confd.services.backup.retention.expiry import check_lifetime
from confd.services.backup.scheduling.cron import check_occurs
from confd.services.backup.scheduling.schedules import cron_of
from confd.services.backup.snapshots.snapshot import check_snapshot_volume
from confd.services.backup.targets import archive_volume
from confd.services.database import definition
from confd.services.database.engine.ldap import parse_servers

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm"))

#: Objects that are more than text: what adds and what removes one.
_REAL: Final[dict[type[Section], tuple[str, str]]] = {
    Node: ("node_add", "node_remove"),
    Volume: ("st_volume_create", "st_volume_delete"),
    Database: ("db_create", "db_delete"),
}
#: Fields that follow what nodes hold; the jobs that change both are the only way.
_HELD: Final[dict[type[Section], tuple[str, ...]]] = {
    Node: ("disks", "uuid", "private_net", "public_net", "state"),
    Volume: ("type", "size", "disk", "nodes", "num_master_nodes", "redundancy", "block_size", "stripe_size", "id"),
    Database: ("id", "data_volume", "nodes", "num_active_nodes"),
    Global: ("cored_port",),
    User: ("id",),
    Group: ("id",),
}
#: What changes such fields.
_INSTEAD: Final[dict[type[Section], str]] = {
    Node: "use node_ip_batch, node_suspend, node_resume and the jobs of devices",
    Volume: "use the jobs st_volume_...",
    Database: "use the jobs db_...",
    Global: "every node was made to listen there",
    User: "the cluster itself acts as this user",
    Group: "rights of jobs are given to this group",
}
#: Fields of a database that may change while it runs; all others are what its servers were started with.
_LOOSE: Final = frozenset(
    {"owner", "volume_move_delay", "auto_start", "backups", "snapshots", "comments", "kept", "extra"}
)

Text = Annotated[str, Rule(secret=True, longest=16_000_000)]
Revision = Annotated[int, Rule(minimum=1)]


@job(MODIFY, allow=_ADMINISTRATORS, locks=locks.everything, own=True)
def exaconf_commit(ctx: Context, text: Text) -> list[str]:
    r"""Take in an EXAConf file that was edited by hand, and return the sections that changed.

    The file must be of the newest revision, and say with 'Checksum = COMMIT' that it was edited on purpose. Nodes,
    volumes and databases are added, removed and moved by their own jobs; settings of a database are changed while it
    is stopped.

    :param text: The whole file.

    Examples:
    {text: "[Global]\n    Revision = 16\n    Checksum = COMMIT\n"}
    """
    verdict = check(text)
    if not verdict.accepted:
        raise InvalidParameter(verdict.message)
    document = parse(text)
    wanted = _upgraded(document.sections)
    changed = _differences(ctx.committed, wanted)
    if not changed:
        return []
    if verdict.trust is Trust.VERIFIED:
        raise InvalidParameter(
            f"the file is an unedited copy of revision {document.revision}: set 'Checksum = COMMIT' in section "
            "[Global] if it was edited, or go back with exaconf_rollback"
        )
    if document.revision != ctx.committed.revision:
        raise Conflict(_outdated(document.revision, ctx.committed.revision))
    return _take_in(ctx, wanted, changed)


@job(MODIFY, allow=_ADMINISTRATORS, locks=locks.everything, own=True)
def exaconf_rollback(ctx: Context, revision: Revision) -> list[str]:
    """Make the content of an earlier revision the newest one, and return the sections that changed.

    :param revision: Revision to go back to.

    Examples:
    {revision: 16}
    """
    known = {row.revision for row in ctx.store.revisions(limit=1_000_000)}
    if revision not in known:
        oldest = f"known are {min(known)} to {max(known)}" if known else "none is known"
        raise NotFound(f"there is no revision {revision}; {oldest}")
    wanted = load_conf(ctx.store, ctx.service(Vault), revision).sections
    return _take_in(ctx, wanted, _differences(ctx.committed, wanted))


def _outdated(old: int, now: int) -> str:
    return (
        f"the file is of revision {old}, the cluster is at {now}, and would lose what was changed since ('exaconf diff "
        f"{old}' shows it): edit /exa/etc/EXAConf of a node that has the present file, or make these changes here, "
        f"too, and set 'Revision = {now}'. This file stays until the next revision replaces it, and is kept beside it "
        "then as EXAConf.edited"
    )


def _upgraded(sections: Mapping[str, Section]) -> dict[str, Section]:
    after = Conf(0, sections)
    return {**sections, after.global_.key: upgraded(after.global_)}


def _differences(before: Conf, wanted: Mapping[str, Section]) -> list[str]:
    keys = {**before.sections, **wanted}
    return [key for key in keys if before.get(key) != wanted.get(key)]


def _take_in(ctx: Context, wanted: Mapping[str, Section], changed: list[str]) -> list[str]:
    for key in changed:
        _check_real(ctx.committed.get(key), wanted.get(key))
    if problems := validate(wanted):
        raise InvalidParameter(f"EXAConf does not fit together: {'; '.join(problems[:10])}")
    for key in changed:
        before, after = ctx.committed.get(key), wanted.get(key)
        if isinstance(before, Database) and isinstance(after, Database):
            _check_database(ctx, before, after)
        if isinstance(before, Global) and isinstance(after, Global) and before.xmlrpc_port != after.xmlrpc_port:
            check_not_of_etcd(ctx, after.xmlrpc_port, "[Global] XMLRPCPort")
            check_port_of_nodes(ctx, after.xmlrpc_port)
    for key in changed:
        section = wanted.get(key)
        if section is None:
            ctx.conf.delete(key)
        else:
            ctx.conf.put(section)
    return changed


def _check_real(before: Section | None, after: Section | None) -> None:
    """Refuse what would leave configuration and nodes in disagreement."""
    section = after or before
    assert section is not None
    kind = type(section)
    if before is None or after is None:
        if kind not in _REAL:
            return
        adding, removing = _REAL[kind]
        what, name = ("added", adding) if before is None else ("removed", removing)
        raise WrongState(f"[{section.key}] cannot be {what} in the file; use the job {name}")
    if kind in (User, Group) and _value(section, "name") not in PREDEFINED_USERS | PREDEFINED_GROUPS:
        return
    held = [name for name in _HELD.get(kind, ()) if _value(before, name) != _value(after, name)]
    if held:
        raise WrongState(f"[{section.key}] {', '.join(held)} cannot be changed in the file; {_INSTEAD[kind]}")


def _check_database(ctx: Context, before: Database, after: Database) -> None:
    """Refuse settings that db_configure would refuse.

    :raises ConfDError: the database runs, or cannot run like that.
    """
    _check_schedules(ctx, before, after)
    changed = [name for name in after.__struct_fields__ if _value(before, name) != _value(after, name)]
    if not (settings := [name for name in changed if name not in _LOOSE]):
        return
    require_stopped(ctx, after.name, f"changed in the file ({', '.join(settings)})")
    require_idle(ctx, after.name)
    _check_settings(ctx, after, settings)
    if "port" in settings:
        check_not_of_etcd(ctx, after.port, f"[{after.key}] Port")
    if "wal_archive_volume" in settings and after.wal_archive_volume:
        archive_volume(ctx.conf, after.wal_archive_volume, None, f"[{after.key}] WalArchiveVolume")
    if "snapshot_volume" in settings and after.snapshot_volume:
        here = f"[{after.key}] SnapshotVolume"
        check_snapshot_volume(ctx.conf, after.snapshot_volume, after.data_volume, after.active_nodes, here)
    if draft_of(before) != draft_of(after):
        check_with_engine(ctx, after)
    if before.version != after.version:
        check_upgrade(ctx, after)


def _check_settings(ctx: Context, database: Database, changed: Sequence[str]) -> None:
    """Refuse values that db_configure would refuse as parameters."""
    checks: dict[str, Callable[[], object]] = {
        "ldap_servers": lambda: parse_servers(database.ldap_servers),
        "cache_volume_disk": lambda: definition.check_cache(database.cache_volume_disk or ""),
        "initial_sql": lambda: definition.check_path(database.initial_sql or ""),
    }
    for name, check_value in checks.items():
        if name in changed and _value(database, name):
            try:
                check_value()
            except InvalidParameter as error:
                raise InvalidParameter(f"[{database.key}] {name}: {error.message}") from None
    if "cache_volume_disk" in changed:
        definition.check_cache_disk(ctx.conf, database)


def _check_schedules(ctx: Context, before: Database, after: Database) -> None:
    """Refuse schedules that could never run: they are not looked at again before they are due."""
    schedules: list[BackupSchedule | SnapshotSchedule] = [*after.backups.values(), *after.snapshots.values()]
    for schedule in schedules:
        if schedule in (before.backups.get(schedule.name), before.snapshots.get(schedule.name)):
            continue
        here = f"[{after.key}] schedule {schedule.name}"
        try:
            check_occurs(cron_of(schedule))
            check_lifetime(schedule.expire or "")
        except InvalidParameter as error:
            raise InvalidParameter(f"{here}: {error.message}") from None
        if isinstance(schedule, BackupSchedule):
            archive_volume(ctx.conf, schedule.volume, None, f"{here}, Volume")


def _value(section: Section, name: str) -> Any:
    return getattr(section, name)
