"""What jobs claim before they run: rules that name objects from a job's parameters.

An object has one name, however it was given: a known volume is ``volume:<id>``, a user ``user:<name>``. An unknown one
is locked under what was given, so that creating it twice is one after the other. Rules never fail: that an object does
not exist is found by the job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from confd.exaconf import Conf, Volume
from confd.model.errors import ConfDError
from confd.scheduler.locks import Lock, exclusive, shared
from confd.scheduler.registry import LockRule
from confd.services.access.accounts import find_group, find_user
from confd.services.archive.layout import is_archive

Values = Mapping[str, Any]


def lock_of(kind: str, name: object, share: bool) -> Lock:
    """Claim an object, for changing it or for relying on it."""
    return shared(kind, name) if share else exclusive(kind, name)


def database(parameter: str, *, share: bool = False) -> LockRule:
    """Claim the database named by a parameter."""
    return _given("db", share, parameter)


def node(parameter: str, *, share: bool = False) -> LockRule:
    """Claim the node, or all nodes, given by a parameter."""
    return _given("node", share, parameter)


def databases_of_nodes(parameter: str) -> LockRule:
    """Claim the databases that have one of the nodes given by a parameter, or a data volume with one of them."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        nodes = set(_values(values, (parameter,)))
        volumes = {known.name for known in conf.volumes.values() if nodes & set(known.nodes)}
        return [
            exclusive("db", one.name)
            for one in conf.databases.values()
            if nodes & set(one.nodes) or one.data_volume in volumes
        ]

    return rule


def volumes_of_nodes(parameter: str) -> LockRule:
    """Claim the volumes with a segment on one of the nodes given by a parameter."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        nodes = set(_values(values, (parameter,)))
        known = (volume for volume in conf.volumes.values() if nodes & set(volume.nodes))
        return [exclusive("volume", volume_key(conf, volume.name)) for volume in known]

    return rule


def volume(*parameters: str, share: bool = False) -> LockRule:
    """Claim the volume given by one of several parameters, as name or id."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        return [lock_of("volume", volume_key(conf, given), share) for given in _values(values, parameters)]

    return rule


def volume_of_database(parameter: str) -> LockRule:
    """Claim the data volume of the database named by a parameter: only one database runs on a volume."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        known = conf.databases.get(str(values.get(parameter)))
        return [exclusive("volume", volume_key(conf, known.data_volume))] if known else []

    return rule


def snapshot_volume_of_database(parameter: str) -> LockRule:
    """Rely on the snapshot volume of the database named by a parameter."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        known = conf.databases.get(str(values.get(parameter)))
        return [shared("volume", volume_key(conf, known.snapshot_volume))] if known and known.snapshot_volume else []

    return rule


def databases_of_backups(parameter: str) -> LockRule:
    """Claim the databases whose backups are named by a parameter: ids, or ``<db>/id_<n>/level_<l>``."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        names = (str(given).partition("/id_")[0] for given in _values(values, (parameter,)))
        # An id, and what db_backup_list shows as expire_alterable, begin with the number of the volume.
        return [exclusive("db", re.sub(r"^\s*[0-9]+ ", "", name)) for name in names]

    return rule


def snapshots(parameter: str) -> LockRule:
    """Claim the snapshots of the database named by a parameter."""
    return _given("snapshots", False, parameter)


def user(*parameters: str, share: bool = False) -> LockRule:
    """Claim the user given by one of several parameters, as name or id."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        return [lock_of("user", _user_key(conf, given), share) for given in _values(values, parameters)]

    return rule


def group(*parameters: str, share: bool = False) -> LockRule:
    """Claim the groups given by parameters, each a name, an id or a list of them."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        return [lock_of("group", _group_key(conf, given), share) for given in _values(values, parameters)]

    return rule


def owner(parameter: str) -> LockRule:
    """Rely on the user and the group that will own something."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        given = values.get(parameter)
        if isinstance(given, (list, tuple)) and len(given) == 2:
            return [shared("user", _user_key(conf, given[0])), shared("group", _group_key(conf, given[1]))]
        return []

    return rule


def number(series: str, parameter: str) -> LockRule:
    """Claim one number of a series that a parameter gives, such as a user id."""
    return _given(series, False, parameter)


def ids(series: str) -> LockRule:
    """Claim a series of numbers that are given out by ``ctx.next_number``."""
    return lambda conf, values: [exclusive("ids", series)]


def space(nodes: str, disk: str) -> LockRule:
    """Claim the free space of a disk on the nodes given."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        return [exclusive("space", f"n{one}/{values.get(disk)}") for one in _values(values, (nodes,))]

    return rule


def space_of_volume(nodes: str, *parameters: str) -> LockRule:
    """Claim the free space of the disk of a volume, given by one of several parameters, on nodes."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        disks = [known.disk for known in _known_volumes(conf, values, parameters)]
        return [exclusive("space", f"n{one}/{disk}") for disk in disks for one in _values(values, (nodes,))]

    return rule


def space_of_archives(nodes: str) -> LockRule:
    """Claim the free space of the disks of archive volumes with a share on nodes, on all nodes: any may take over."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        given = set(_values(values, (nodes,)))
        disks = {known.disk for known in conf.volumes.values() if is_archive(known) and given & set(known.nodes)}
        return [exclusive("space", f"n{node}/{disk}") for disk in sorted(disks) for node in conf.nodes]

    return rule


def databases_of_volume(*parameters: str, share: bool = False) -> LockRule:
    """Claim the databases whose data volume is given by one of several parameters."""

    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        volumes = [known.name for known in _known_volumes(conf, values, parameters)]
        return [lock_of("db", one.name, share) for one in conf.databases.values() if one.data_volume in volumes]

    return rule


def section(key: str, *, share: bool = False) -> LockRule:
    """Claim a section of EXAConf that exists once, such as Global."""
    lock = shared("section", key) if share else exclusive("section", key)
    return lambda conf, values: [lock]


def everything(conf: Conf, values: Values) -> Iterable[Lock]:
    """Claim the whole configuration: the job runs alone."""
    return [Lock("all")]


def volume_key(conf: Conf, given: object) -> object:
    """Return the one name under which a volume is locked."""
    known = conf.volumes.get(str(given)) or conf.remote_volumes.get(str(given))
    return given if known is None or known.id is None else known.id


def _known_volumes(conf: Conf, values: Values, parameters: Iterable[str]) -> list[Volume]:
    keys = [volume_key(conf, given) for given in _values(values, parameters)]
    return [volume for volume in conf.volumes.values() if volume.id in keys or volume.name in keys]


def _user_key(conf: Conf, given: Any) -> object:
    try:
        return find_user(conf, given).name
    except ConfDError:
        return given


def _group_key(conf: Conf, given: Any) -> object:
    try:
        return find_group(conf, given).name
    except ConfDError:
        return given


def _given(kind: str, share: bool, parameter: str) -> LockRule:
    def rule(conf: Conf, values: Values) -> Iterable[Lock]:
        return [lock_of(kind, given, share) for given in _values(values, (parameter,))]

    return rule


def _values(values: Values, parameters: Iterable[str]) -> list[Any]:
    """Return what was given, lists taken apart, without what was left out."""
    given = (values.get(parameter) for parameter in parameters)
    parts = [part for one in given for part in (one if isinstance(one, (list, tuple)) else (one,))]
    return [part for part in parts if part is not None]
