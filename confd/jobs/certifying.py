"""The cluster's authority, as jobs use it: its key is sealed in a runtime record."""

from __future__ import annotations

from confd.cluster.certificates import Pair, load_pair
from confd.model.errors import Unsupported
from confd.scheduler.context import Context
from confd.services.nodes.admission import AUTHORITY


def authority(ctx: Context, so: str) -> Pair:
    """Return the certificate and the key of the cluster's authority.

    :param so: what cannot be done without, and what to do instead.
    :raises Unsupported: the key was not kept.
    """
    record = ctx.record(AUTHORITY)
    if record is None:
        raise Unsupported(f"this cluster was made by a version that did not keep the key of its authority, so {so}")
    return load_pair(record["certificate"].encode(), ctx.open_secret(record["key"]).reveal().encode())
