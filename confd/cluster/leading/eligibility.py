"""Which of the nodes that live are to be master, by the version that they run. Pure.

Nodes follow only a master of their own version. So a master needs more than half of the nodes on its version, and one
that most others do not follow is only in the way of another one. With etcd candidates act on it by themselves; with
the embedded store it is looked at when a node is ordered to take over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from confd.model.naming import names


def leading_version(living: Collection[str], last: str) -> str:
    """Return the version whose nodes are to lead: most of the living run it.

    Where as many run another one it is that of the last master, ``last``, and otherwise the same one for all who ask.
    No other version can have a quorum then, so that nobody is kept from leading who could.
    """
    counts = Counter(living)
    return max(counts, key=lambda version: (counts[version], version == last, version), default=last)


def outvoted(node: int, software: Mapping[int, str], last: str) -> str:
    """Return why a node is not to lead because of its version; empty when it may.

    :param software: the version of each living node that counts.
    """
    own, version = software.get(node), leading_version(software.values(), last)
    if own in (None, version):
        return ""
    others = sorted(other for other, theirs in software.items() if theirs == version)
    return (
        f"n{node} runs OpenConfD {own}, and the next master is one of the nodes that run "
        f"{version or 'an older version'} ({names(others)}); install the same version on all nodes"
    )


def forsaken(voting: Collection[int], following: Collection[int], software: Mapping[int, str]) -> bool:
    """Tell whether a master lacks a quorum that another one may have.

    :param voting: the nodes that count.
    :param following: those that follow it, itself among them.
    :param software: the version of each node that lives.
    """
    most = max(Counter(software[node] for node in voting if node in software).values(), default=0)
    return 2 * len(set(voting) & set(following)) <= len(voting) < 2 * most
