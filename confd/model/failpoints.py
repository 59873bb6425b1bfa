"""Failpoints: named moments at which a test has this process die, stop, fail or wait.

Code says where it is with ``reach(Failpoint.FINISHED)``, which does nothing unless a test has given orders: in its own
process with ``install``, for a daemon in the environment it is started with::

    CONFD_FAILPOINTS=finished=exit@2,undo-due=wait:/tmp/go

which kills the daemon when it comes to ``finished`` for the second time, and holds it at ``undo-due`` until ``/tmp/go``
exists. An order is carried out once. ``CONFD_FAILPOINTS=@/tmp/orders`` has the orders in a file, which may be written
anew while the daemon runs: it counts from one again then. What it comes to is listed in ``/tmp/orders.arrivals``.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

VARIABLE: Final = "CONFD_FAILPOINTS"
"""Environment variable with the orders for a daemon."""

ARRIVALS: Final = ".arrivals"
"""Added to the name of a file with orders: where the daemon lists what it comes to."""

_LOOK_SECONDS: Final = 0.01


class Failpoint(StrEnum):
    """A moment: what has happened is durable or sent, what is named next is not."""

    # The way of a job, on the master.
    ADMIT = "admit"
    """A call was authorised; nothing of it is recorded."""
    SUBMITTED = "submitted"
    """The job is recorded; it has no locks."""
    SCHEDULED = "scheduled"
    """It has its locks; its function has not run."""
    LEARNED = "learned"
    """Something that it asked for is recorded."""
    COMMAND_RECORDED = "command-recorded"
    """Its commands are durable; none is sent."""
    COMMAND_SENT = "command-sent"
    """A command is sent; its answer is not here."""
    COMMAND_ANSWERED = "command-answered"
    """A command answered; the answer is not recorded."""
    RESULT_RECORDED = "result-recorded"
    """The answer is recorded; the function has not got it."""
    EXECUTED = "executed"
    """The function returned; nothing is committed."""
    ORDERED = "ordered"
    """The revision has its place in the order; it is not known to be durable."""
    FINISHED = "finished"
    """Outcome and revision are durable; nobody sees them."""
    DISTRIBUTED = "distributed"
    """All live nodes have written the revision; nothing is settled."""
    DEBT_DUE = "debt-due"
    """A destroying command is about to be sent."""
    DEBT_PAID = "debt-paid"
    """It ran; its debt is still recorded."""
    SETTLED = "settled"
    """Everything is done; the job is not recorded as committed."""
    COMMITTED = "committed"
    """It is; its caller is not told."""
    # The way back.
    GOING_BACK = "going-back"
    """The job failed; nothing of that is recorded."""
    BACK_RECORDED = "back-recorded"
    """It is durable that the job goes back; no undo is sent."""
    UNDO_DUE = "undo-due"
    """An undo is about to be sent."""
    UNDO_DONE = "undo-done"
    """It ran; that is not recorded."""
    UNDONE = "undone"
    """All undos ran; the outcome is not recorded."""
    FAILED = "failed"
    """The outcome is durable; its caller is not told."""
    # The journal of a master and of a node that follows.
    ETCD_DUE = "etcd-due"
    """Records are about to be written to etcd, with etcd as the store."""
    SPREAD_DUE = "spread-due"
    """Changes too many for one transaction are durable in etcd under one key; some of theirs are about to follow."""
    JOURNAL_DUE = "journal-due"
    """Records are about to be written to the node's own file; with etcd as the store they are durable there."""
    JOURNAL_WRITTEN = "journal-written"
    """They are durable; nobody is told."""
    COPY_DUE = "copy-due"
    """Records of the master are about to be written on a node."""
    COPY_WRITTEN = "copy-written"
    """They are durable there; nobody is told."""
    # Nodes.
    RUN_DUE = "run-due"
    """A command of a job is about to run on this node."""
    RUN_DONE = "run-done"
    """It ran; its result is not kept."""
    RUN_KEPT = "run-kept"
    """Its result is kept; it is not answered."""
    APPEND_DUE = "append-due"
    """Records are about to be sent to a node."""
    ACKNOWLEDGED = "acknowledged"
    """A node said that it has written a revision; others may not have."""
    EXACONF_DUE = "exaconf-due"
    """EXAConf is about to be written on this node."""
    EXACONF_WRITTEN = "exaconf-written"
    """It is; nobody is told."""
    # Hand-over of mastership.
    TERM_DUE = "term-due"
    """This node is about to record that it leads."""
    TERM_RECORDED = "term-recorded"
    """It is durable that this node leads; it does not act yet."""
    GATHERED = "gathered"
    """The nodes are connected; jobs of the last master do not go on yet."""
    RECOVERED = "recovered"
    """They do; new calls are not answered yet."""
    GIVING = "giving"
    """It is durable to which node mastership goes; this one has not resigned."""
    GIVEN = "given"
    """This node has resigned, and the other one has the journal; it is not told to lead."""
    VACATED = "vacated"
    """It is told, by etcd: nobody holds mastership, and the other one does not lead yet."""
    RESIGNING = "resigning"
    """This node is about to give up mastership."""
    RESIGNED = "resigned"
    """It has; jobs on their way are left to the next master."""
    # The cluster moves into another store.
    COPIED = "copied"
    """The other store holds what this one does; this one counts."""
    SWITCHED = "switched"
    """It is durable that the other one counts; no other node knows."""
    ADOPTED = "adopted"
    """This node will use the other one from its next start on; it still runs in this one."""


class FailpointReached(Exception):
    """A test wants the code to fail here."""


class Order(msgspec.Struct, frozen=True):
    """What to do at the ``count``-th arrival at a point; ``go`` is the file that ends a wait."""

    point: Failpoint
    action: str
    count: int = 1
    go: str = ""

    def __str__(self) -> str:
        """Return the order as it is given."""
        return f"{self.point}={self.action}{f':{self.go}' if self.go else ''}@{self.count}"


Hook = Callable[[Failpoint], None]
_hook: Hook | None = None


def reach(point: Failpoint) -> None:
    """Say that the code has come to a point."""
    if _hook is not None:
        _hook(point)


def install(hook: Hook | None) -> None:
    """Have a test hear of every arrival, in the thread that arrives; None ends it."""
    global _hook
    _hook = hook


def obey(text: str) -> None:
    """Carry out orders from here on; nothing when the text is empty.

    :raises ValueError: they cannot be read; says which.
    """
    if text.startswith("@"):
        install(_FileOfOrders(Path(text[1:])))
    elif orders := parse(text):
        install(_Orders(orders))


def parse(text: str) -> list[Order]:
    """Read orders: ``point=action[@count]``, separated by commas.

    :raises ValueError: they cannot be read; says which.
    """
    return [_parsed(one.strip()) for one in text.split(",") if one.strip()]


def _parsed(text: str) -> Order:
    name, _, order = text.partition("=")
    order, _, count = order.partition("@")
    action, _, go = order.partition(":")
    try:
        point, number = Failpoint(name), int(count or 1)
    except ValueError as error:
        raise ValueError(f"{text!r} in {VARIABLE} is no order: {error}") from None
    if action not in _ACTIONS or number < 1 or (action == "wait") != bool(go):
        actions = ", ".join(_ACTIONS)
        raise ValueError(f"{text!r} in {VARIABLE} is no order: there are {actions} (as wait:FILE), @1 and more")
    return Order(point, action, number, go)


class _Orders:
    """Counts arrivals and carries out each order once."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self._left = list(orders)
        self._arrivals: dict[Failpoint, int] = {}
        self._lock = threading.Lock()

    def __call__(self, point: Failpoint) -> None:
        with self._lock:
            count = self._arrivals[point] = self._arrivals.get(point, 0) + 1
            due = [order for order in self._left if (order.point, order.count) == (point, count)]
            self._left = [order for order in self._left if order not in due]
        for order in due:
            _ACTIONS[order.action](order)


class _FileOfOrders:
    """Obeys what stands in a file at the moment of an arrival."""

    def __init__(self, path: Path) -> None:
        self._path, self._arrivals = path, path.with_name(path.name + ARRIVALS)
        self._text, self._orders = "", _Orders([])
        self._lock = threading.Lock()

    def __call__(self, point: Failpoint) -> None:
        with self._lock:
            text = self._path.read_text() if self._path.exists() else ""
            if text != self._text:
                self._text, self._orders = text, _Orders(parse(text))
            with self._arrivals.open("a") as file:
                file.write(f"{point}\n")
            orders = self._orders
        orders(point)


def _exit(order: Order) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _pause(order: Order) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise(order: Order) -> None:
    raise FailpointReached(str(order))


def _wait(order: Order) -> None:
    while not Path(order.go).exists():
        time.sleep(_LOOK_SECONDS)


_ACTIONS: Final[dict[str, Callable[[Order], None]]] = {"exit": _exit, "pause": _pause, "raise": _raise, "wait": _wait}
