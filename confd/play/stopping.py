"""Bringing a play down, and deleting it."""

from __future__ import annotations

import shutil
from contextlib import suppress

from confd.model.errors import ConfDError, InUse
from confd.play import home, processes
from confd.play.calls import run_job, takes_jobs
from confd.play.presence import removed
from confd.play.record import Play, PlayNode

_STOP_SECONDS = 60.0


def stop(play: Play, only: PlayNode | None = None) -> None:
    """Stop daemons and databases of a play, or all processes of one node while the others go on.

    Databases that start with the cluster stay wanted and come back with it; the others are stopped by job.
    """
    with home.alone(play.directory):
        if only is None:
            stop_databases(play)
        processes.stop(play.nodes if only is None else [only])


def stop_databases(play: Play) -> None:
    """Stop the databases that do not start with the cluster, by job."""
    master = next((node for node in play.nodes if processes.daemon(node) and takes_jobs(node.socket)), None)
    if master is not None:
        for database in _not_started_again(master):
            # It is stopped in the wrong state, or soon by its keeper: either is what is wanted.
            with suppress(ConfDError):
                run_job(master.socket, "db_stop", {"db_name": database}, _STOP_SECONDS)


def remove(play: Play) -> None:
    """Stop a play and delete everything of it; when that is cut off, it can be tried again."""
    with home.alone(), home.alone(play.directory):
        processes.stop(play.nodes)
        if processes.remains(play.nodes):
            raise InUse(f"processes of play {play.number} still run; nothing was deleted")
        home.clear_runtime(play.nodes)
        home.discard(play.directory)


def remove_node(play: Play, node: PlayNode) -> None:
    """Delete the files of one node here, which the cluster does not have any more; of the last one, the play.

    :raises InUse: it is still in the configuration.
    """
    if len(play.nodes) > 1 and node.node not in removed(play):
        raise InUse(
            f"{node.name} is still a node of the cluster; take it out with the job node_remove first, or delete "
            f"the whole play with c4 rm -t {play.number}"
        )
    discard_node(play, node)


def discard_node(play: Play, node: PlayNode) -> None:
    """Stop a node and delete its files; with the last one the play is gone."""
    if len(play.nodes) == 1:
        remove(play)
        return
    with home.alone(), home.alone(play.directory):
        processes.stop([node])
        home.clear_runtime([node])
        if node.root.exists():
            shutil.rmtree(node.root)
        play.without(node).save()


def _not_started_again(node: PlayNode) -> list[str]:
    from confd.exaconf import Conf, parse

    try:
        document = parse((node.root / "etc/EXAConf").read_text())
    except (OSError, ConfDError):
        return []
    databases = Conf(document.revision, document.sections).databases
    return [name for name, database in databases.items() if not database.auto_start]
