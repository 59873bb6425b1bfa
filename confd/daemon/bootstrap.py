"""The first revision of a new cluster, made by its first master from the file c4 left for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import structlog

from confd.cluster.identity import Identity
from confd.exaconf import parse, to_stored
from confd.model.envelope import SUCCESS
from confd.model.secret import Vault
from confd.store.protocol import Kind, Store
from confd.store.records import Finished
from confd.store.terms import next_term

log = structlog.get_logger("bootstrap")


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster begins with: the text of EXAConf and runtime records (secrets already sealed)."""

    exaconf: str
    records: dict[str, Any] = {}


def bootstrap(store: Store, identity: Identity, vault: Vault) -> None:
    """Make the first revision unless the journal holds one already."""
    if identity.bootstrap is None or store.sections()[0]:
        return
    start = msgspec.json.decode(Path(identity.bootstrap).read_bytes(), type=Bootstrap)
    document = parse(start.exaconf)
    store.lead(next_term(0, identity.node), identity.node)
    first = Finished(
        0, SUCCESS, revision=document.revision + 1, runtime=start.records, user="root",
        changes={key: to_stored(section, vault) for key, section in document.sections.items()},
    )  # fmt: skip
    store.append(Kind.FINISHED, f"{identity.node}.0", first).result()
    log.info("bootstrapped", node=identity.node, revision=first.revision)
