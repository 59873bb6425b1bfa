"""What the nodes of a cluster hold once they are at rest: journals, EXAConf, segments on their disks."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.cluster.identity import NodeFiles
from confd.exaconf import Global, Group, Volume, from_stored
from confd.model.secret import Vault
from confd.services.storage.places import SEGMENTS
from confd.services.storage.superblock import read_allocation, read_superblock
from confd.store.records import Finished
from tests.cluster.harness import Cluster, until
from tests.history.clients import DOMAINS, GROUPS, THERE, VOLUMES
from tests.history.events import Job, Node, Revision

_JOBS: Final = """
    SELECT id, code, revision,
        (SELECT count(*) FROM records WHERE key = id AND kind IN ('finished', 'read')),
        (SELECT body FROM records WHERE key = id AND kind = 'submitted')
    FROM jobs WHERE intent = 'modify' OR code != 0
"""
_PRESENT: Final = """
    SELECT body FROM sections WHERE body IS NOT NULL
    AND (key, revision) IN (SELECT key, max(revision) FROM sections GROUP BY key)
"""


def settled(cluster: Cluster, skip: int) -> dict[int, Node]:
    """Return what all nodes hold once they hold the same, without so many revisions of earlier runs."""

    def same() -> dict[int, Node] | None:
        nodes = {node: collect(cluster, node) for node in cluster.addresses}
        first, *others = nodes.values()
        alike = all((one.head, one.exaconf, one.jobs) == (first.head, first.exaconf, first.jobs) for one in others)
        over = all(job.code is not None for job in first.jobs.values()) and not first.debts
        return nodes if alike and over else None

    last: dict[int, Node] = {}
    with contextlib.suppress(AssertionError):
        last = until(same, "all nodes hold the same")
    last = last or {node: collect(cluster, node) for node in cluster.addresses}
    return {name: msgspec.structs.replace(node, revisions=node.revisions[skip:]) for name, node in last.items()}


def collect(cluster: Cluster, node: int) -> Node:
    """Return what a node holds now."""
    files = NodeFiles(cluster.root(node))
    vault = files.vault()
    with contextlib.closing(_open(files.journal)) as journal:
        jobs = {
            job: Job(code, ends, revision, _asked(submitted))
            for job, code, revision, ends, submitted in journal.execute(_JOBS)
        }
        bodies = journal.execute("SELECT key, body FROM records WHERE kind = 'finished' ORDER BY n").fetchall()
        revisions = []
        for job, body in bodies:
            finished = msgspec.json.decode(body, type=Finished)
            if finished.revision is not None:
                revisions.append(Revision(finished.revision, job, _values(finished.changes, vault)))
        head = journal.execute("SELECT term, n FROM records ORDER BY n DESC LIMIT 1").fetchone()
        sections = [from_stored(msgspec.json.decode(body), vault) for (body,) in journal.execute(_PRESENT)]
        debts = frozenset(key for (key,) in journal.execute("SELECT key FROM runtime WHERE key LIKE 'settle/%'"))
    return Node(
        jobs,
        tuple(revisions),
        frozenset(pair for path in files.journal.parent.glob("journal*.db") for pair in _terms(path)),
        head,
        hashlib.sha256(files.exaconf.read_bytes()).hexdigest(),
        frozenset(part for one in sections if isinstance(one, Volume) for part in _parts(one, node)),
        frozenset(part for home in (files.root / "data/storage").iterdir() for part in _parts_on(home)),
        debts,
    )


def _parts(volume: Volume, node: int) -> list[str]:
    """Name what a volume must have on a node."""
    if volume.id is None or node not in volume.nodes:
        return []
    return [f"space of volume {volume.name} ({volume.id})", f"directory {volume.id}"]


def _parts_on(home: Path) -> list[str]:
    """Name what lies on a device."""
    if read_superblock(home) is None:
        return []
    space = [f"space of volume {one.volume} ({vid})" for vid, one in read_allocation(home).segments.items()]
    segments = home / SEGMENTS
    return [*space, *(f"directory {path.name}" for path in (segments.iterdir() if segments.is_dir() else ()))]


def _asked(submitted: bytes | None) -> tuple[str, str | None] | None:
    """Return the write that a job was submitted for."""
    if submitted is None:
        return None
    body = msgspec.json.decode(submitted)
    params = body["params"]
    match body["name"]:
        case "general_settings":
            return DOMAINS, params["changes"]["Global"]["SearchDomains"]
        case "group_create":
            return GROUPS + params["groupname"], str(params["groupid"])
        case "st_volume_create":
            return VOLUMES + params["name"], THERE
        case "st_volume_delete":
            return VOLUMES + params["vname"], None
    return None


def _values(changes: Mapping[str, Any], vault: Vault) -> dict[str, str | None]:
    """Return what a revision makes of registers, also where it only repeats what was so."""
    values: dict[str, str | None] = {}
    for key, stored in changes.items():
        if stored is None:
            kind, _, name = key.partition(" : ")
            values |= {VOLUMES + name: None} if kind == Volume.kind else {}
            continue
        section = from_stored(stored, vault)
        if isinstance(section, Global):
            values[DOMAINS] = str(_first(section.search_domains))
        elif isinstance(section, Group):
            values[GROUPS + section.name] = str(section.id)
        elif isinstance(section, Volume):
            values[VOLUMES + section.name] = THERE
    return values


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) and value else value


def _terms(path: Path) -> list[tuple[int, int]]:
    with contextlib.closing(_open(path)) as journal:
        found = journal.execute("SELECT term, key FROM records WHERE kind = 'term'")
        return [(term, int(key)) for term, key in found]


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)
