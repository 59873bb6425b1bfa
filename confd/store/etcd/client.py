"""etcd by its JSON gateway: keys, transactions, leases, watches, members, users, upkeep.

Synchronous and usable from any thread. Keys and values are bytes here. Numbers of etcd (revisions, leases, members)
are int. Every method takes ``timeout`` seconds in all and raises EtcdError, which says what is known of the outcome.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.errors import EtcdRefused, EtcdUncertain, EtcdUnreachable
from confd.store.etcd.gateway import CALL_SECONDS, Gateway

_DEFRAGMENT_SECONDS: Final = 60.0
_EVENT_DELETE: Final = "DELETE"


class KeyValue(msgspec.Struct, frozen=True):
    """A key as etcd has it: value, revisions of its making and of its last change, lease (0: none)."""

    key: bytes
    value: bytes
    created: int
    modified: int
    lease: int = 0


class Event(msgspec.Struct, frozen=True):
    """A change of a key: its new value, None when it was deleted; and etcd's revision."""

    key: bytes
    value: bytes | None
    revision: int


class MemberRow(msgspec.Struct, frozen=True):
    """A member of the etcd cluster; the name is empty until it was started once. A learner has no vote yet."""

    id: int
    name: str
    peers: tuple[str, ...]
    clients: tuple[str, ...]
    learner: bool = False


class Status(msgspec.Struct, frozen=True):
    """What one server says of itself; ``leader`` is 0 without a majority."""

    version: str
    member: int
    leader: int
    revision: int
    size: int
    errors: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """Outcome of a transaction: whether the comparisons held, what its reads gave (one list each), etcd's revision."""

    held: bool
    reads: tuple[tuple[KeyValue, ...], ...]
    revision: int


Comparison = dict[str, Any]
Step = dict[str, Any]


def value_is(key: bytes, value: bytes) -> Comparison:
    """Compare: the key has this value."""
    return {"key": _text(key), "target": "VALUE", "result": "EQUAL", "value": _text(value)}


def modified_at(key: bytes, revision: int) -> Comparison:
    """Compare: the key was last changed in this revision; 0 means that it is not there."""
    return {"key": _text(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def absent(key: bytes) -> Comparison:
    """Compare: the key is not there."""
    return {"key": _text(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}


def put(key: bytes, value: bytes, lease: int = 0) -> Step:
    """Step of a transaction: set a key."""
    step = {"key": _text(key), "value": _text(value)}
    return {"request_put": step | {"lease": str(lease)} if lease else step}


def delete(key: bytes, end: bytes | None = None) -> Step:
    """Step of a transaction: delete a key, or all from ``key`` up to, without, ``end``."""
    return {"request_delete_range": _range(key, end)}


def read(key: bytes, end: bytes | None = None) -> Step:
    """Step of a transaction: read a key, or a range."""
    return {"request_range": _range(key, end)}


def prefix_end(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin with a prefix."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b"\0"


class EtcdClient:
    """One etcd cluster.

    :param token: to be let in with, instead of user and password.
    """

    def __init__(self, access: EtcdAccess, token: str | None = None) -> None:
        self.gateway = Gateway(access, token=token)

    # keys

    def get(self, key: bytes, timeout: float = CALL_SECONDS) -> KeyValue | None:
        """Read a key as a majority knows it; None when it is not there."""
        found = self.range(key, timeout=timeout)[0]
        return found[0] if found else None

    def range(
        self, key: bytes, end: bytes | None = None, limit: int = 0, *, keys_only: bool = False,
        revision: int = 0, timeout: float = CALL_SECONDS,
    ) -> tuple[list[KeyValue], int]:  # fmt: skip
        """Read the keys from ``key`` up to ``end`` in order; with etcd's revision at that moment.

        :param limit: how many at most, 0 for all.
        :param revision: read them as they were at this revision of etcd, 0 for now.
        """
        body = _range(key, end) | {"limit": str(limit), "keys_only": keys_only, "revision": str(revision)}
        answer = self.gateway.call("/v3/kv/range", body, timeout=timeout)
        return [_key_value(one) for one in answer.get("kvs", ())], _revision(answer)

    def put(self, key: bytes, value: bytes, lease: int = 0, timeout: float = CALL_SECONDS) -> int:
        """Set a key; etcd's new revision."""
        body = put(key, value, lease)["request_put"]
        return _revision(self.gateway.call("/v3/kv/put", body, changes=True, timeout=timeout))

    def delete(self, key: bytes, end: bytes | None = None, timeout: float = CALL_SECONDS) -> int:
        """Delete a key or a range; how many there were."""
        answer = self.gateway.call("/v3/kv/deleterange", _range(key, end), changes=True, timeout=timeout)
        return int(answer.get("deleted", 0))

    def txn(
        self, compare: Sequence[Comparison], then: Sequence[Step], otherwise: Sequence[Step] = (),
        timeout: float = CALL_SECONDS,
    ) -> Answer:  # fmt: skip
        """Do ``then`` when all comparisons hold, ``otherwise`` when not; one or the other, as a whole."""
        body = {"compare": list(compare), "success": list(then), "failure": list(otherwise)}
        changes = any("request_range" not in step for step in (*then, *otherwise))
        answer = self.gateway.call("/v3/kv/txn", body, changes=changes, timeout=timeout)
        responses = [one["response_range"] for one in answer.get("responses", ()) if "response_range" in one]
        reads = tuple(tuple(_key_value(row) for row in one.get("kvs", ())) for one in responses)
        return Answer(bool(answer.get("succeeded", False)), reads, _revision(answer))

    def watch(
        self, key: bytes, end: bytes | None = None, start: int = 0, idle: float = 60.0
    ) -> Iterator[tuple[list[Event], int]]:
        """Give changes of a range from revision ``start`` on, as they happen: events, and etcd's revision.

        Begins with an empty list once the watch stands. Ends with EtcdUnreachable when the stream breaks or is
        silent for ``idle`` seconds; who goes on watches again from the revision after the last one.
        """
        request = _range(key, end) | {"start_revision": str(start)} if start else _range(key, end)
        with self.gateway.stream("/v3/watch", {"create_request": request}, idle) as answers:
            for answer in answers:
                yield [_event(one) for one in answer.get("events", ())], _revision(answer)

    # leases

    def lease_grant(self, ttl: int, timeout: float = CALL_SECONDS) -> tuple[int, int]:
        """Make a lease of so many seconds; its number and the seconds really given."""
        answer = self.gateway.call("/v3/lease/grant", {"TTL": str(ttl)}, timeout=timeout)
        return int(answer["ID"]), int(answer["TTL"])

    def lease_keepalive(self, lease: int, timeout: float = CALL_SECONDS) -> int:
        """Renew a lease; the seconds it has from now on, 0 when it is gone."""
        answer = self.gateway.call("/v3/lease/keepalive", {"ID": str(lease)}, timeout=timeout)
        return int(answer.get("result", answer).get("TTL", 0))

    def lease_revoke(self, lease: int, timeout: float = CALL_SECONDS) -> None:
        """End a lease; its keys go with it."""
        self.gateway.call("/v3/lease/revoke", {"ID": str(lease)}, timeout=timeout)

    # members

    def member_list(self, timeout: float = CALL_SECONDS) -> list[MemberRow]:
        """Return the members of the etcd cluster."""
        answer = self.gateway.call("/v3/cluster/member/list", {}, timeout=timeout)
        return [_member(one) for one in answer.get("members", ())]

    def member_add(self, peers: Sequence[str], *, learner: bool = False, timeout: float = CALL_SECONDS) -> MemberRow:
        """Announce a member by its peer URLs, before it is started; a learner does not count for the majority."""
        body = {"peerURLs": list(peers), "isLearner": learner}
        return _member(self.gateway.call("/v3/cluster/member/add", body, changes=True, timeout=timeout)["member"])

    def member_promote(self, member: int, timeout: float = CALL_SECONDS) -> None:
        """Give a learner a vote; refused until it has what the others have."""
        # Others than the leader pass it on, and etcd 3.4 may do so without end.
        body, leader = {"ID": str(member)}, self._leader(timeout)
        self.gateway.call("/v3/cluster/member/promote", body, changes=True, timeout=timeout, at=leader)

    def member_remove(self, member: int, timeout: float = CALL_SECONDS) -> None:
        """Take a member out."""
        self.gateway.call("/v3/cluster/member/remove", {"ID": str(member)}, changes=True, timeout=timeout)

    # users

    def user_add(self, name: str, password: str, timeout: float = CALL_SECONDS) -> None:
        """Make a user."""
        body = {"name": name, "password": password}
        self.gateway.call("/v3/auth/user/add", body, changes=True, timeout=timeout)

    def user_change_password(self, name: str, password: str, timeout: float = CALL_SECONDS) -> None:
        """Give a user another password; whoever logged in with the one before has to log in again."""
        body = {"name": name, "password": password}
        self.gateway.call("/v3/auth/user/changepw", body, changes=True, timeout=timeout)

    def accepted_password(self, timeout: float = CALL_SECONDS) -> str:
        """Return which of the passwords in this client's file etcd takes now."""
        return self.gateway.accepted_password(timeout)

    def user_grant(self, name: str, role: str, timeout: float = CALL_SECONDS) -> None:
        """Give a user a role; the role root may do everything."""
        self.gateway.call("/v3/auth/user/grant", {"user": name, "role": role}, changes=True, timeout=timeout)

    def role_add(self, name: str, timeout: float = CALL_SECONDS) -> None:
        """Make a role."""
        self.gateway.call("/v3/auth/role/add", {"name": name}, changes=True, timeout=timeout)

    def role_grant(self, name: str, key: bytes, end: bytes | None = None, timeout: float = CALL_SECONDS) -> None:
        """Let a role read and write a key or range."""
        permission = {"permType": "READWRITE", **_range(key, end)}
        self.gateway.call("/v3/auth/role/grant", {"name": name, "perm": permission}, changes=True, timeout=timeout)

    def auth_enable(self, timeout: float = CALL_SECONDS) -> None:
        """Let nobody in without user and password; user and role root must exist."""
        self.gateway.call("/v3/auth/enable", {}, changes=True, timeout=timeout)

    # upkeep

    def status(self, at: int, timeout: float = CALL_SECONDS) -> Status:
        """Ask one server, by the number of its endpoint, about itself."""
        answer = self.gateway.call("/v3/maintenance/status", {}, timeout=timeout, at=at)
        header, errors = answer["header"], tuple(answer.get("errors", ()))
        return Status(
            answer["version"], int(header["member_id"]), int(answer.get("leader", 0)),
            int(header.get("revision", 0)), int(answer.get("dbSize", 0)), errors,
        )  # fmt: skip

    def compact(self, revision: int, timeout: float = CALL_SECONDS) -> None:
        """Forget what keys were before a revision, unless that is so; their space is free when this returns."""
        body = {"revision": str(revision), "physical": True}
        try:
            self.gateway.call("/v3/kv/compaction", body, changes=True, timeout=timeout)
        except EtcdRefused as error:
            if "has been compacted" not in str(error):
                raise

    def defragment(self, at: int, timeout: float = _DEFRAGMENT_SECONDS) -> None:
        """Give free space of one server, by the number of its endpoint, back to its disk; it answers nothing then."""
        self.gateway.call("/v3/maintenance/defragment", {}, changes=True, timeout=timeout, at=at)

    def alarms(self, timeout: float = CALL_SECONDS) -> list[str]:
        """Return the alarms that are raised, such as NOSPACE."""
        return [str(alarm["alarm"]) for alarm in self._alarms(timeout)]

    def disarm(self, timeout: float = CALL_SECONDS) -> None:
        """Take back all alarms."""
        for alarm in self._alarms(timeout):
            body = {"action": "DEACTIVATE", **alarm}
            self.gateway.call("/v3/maintenance/alarm", body, changes=True, timeout=timeout)

    def _leader(self, timeout: float) -> int | None:
        """Return the number of the endpoint that leads, None when it does not answer."""
        for place in range(len(self.gateway.endpoints)):
            with contextlib.suppress(EtcdUnreachable, EtcdUncertain):
                told = self.status(place, timeout)
                if told.leader == told.member:
                    return place
        return None

    def _alarms(self, timeout: float) -> list[dict[str, Any]]:
        answer = self.gateway.call("/v3/maintenance/alarm", {"action": "GET"}, timeout=timeout)
        return [{"memberID": one["memberID"], "alarm": one["alarm"]} for one in answer.get("alarms", ())]

    def close(self) -> None:
        """Close all connections."""
        self.gateway.close()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _range(key: bytes, end: bytes | None) -> dict[str, Any]:
    return {"key": _text(key)} if end is None else {"key": _text(key), "range_end": _text(end)}


def _key_value(row: dict[str, Any]) -> KeyValue:
    value = base64.b64decode(row.get("value", ""))
    created, modified = int(row["create_revision"]), int(row["mod_revision"])
    return KeyValue(base64.b64decode(row["key"]), value, created, modified, int(row.get("lease", 0)))


def _event(row: dict[str, Any]) -> Event:
    told = row["kv"]
    value = None if row.get("type") == _EVENT_DELETE else base64.b64decode(told.get("value", ""))
    return Event(base64.b64decode(told["key"]), value, int(told["mod_revision"]))


def _member(row: dict[str, Any]) -> MemberRow:
    peers, clients = tuple(row.get("peerURLs", ())), tuple(row.get("clientURLs", ()))
    return MemberRow(int(row["ID"]), row.get("name", ""), peers, clients, row.get("isLearner", False))


def _revision(answer: dict[str, Any]) -> int:
    return int(answer.get("header", {}).get("revision", 0))
