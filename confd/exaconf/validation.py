"""Whether a configuration fits together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from confd.exaconf import cluster_rules, object_rules, ports
from confd.exaconf.conf import Conf
from confd.exaconf.sections import CONF_VERSION, Global, Section
from confd.model.errors import InvalidParameter
from confd.model.versions import is_newer

RULES: Final[tuple[Callable[[Conf], Iterator[str]], ...]] = (
    cluster_rules.version,
    cluster_rules.global_,
    cluster_rules.names,
    cluster_rules.values,
    cluster_rules.nodes,
    cluster_rules.unique,
    cluster_rules.accounts,
    ports.clashes,
    object_rules.owners,
    object_rules.volumes,
    object_rules.databases,
    object_rules.logging,
)


def validate(sections: Mapping[str, Section]) -> list[str]:
    """Return what is wrong, one sentence per problem with section and key; nothing if all fits."""
    conf = Conf(0, sections)
    if not isinstance(sections.get(Global.kind), Global):
        return ["[Global]: the section is missing; it must at least name the cluster"]
    return [problem for rule in RULES for problem in rule(conf)]


def upgraded(global_: Global) -> Global:
    """Return the settings at the version of this software; older keys were renamed on reading.

    :raises InvalidParameter: the file was written by a newer version.
    """
    if is_newer(global_.conf_version, CONF_VERSION):
        raise InvalidParameter(cluster_rules.too_new(global_.conf_version))
    return msgspec.structs.replace(global_, conf_version=CONF_VERSION)
