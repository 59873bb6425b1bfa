"""What a job function works with: the configuration, commands, the outside world, its caller.

Everything a job takes from outside comes through its context, so that it can be run again after a crash
and be tried without effect (``dry_run``).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from confd.cluster.host import Cluster
from confd.cluster.operations import Command
from confd.exaconf import Conf, Draft
from confd.model.errors import Internal
from confd.model.secret import Secret, Vault
from confd.scheduler.caller import Caller
from confd.scheduler.steps import Steps
from confd.store.protocol import Store

NUMBERS = "numbers/"
"""Prefix of the runtime records that hold the next number of a series; also of learning one."""

R = TypeVar("R")
S = TypeVar("S")


class Peer(Protocol):
    """Where the call came from."""

    @property
    def address(self) -> str:
        """IP address of the client, ``unix`` for the node's socket."""

    @property
    def node(self) -> int:
        """Node that accepted the call."""


class Context:
    """Handed to every job function as first argument.

    ``conf`` is the configuration as the job sees it: its base revision and its own changes, made with
    ``conf.put(section)`` and ``conf.delete(key)``. ``committed`` is the base revision alone.
    """

    def __init__(
        self,
        job_id: str,
        caller: Caller,
        request: dict[str, Any],
        conf: Conf,
        records: dict[str, Any],
        steps: Steps,
        cluster: Cluster,
        store: Store,
        services: Callable[[type[Any]], Any],
        vault: Vault | None = None,
    ) -> None:
        self.job_id, self.caller, self.request = job_id, caller, request
        self.committed = conf
        self.conf = Draft(conf)
        self.cluster, self.store = cluster, store
        self.warnings: list[str] = []
        self.settling: list[Command[Any]] = []
        self.record_changes: dict[str, Any] = {}
        self._stamped: set[str] = set()
        self._records, self._steps, self._services = records, steps, services
        self._vault = vault

    def run(self, command: Command[R], undo: Command[Any] | None = None) -> R:
        """Run a creating command on its node; ``undo`` takes it back should the job fail later.

        :raises ConfDError: what the operation raised, NodeOffline when the node does not answer.
        """
        result: R = self._steps.run([(command, undo)])[0]
        return result

    def run_all(self, commands: Sequence[tuple[Command[R], Command[Any] | None]]) -> list[R]:
        """Run commands with their undos side by side; all are waited for before an error is raised."""
        return self._steps.run(commands)

    def settle(self, command: Command[Any]) -> None:
        """Have a destroying command run once the job can no longer go back; retried until it is done."""
        self.settling.append(command)

    def learn(self, what: str, ask: Callable[[], R]) -> R:
        """Ask the outside world once; a run after a crash gets the same answer (JSON-able values)."""
        result: R = self._steps.learn(what, ask)
        return result

    def now(self) -> float:
        """Return the time in UTC seconds."""
        return self.learn("time", time.time)

    def token(self, length: int = 32) -> str:
        """Return random text of hexadecimal digits."""
        return self.learn("random", lambda: secrets.token_hex((length + 1) // 2)[:length])

    def record(self, key: str) -> Any:
        """Return a runtime record with this job's own changes applied."""
        if key in self.record_changes:
            return self.record_changes[key]
        return self._records.get(key)

    def records(self, prefix: str) -> dict[str, Any]:
        """Return all runtime records below a prefix, with this job's own changes applied."""
        merged = {**self._records, **self.record_changes}
        return {key: value for key, value in merged.items() if key.startswith(prefix) and value is not None}

    def put_record(self, key: str, value: Any) -> None:
        """Change a runtime record together with the job's outcome; None deletes."""
        self.record_changes[key] = value

    def stamp_record(self, key: str) -> None:
        """Have a runtime record hold the revision that this job makes: ``{"revision": 7}``. It is known at the end."""
        self._stamped.add(key)

    def changed_records(self, revision: int | None) -> dict[str, Any]:
        """Return the runtime records that this job changes, given its revision; None when it makes none."""
        stamps = {} if revision is None else {key: {"revision": revision} for key in self._stamped}
        return self.record_changes | stamps

    def next_number(self, name: str, first: int) -> int:
        """Return the next of a never reused series of numbers (lock ``ids:<name>`` in the job)."""
        key = NUMBERS + name
        number = self.learn(key, lambda: max(self.record(key) or first, first))
        self.put_record(key, number + 1)
        return number

    def open_secret(self, sealed: str) -> Secret:
        """Open a secret that a runtime record holds sealed."""
        if self._vault is None:
            raise Internal("this job has no vault")
        return self._vault.open(sealed)

    def seal(self, what: str, secret: Secret) -> str:
        """Seal a secret for a command: nodes open it with their copy of the data key. A rerun gets the same text."""
        vault = self._vault
        if vault is None:
            raise Internal("this job has no vault")
        return self.learn(f"sealed {what}", lambda: vault.seal(secret))

    def warn(self, text: str) -> None:
        """Add a warning to the job's envelope."""
        self.warnings.append(text)

    def service(self, kind: type[S]) -> S:
        """Return the one long-lived service object of a class."""
        found: S = self._services(kind)
        return found
