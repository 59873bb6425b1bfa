"""A modify job of every group: what is done before, the job itself, and how its effect is taken away again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from confd.model.errors import NodeError, NodeOffline, NoQuorum, WrongState
from confd.services.nodes.mastership import AFFINITIES
from tests.cluster.harness import Cluster
from tests.failpoints.evidence import ask, is_unlocked, journal_of

Call = tuple[str, dict[str, Any]]
Deed = Call | Callable[[], object]
"""A job, or what people do beside jobs."""


@dataclass(frozen=True)
class Story:
    """A job, how its effect shows, what must be there before it, and what takes its effect away.

    ``effect`` is told the output of the job that ended well, None after one that left nothing. ``on_nodes`` says that
    the job needs nodes to run commands. ``directory`` is left empty by a job that goes back, as it may have been there
    before. ``may_fail`` are codes with which it may end because a node that it needs is dead.
    """

    job: str
    params: dict[str, Any]
    effect: Callable[[Any], bool]
    before: tuple[Deed, ...] = ()
    after: tuple[Deed, ...] = ()
    on_nodes: bool = False
    directory: str = ""
    may_fail: tuple[int, ...] = ()


Teller = Callable[[Cluster, str, int], Story]
"""Makes a story from the cluster, a name and a number that no other one has; n11 is master then."""

#: In which n11 to n13 are told apart only by what they do.
_ASKED: Final = 13


def _listed(cluster: Cluster, job: str, name: str) -> Callable[[Any], bool]:
    """Return whether a job that lists things has one, each time it is asked."""
    return lambda output: name in cluster.run(job, _ASKED)


def _volume(name: str, *nodes: int) -> dict[str, Any]:
    nodes = nodes or (11, 12)
    return {
        "name": name, "type": "data", "disk": "disk1", "size": "64 MiB", "nodes": [*nodes], "redundancy": len(nodes),
    }  # fmt: skip


def _on(cluster: Cluster, name: str, *nodes: int) -> Callable[[Any], bool]:
    """Return whether a volume is whole on some nodes, and on no others."""

    def there(output: Any) -> bool:
        known = {volume["name"]: volume for volume in cluster.run("st_volume_list", _ASKED)}
        found = known.get(name)
        return found is not None and (found["state"], sorted(found["volume_nodes"])) == ("ONLINE", [*nodes])

    return there


def _database(name: str) -> dict[str, Any]:
    return {
        "db_name": f"D{name}", "version": "18", "data_volume_name": f"V{name}", "mem_size": "256 MiB",
        "nodes": [11, 12], "num_active_nodes": 2, "port": 9563,
    }  # fmt: skip


def _making(name: str) -> tuple[Call, ...]:
    return ("st_volume_create", _volume(f"V{name}")), ("db_create", _database(name))


def _unmaking(name: str) -> tuple[Call, ...]:
    return ("db_delete", {"db_name": f"D{name}"}), ("st_volume_delete", {"vname": f"V{name}"})


def _groups(cluster: Cluster, name: str, number: int) -> Story:
    there = _listed(cluster, "group_list", name)
    after = (("group_delete", {"groupname": name}),)
    return Story("group_create", {"groupname": name, "groupid": number}, there, after=after)


def _users(cluster: Cluster, name: str, number: int) -> Story:
    given = {"username": name, "userid": number, "password": "*", "group": "exausers", "login_enabled": True}
    there = _listed(cluster, "user_list", name)
    return Story("user_create", given, there, after=(("user_delete", {"username": name}),))


def _settings(cluster: Cluster, name: str, number: int) -> Story:
    domain = f"{name}.example"
    there = _listed(cluster, "exaconf_show", domain)
    return Story("general_settings", {"changes": {"Global": {"SearchDomains": domain}}}, there)


def _storage(cluster: Cluster, name: str, number: int) -> Story:
    after = (("st_volume_delete", {"vname": name}),)
    return Story("st_volume_create", _volume(name), _on(cluster, name, 11, 12), after=after, on_nodes=True)


def _storage_deleting(cluster: Cluster, name: str, number: int) -> Story:
    def gone(output: Any) -> bool:
        return name not in {volume["name"] for volume in cluster.run("st_volume_list", _ASKED)}

    return Story("st_volume_delete", {"vname": name}, gone, before=(("st_volume_create", _volume(name)),))


def _storage_appending(cluster: Cluster, name: str, number: int) -> Story:
    before, after = (("st_volume_create", _volume(name, 11)),), (("st_volume_delete", {"vname": name}),)
    given = {"vname": name, "node_num": 1, "node_ids": [12]}
    return Story("st_volume_append_node", given, _on(cluster, name, 11, 12), before, after, on_nodes=True)


def _storage_moving(cluster: Cluster, name: str, number: int) -> Story:
    before, after = (("st_volume_create", _volume(name)),), (("st_volume_delete", {"vname": name}),)
    given = {"vname": name, "src_nodes": [11], "dst_nodes": [13]}
    return Story("st_volume_move_node", given, _on(cluster, name, 12, 13), before, after, on_nodes=True)


def _devices(cluster: Cluster, name: str, number: int) -> Story:
    path = f"/exa/data/storage/{name}"
    device = {"node": 12, "disk": name, "devname": path, "seccount": 16_384}

    def there(output: Any) -> bool:
        return name in cluster.run("node_list", _ASKED)["12"]["disks"] and (cluster.root(12) / path[5:]).exists()

    return Story("st_device_add", device, there, on_nodes=True, directory=f"/data/storage/{name}")


def _database_making(cluster: Cluster, name: str, number: int) -> Story:
    there = _listed(cluster, "db_list", f"D{name}")
    return Story("db_create", _database(name), there, _making(name)[:1], _unmaking(name))


def _database_starting(cluster: Cluster, name: str, number: int) -> Story:
    def runs(output: Any) -> bool:
        return bool(cluster.run("db_info", _ASKED, db_name=f"D{name}")["connectible"] == "Yes")

    ends = (("db_stop", {"db_name": f"D{name}"}), *_unmaking(name))
    return Story("db_start", {"db_name": f"D{name}"}, runs, _making(name), ends, on_nodes=True)


def _database_stopping(cluster: Cluster, name: str, number: int) -> Story:
    def stopped(output: Any) -> bool:
        return bool(cluster.run("db_info", _ASKED, db_name=f"D{name}")["connectible"] == "No")

    before = (*_making(name), ("db_start", {"db_name": f"D{name}"}))
    return Story("db_stop", {"db_name": f"D{name}"}, stopped, before, _unmaking(name), on_nodes=True)


def _configuration(cluster: Cluster, name: str, number: int) -> Story:
    latest = cluster.run("exaconf_log", limit=1)[0]["revision"]
    before = (("group_create", {"groupname": name, "groupid": number}),)

    def gone(output: Any) -> bool:
        return name not in cluster.run("group_list", _ASKED)

    return Story("exaconf_rollback", {"revision": latest}, gone, before)


def _configuration_editing(cluster: Cluster, name: str, number: int) -> Story:
    """More sections at once than go into one transaction of etcd."""
    cluster.wait_same()
    lines, latest = _file(cluster), cluster.run("exaconf_log", limit=1)[0]["revision"]
    checksum = next(n for n, line in enumerate(lines) if line.strip().startswith("Checksum ="))
    lines[checksum] = "    Checksum = COMMIT"
    groups = next(n for n, line in enumerate(lines) if line.strip() == "[Groups]")
    fresh = ([f"    [[{name}x{one}]]", f"        ID = {1_000_000 + number * 200 + one}"] for one in range(150))
    lines[groups + 1 : groups + 1] = itertools.chain.from_iterable(fresh)
    there = _listed(cluster, "group_list", f"{name}x149")
    after = (("exaconf_rollback", {"revision": latest}),)
    return Story("exaconf_commit", {"text": "\n".join(lines) + "\n"}, there, after=after)


def _file(cluster: Cluster) -> list[str]:
    return (cluster.root(_ASKED) / "etc/EXAConf").read_text().splitlines()


def _adding(cluster: Cluster, number: int) -> tuple[int, Call, Call]:
    # Nobody comes: the node stays suspended, so it counts for nothing.
    net, nid = f"{cluster.net}.{100 + number % 100}/8", 100 + number % 10_000
    return nid, ("node_add", {"priv_net": net, "nid": nid}), ("node_remove", {"nid": nid, "force": True})


def _nodes(cluster: Cluster, name: str, number: int) -> Story:
    nid, add, remove = _adding(cluster, number)
    return Story(*add, _listed(cluster, "node_list", str(nid)), after=(remove,))


def _nodes_removing(cluster: Cluster, name: str, number: int) -> Story:
    nid, add, remove = _adding(cluster, number)

    def gone(output: Any) -> bool:
        return str(nid) not in cluster.run("node_list", _ASKED)

    return Story(*remove, gone, before=(add,))


def _nodes_leaving(cluster: Cluster, name: str, number: int) -> Story:
    """As above, but the node has come."""
    nid, add, remove = _adding(cluster, number)

    def join() -> None:
        token = cluster.c4("host", "token", str(nid)).strip()
        cluster.c4("host", "join", "-", stdin=token)

    def gone(output: Any) -> bool:
        # Whom nobody told while the master died asks the others, as long as it hears no master.
        return is_unlocked(cluster.root(nid) / "spool/confd.lock") and str(nid) not in cluster.run("node_list", _ASKED)

    def clean() -> None:
        cluster.c4("rm", "-t", f"1.{nid}")

    return Story(*remove, gone, before=(add, join), after=(clean,))


def _nodes_suspending(cluster: Cluster, name: str, number: int) -> Story:
    # n13, as n12 leads next when n11 dies. Disabled: else it would come back by itself when it is started anew.
    def suspended(output: Any) -> bool:
        return bool(cluster.run("node_state", _ASKED)["13"] == "suspended")

    after = (("node_resume", {"nid": 13, "enable": True}),)
    given = {"nid": 13, "disable": True}
    # Where n12 is late, n13 leads next all the same, and cannot be suspended then.
    return Story("node_suspend", given, suspended, after=after, on_nodes=True, may_fail=(WrongState.code,))


def _nodes_resuming(cluster: Cluster, name: str, number: int) -> Story:
    def back(output: Any) -> bool:
        return bool(cluster.run("node_state", _ASKED)["13"] == "online")

    before = (("node_suspend", {"nid": 13, "disable": True}),)
    # Without n13, which is suspended, a dead one leaves too few: what was not recorded yet is refused.
    may_fail = (NoQuorum.code,)
    return Story("node_resume", {"nid": 13, "enable": True}, back, before, may_fail=may_fail, on_nodes=True)


def _mastership(cluster: Cluster, name: str, number: int) -> Story:
    def preferred(output: Any) -> bool:
        """Tell whether the journal prefers the node that was chosen, and no other one led the embedded store last."""
        journal = journal_of(cluster, _ASKED)
        rows = [json.loads(body) for (body,) in ask(journal, f"SELECT body FROM runtime WHERE key = '{AFFINITIES}'")]
        return output is not None and bool(rows) and rows[0][str(output)] == 0

    # The sitting master is taken only when no other one is online.
    given, may_fail = {"nids": [11, 12, 13]}, (NodeOffline.code, NodeError.code)
    return Story("master_change", given, preferred, after=(("affinity_reset", {}),), may_fail=may_fail)


STORIES: Final[dict[str, tuple[Teller, ...]]] = {
    "configuration": (_configuration,),
    "database": (_database_making,),
    "devices": (_devices,),
    "groups": (_groups,),
    "nodes": (_nodes,),
    "other": (_mastership,),
    "settings": (_settings,),
    "storage": (_storage, _storage_deleting),
    "users": (_users,),
}
"""Stories by group of the registry. Who adds a group with a modify job adds its story."""

MORE: Final[tuple[Teller, ...]] = (
    _configuration_editing,
    _nodes_removing,
    _nodes_resuming,
    _nodes_suspending,
    _storage_appending,
    _storage_moving,
)
"""Further ones, for make torture."""

LONG: Final[tuple[Teller, ...]] = (_database_starting, _database_stopping, _nodes_leaving)
"""Such as take long, because servers or daemons start in them; also for make torture."""
