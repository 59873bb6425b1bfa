"""Rules about cluster, nodes, users and names: each gives the problems it finds."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from confd.exaconf import syntax
from confd.exaconf.accounts import (
    PREDEFINED_GROUPS,
    PREDEFINED_USERS,
    ROOT,
    check_account_id,
    check_account_name,
)
from confd.exaconf.conf import Conf
from confd.exaconf.fields import plan
from confd.exaconf.mapping import path_of, to_tree
from confd.exaconf.quoting import encode_name
from confd.exaconf.sections import (
    CONF_VERSION,
    Database,
    Docker,
    Entry,
    Group,
    Node,
    Other,
    RemoteVolume,
    Section,
    User,
    Volume,
    name_of,
)
from confd.model.errors import InvalidParameter
from confd.model.versions import is_newer

_NET: Final = "an address with prefix, such as 10.0.0.11/24"

#: What may occur only once in a kind: class, field, key.
UNIQUE: Final[tuple[tuple[type[Section], str, str], ...]] = (
    (Node, "name", "Name"),
    (Node, "docker_volume", "DockerVolume"),
    (Node, "private_ip", "PrivateNet"),
    (Node, "public_ip", "PublicNet"),
    (Node, "uuid", "UUID"),
    (User, "id", "ID"),
    (Group, "id", "ID"),
    (Volume, "id", "ID"),
    (RemoteVolume, "id", "ID"),
    (Database, "id", "ID"),
)


def version(conf: Conf) -> Iterator[str]:
    """The file must not be newer than the software."""
    try:
        if is_newer(conf.global_.conf_version, CONF_VERSION):
            yield too_new(conf.global_.conf_version)
    except InvalidParameter as error:
        yield f"[Global] ConfVersion: {error.message}"


def global_(conf: Conf) -> Iterator[str]:
    """The cluster has a name, and what its platform needs."""
    if not conf.global_.cluster_name:
        yield "[Global] ClusterName: is missing"
    if _on_docker(conf) and conf.get(Docker.kind) is None:
        yield "[Docker]: the section is missing; platform Docker needs it"


def names(conf: Conf) -> Iterator[str]:
    """Names must survive the file."""
    for section in conf.sections.values():
        if not isinstance(section, Other):
            yield from _illegal_names(section, f"[{section.key}]")
        if section.extra:
            yield from _unwritable(section)


def values(conf: Conf) -> Iterator[str]:
    """Values are what jobs would take as well."""
    for section in conf.sections.values():
        for key in plan(type(section)).keys:
            if key.check is not None:
                yield from _refusals(f"[{section.key}] {key.name}", [(key.check, getattr(section, key.attribute))])


def nodes(conf: Conf) -> Iterator[str]:
    """Nodes have names and addresses, devices occur once."""
    public = "public" in conf.global_.networks
    for node in conf.nodes.values():
        here = f"[{node.key}]"
        if not node.name:
            yield f"{here} Name: is missing"
        if _on_docker(conf) and not node.docker_volume:
            yield f"{here} DockerVolume: is missing; platform Docker needs it"
        if not _is_net(node.private_net, node.id):
            yield f"{here} PrivateNet: {node.private_net!r} is not {_NET}"
        if (public or node.public_net) and not _is_net(node.public_net or "", node.id):
            yield f"{here} PublicNet: {node.public_net or ''!r} is not {_NET}"
        for device in repeated(device for disk in node.disks.values() for device in disk.devices):
            yield f"{here} Devices: {device!r} is there twice"


def unique(conf: Conf) -> Iterator[str]:
    """Names, ids, addresses and ports occur once."""
    for kind, attribute, key in UNIQUE:
        values = [getattr(section, attribute) for section in conf.view(kind).values()]
        for value in repeated(value for value in values if value not in (None, "", "IMPORT")):
            yield f"[{kind.kind}] {key}: {str(value)!r} is used twice; it must be unique"
    for name in repeated([*conf.volumes, *conf.remote_volumes, *conf.object_volumes]):
        yield f"[EXAVolume : {name}]: the name is used twice; names of all volumes must differ"
    ports = [port for fs in conf.bucketfs.values() for port in (fs.http_port, fs.https_port) if port]
    for port in repeated(ports):
        yield f"[BucketFS]: port {port} is used twice"


def accounts(conf: Conf) -> Iterator[str]:
    """Groups of users exist; names and ids can be used; what the cluster itself relies on is there."""
    for user in conf.users.values():
        for group in sorted(user.groups - set(conf.groups)):
            yield f"[{user.key}]: group {group!r} does not exist"
    named: list[User | Group] = [*conf.users.values(), *conf.groups.values()]
    for account in named:
        # What the file could not hold is told by the rule of names.
        checks = [(check_account_name, account.name)] if _is_legal(account.name) else []
        yield from _refusals(f"[{account.key}]", [*checks, (check_account_id, account.id)])
    for kind, predefined, known in ((User, PREDEFINED_USERS, conf.users), (Group, PREDEFINED_GROUPS, conf.groups)):
        for name in sorted(predefined - set(known)):
            yield f"[{kind.kind}] [[{name}]]: is missing; the cluster itself needs it"
    if (root := conf.users.get(ROOT)) is not None and (root.id or not root.login_enabled):
        yield f"[{root.key}]: must have ID 0 and LoginEnabled True; the cluster itself acts as root"


def too_new(version: str) -> str:
    """Say that the file is newer than the software."""
    return (
        f"[Global] ConfVersion: the file has version {version}, this software knows up to {CONF_VERSION}; "
        "install a newer version"
    )


def repeated(values: Iterable[Any]) -> list[Any]:
    """Return the values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def _on_docker(conf: Conf) -> bool:
    return conf.global_.platform.lower() == "docker"


def _is_net(net: str, node_id: int) -> bool:
    try:
        ipaddress.ip_interface(net.strip().replace("x", str(node_id)))
    except ValueError:
        return False
    return "/" in net


def _illegal_names(entry: Entry, here: str) -> Iterator[str]:
    declared = plan(type(entry))
    if declared.name and not _is_legal(str(getattr(entry, declared.name[0]))):
        yield f"{here}: a name must have no blanks at its ends and none of the characters [ ] \" ' # = ,"
    for part in declared.parts:
        for child in getattr(entry, part.attribute).values() if part.named else ():
            yield from _illegal_names(child, f"{here} [[{part.kind} : {name_of(child)}]]")


def _refusals(here: str, checks: Iterable[tuple[Callable[[Any], None], Any]]) -> Iterator[str]:
    for check, value in checks:
        try:
            check(value)
        except InvalidParameter as error:
            yield f"{here}: {error.message}"


def _unwritable(section: Section) -> Iterator[str]:
    try:
        syntax.write(to_tree(section), path_of(section))
    except InvalidParameter as error:
        yield f"[{section.key}]: {error.message}"


def _is_legal(name: str) -> bool:
    try:
        return name == name.strip() and encode_name(name) == name
    except InvalidParameter:
        return False
