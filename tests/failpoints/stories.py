"""A modify job of every group: what is done before, the job itself, and how its effect is taken away again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from confd.model.errors import NodeError, NodeOffline
from tests.cluster.harness import Cluster

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Story:
    """A job, what must be there before it, and what takes its effect away; without a way to do that it stays.

    ``directory`` is left empty by a job that goes back, as it may have been there before. ``may_fail`` are codes with
    which it may end because a node that it needs is dead.
    """

    job: str
    params: dict[str, Any]
    before: tuple[Call, ...] = ()
    after: tuple[Call, ...] = ()
    directory: str = ""
    may_fail: tuple[int, ...] = ()


Teller = Callable[[Cluster, str, int], Story]
"""Makes a story from the cluster, a name and a number that no other one has."""


def _volume(name: str) -> dict[str, Any]:
    return {"name": name, "type": "data", "disk": "disk1", "size": "64 MiB", "nodes": [11, 12], "redundancy": 2}


def _database(name: str) -> dict[str, Any]:
    return {
        "db_name": f"D{name}", "version": "18", "data_volume_name": f"V{name}", "mem_size": "256 MiB",
        "nodes": [11, 12], "num_active_nodes": 2, "port": 9563,
    }  # fmt: skip


def _groups(cluster: Cluster, name: str, number: int) -> Story:
    return Story("group_create", {"groupname": name, "groupid": number}, after=(("group_delete", {"groupname": name}),))


def _users(cluster: Cluster, name: str, number: int) -> Story:
    given = {"username": name, "userid": number, "password": "*", "group": "exausers", "login_enabled": True}
    return Story("user_create", given, after=(("user_delete", {"username": name}),))


def _settings(cluster: Cluster, name: str, number: int) -> Story:
    return Story("general_settings", {"changes": {"Global": {"SearchDomains": f"{name}.example"}}})


def _storage(cluster: Cluster, name: str, number: int) -> Story:
    return Story("st_volume_create", _volume(name), after=(("st_volume_delete", {"vname": name}),))


def _storage_deleting(cluster: Cluster, name: str, number: int) -> Story:
    return Story("st_volume_delete", {"vname": name}, before=(("st_volume_create", _volume(name)),))


def _devices(cluster: Cluster, name: str, number: int) -> Story:
    device = {"node": 12, "disk": name, "devname": f"/exa/data/storage/{name}", "seccount": 16_384}
    return Story("st_device_add", device, directory=f"/data/storage/{name}")


def _database_making(cluster: Cluster, name: str, number: int) -> Story:
    ends = (("db_delete", {"db_name": f"D{name}"}), ("st_volume_delete", {"vname": f"V{name}"}))
    return Story("db_create", _database(name), (("st_volume_create", _volume(f"V{name}")),), ends)


def _configuration(cluster: Cluster, name: str, number: int) -> Story:
    latest = cluster.run("exaconf_log", limit=1)[0]["revision"]
    return Story(
        "exaconf_rollback", {"revision": latest}, before=(("group_create", {"groupname": name, "groupid": number}),)
    )


def _nodes(cluster: Cluster, name: str, number: int) -> Story:
    # Nobody comes: the node stays suspended, so it counts for nothing.
    net, nid = f"{cluster.net}.{100 + number % 100}/8", 100 + number % 10_000
    return Story("node_add", {"priv_net": net, "nid": nid}, after=(("node_remove", {"nid": nid, "force": True}),))


def _mastership(cluster: Cluster, name: str, number: int) -> Story:
    # The sitting master is taken only when no other one is online.
    return Story("master_change", {"nids": list(cluster.addresses)}, may_fail=(NodeOffline.code, NodeError.code))


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
