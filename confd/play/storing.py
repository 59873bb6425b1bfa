"""Moving a play between stores, going on from a survivor, room in etcd."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from confd.daemon.recovering import permission, permit
from confd.model.errors import NodeError, NodeOffline, TimedOut, WrongState
from confd.model.sizes import format_size
from confd.play import processes
from confd.play.calls import is_ready, job_ended, start_job
from confd.play.parameters import as_port, merge
from confd.play.record import Play, PlayNode
from confd.store.choice import load_choice
from confd.store.etcd.compaction import make_room
from confd.store.etcd.errors import EtcdDenied, EtcdError

_PATIENCE: Final = 180.0
_LOOK: Final = 0.2
_JOB: Final = "store_move"


def etcd_params(endpoints: list[str], given: Mapping[str, Any], sources: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    """Return the parameters of a move to etcd; what is not given of members comes from the parameters of c4.

    :param endpoints: of an etcd that exists; without them the nodes run their own.
    """
    params = {"kind": "etcd"} | {name: value for name, value in given.items() if value is not None}
    if endpoints:
        return params | {"endpoints": endpoints}
    texts = merge(*sources)
    params.setdefault("port", as_port(texts["CCC_PLAY_ETCD_PORT"]))
    if binary := params.get("binary") or texts["CCC_PLAY_ETCD_BINARY"]:
        params["binary"] = str(Path(binary).absolute())
    return params


def move(play: Play, node: PlayNode, params: dict[str, Any]) -> str:
    """Move a play into another store, asking one of its nodes; what was compared. All nodes that run are ready then.

    :raises ConfDError: it was not moved, and why.
    """
    job_id = start_job(node.socket, _JOB, params)
    until, ended, result = time.monotonic() + _PATIENCE, False, None
    while True:
        if not ended:
            ended, result = job_ended(node.socket, _JOB, job_id)
        if ended and all(_has_moved(one, params["kind"]) for one in play.nodes):
            return str(result)
        if time.monotonic() > until:
            raise TimedOut(f"job {job_id} goes on; see it with confd_client job_info job_id: {job_id}")
        time.sleep(_LOOK)


def compact(node: PlayNode) -> str:
    """Free space in the etcd that a node uses, and let it take changes again; what became of each member.

    :raises WrongState: the node's store is no etcd.
    :raises NodeError: etcd does not do it, and why.
    """
    access = load_choice(node.root).etcd
    if access is None:
        raise WrongState(f"{node.name} uses the embedded store, where nothing is to be freed")
    try:
        made, missed = make_room(access)
    except EtcdDenied as error:
        raise NodeError(
            f"etcd was not compacted: {error}. It takes etcd's role root, which the user of an etcd that exists need "
            "not have: have its administrator do it (etcdctl compact, etcdctl defrag, etcdctl alarm disarm)"
        ) from None
    except EtcdError as error:
        raise NodeError(f"etcd was not compacted: {error}") from None
    sizes = [f"{room.endpoint}: {format_size(room.before)} before, {format_size(room.after)} now" for room in made]
    return "\n".join([*sizes, *missed, "etcd takes changes again"])


def _has_moved(node: PlayNode, kind: str) -> bool:
    if processes.daemon(node) is None:
        return True
    return load_choice(node.root).kind == kind and is_ready(node.socket)


def recover(node: PlayNode) -> str:
    """Have a node go on alone; what may be missing.

    :raises NodeOffline: its daemon does not run.
    :raises NodeError: it does not go on, and why.
    """
    if processes.daemon(node) is None:
        raise NodeOffline(f"the daemon of {node.name} does not run; start it, then recover from there")
    permit(node.root)
    try:
        done = subprocess.run(
            [*processes.program(), "--root", str(node.root), "--take-over"], capture_output=True, text=True, check=False
        )
    finally:
        permission(node.root).unlink(missing_ok=True)
    if done.returncode:
        raise NodeError(done.stderr.strip().removeprefix("confd: ") or f"{node.name} did not go on")
    return done.stdout.strip()
