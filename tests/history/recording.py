"""A run: clients work while nodes fail; what they saw and what is there in the end is one history."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from tests.cluster.harness import until
from tests.history.clients import DOMAINS, GROUPS, VOLUMES, Client, Names
from tests.history.collecting import collect, settled
from tests.history.daemons import Daemons
from tests.history.events import History, Operation, Outcome

_CLIENTS: Final = 5
_SHORT: Final = (0.02, 0.3, 1.0, 4.0)
_LASTING: Final = (4.0, 8.0)
"""Longer than any lease, so that mastership goes to another node."""
_ENOUGH_SECONDS: Final = 180.0


class Length(msgspec.Struct, frozen=True):
    """How long a run takes, and what must have been acknowledged in it so that it says something.

    ``each``: writes and reads of each kind of register; ``lasting`` is the share of outages that last.
    """

    seconds: float
    each: int
    lasting: float


SHORT: Final = Length(seconds=2.0, each=2, lasting=0.0)
LONG: Final = Length(seconds=60.0, each=15, lasting=0.25)


def record(daemons: Daemons, seed: int, length: Length) -> History:
    """Let clients work while nodes fail, repair everything, and return what was seen and what is there."""
    print(f"seed {seed}, partitions by {daemons.partitions.kind}")
    dice, ended, names = random.Random(seed), threading.Event(), Names()
    clients = [Client(daemons, number, random.Random(seed * 100 + number), names, ended) for number in range(_CLIENTS)]
    before = collect(daemons.cluster, 11)
    start = {
        name: value for revision in before.revisions for name, value in revision.values.items() if value is not None
    }
    for client in clients:
        client.start()
    try:
        daemons.change_master()
        _mayhem(daemons, dice, length, clients)
        with contextlib.suppress(AssertionError):
            until(lambda: not _lacking(_operations(clients), length), "enough is acknowledged", _ENOUGH_SECONDS)
        assert not (lacking := _lacking(_operations(clients), length)), f"hardly acknowledged: {lacking}"
    finally:
        ended.set()
        daemons.repair()
        for client in clients:
            client.join(90)
    assert not any(client.is_alive() for client in clients), "a call hangs"
    assert not (odd := [text for client in clients for text in client.odd]), odd
    history = History(tuple(_operations(clients)), settled(daemons.cluster, len(before.revisions)), start)
    _tell(history, before.terms)
    _clear(daemons)
    return history


def _mayhem(daemons: Daemons, dice: random.Random, length: Length, clients: list[Client]) -> None:
    over = time.monotonic() + length.seconds
    while time.monotonic() < over:
        done = len(_operations(clients))
        until(lambda done=done: len(_operations(clients)) >= done + 10, "clients get on", _ENOUGH_SECONDS)
        for _ in range(dice.choice((1, 1, 2))):
            event, drawn = dice.choice(daemons.events), dice.choice([None, *daemons.cluster.addresses])
            # What strikes the master shows most.
            node = drawn or daemons.master() or 11
            lasts = dice.uniform(*_LASTING) if dice.random() < length.lasting else dice.choice(_SHORT) * dice.random()
            print(f"  {event.__name__} n{node} {lasts:.2f} s")
            event(node)
            # How long it lasts is the random input of this test, not a wait for something.
            time.sleep(lasts)
        daemons.repair()


def _operations(clients: Iterable[Client]) -> list[Operation]:
    return [one for client in clients for one in client.operations.copy()]


def _lacking(operations: Iterable[Operation], length: Length) -> list[str]:
    """Name what was not acknowledged often enough: writes of each kind, deletions, fresh reads."""
    done = Counter(_kind(one) for one in operations if one.outcome is Outcome.OK and not one.stale)
    wanted = [f"{verb} {kind}" for kind in (DOMAINS, GROUPS, VOLUMES) for verb in ("write", "read")]
    return [kind for kind in (*wanted, f"delete {VOLUMES}") if done[kind] < length.each]


def _kind(one: Operation) -> str:
    register = next(kind for kind in (DOMAINS, GROUPS, VOLUMES) if one.register.startswith(kind))
    return f"{('delete' if one.value is None else 'write') if one.writes else 'read'} {register}"


def _tell(history: History, terms: frozenset[tuple[int, int]]) -> None:
    """Print what the run was; without a change of master it would say little."""
    leaders = sorted({pair for node in history.nodes.values() for pair in node.terms} - terms)
    told = Counter(f"{_kind(one)}: {one.outcome}{' stale' if one.stale else ''}" for one in history.operations)
    print(
        f"  {dict(sorted(told.items()))}\n  new masters: {', '.join(f'n{leader} in {term}' for term, leader in leaders)}"
    )
    _, last = max(terms)
    assert any(leader != last for _, leader in leaders), "no other node became master"


def _clear(daemons: Daemons) -> None:
    """Delete the volumes that are left, for the next run to have room."""
    connection = daemons.connection(11)
    for volume in connection.call("job_exec", "st_volume_list")["result_output"]:
        answer = connection.call("job_exec", "st_volume_delete", {"params": {"vname": volume["name"]}})
        assert answer["result_code"] == 0, answer
    connection.close()
