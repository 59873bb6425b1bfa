"""Revisions of the configuration: who made them, what they hold, what changed. Secrets are hidden."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from confd.cluster.following.replica import load_conf
from confd.exaconf import Conf, Section, diff
from confd.exaconf.public import public_text
from confd.model.errors import NotFound
from confd.model.secret import Vault
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import READ, Allow, job, nearest
from confd.store.protocol import RevisionRow

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm"))
_SHOWN: Final = "%Y-%m-%d %H:%M:%S"
_ALL: Final = 1_000_000

Revision = Annotated[int, Rule(minimum=1)]
Limit = Annotated[int, Rule(minimum=1, maximum=10_000)]


@job(READ, allow=_ADMINISTRATORS, own=True)
def exaconf_log(ctx: Context, *, limit: Limit = 20) -> list[dict[str, Any]]:
    """List the latest revisions of the configuration, newest first: job, user, time and what changed.

    :param limit: How many revisions at most.

    Examples:
    {}
    {limit: 100}
    """
    return [_line(row) for row in ctx.store.revisions(limit=limit)]


@job(READ, allow=_ADMINISTRATORS, own=True)
def exaconf_show(ctx: Context, *, revision: Revision | None = None, section: str | None = None) -> str:
    """Return the configuration at a revision as text, without secrets.

    :param revision: Revision to show; the newest when left out.
    :param section: Only this section, such as 'Global' or 'DB : DB1', or all of a kind, such as 'DB'.

    Examples:
    {}
    {revision: 16, section: 'DB : DB1'}
    """
    sections = _at(ctx, revision).sections
    return public_text(sections if section is None else chosen(sections, section))


@job(READ, allow=_ADMINISTRATORS, own=True)
def exaconf_diff(ctx: Context, old: Revision, *, new: Revision | None = None) -> str:
    """Return what changed between two revisions, without secrets; an empty text when nothing did.

    :param old: Earlier revision.
    :param new: Later revision; the newest when left out.

    Examples:
    {old: 16}
    {old: 16, new: 18}
    """
    return diff(_at(ctx, old).sections, _at(ctx, new).sections)


def chosen(sections: Mapping[str, Section], name: str) -> dict[str, Section]:
    """Return the section of a name, or all of a kind.

    :raises NotFound: there is none; the message names the nearest one.
    """
    wanted = " : ".join(part.strip() for part in name.strip().strip("[]").split(":", 1))
    found = {key: section for key, section in sections.items() if wanted in {key, section.kind}}
    if not found:
        raise NotFound(f"EXAConf has no section [{wanted}]{nearest(wanted, sections)}")
    return found


def _at(ctx: Context, revision: int | None) -> Conf:
    if revision is None:
        return load_conf(ctx.store, ctx.service(Vault))
    known = [row.revision for row in ctx.store.revisions(limit=_ALL)]
    if revision not in known:
        oldest = f"known are {min(known)} to {max(known)}" if known else "none is known"
        raise NotFound(f"there is no revision {revision}; {oldest}")
    return load_conf(ctx.store, ctx.service(Vault), revision)


def _line(row: RevisionRow) -> dict[str, Any]:
    time = datetime.fromtimestamp(row.at, UTC).strftime(_SHOWN)
    return {"revision": row.revision, "job_id": row.job, "user": row.user, "time": time, "sections": list(row.keys)}
