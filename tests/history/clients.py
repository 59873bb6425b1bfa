"""Clients that write and read over any node, and note what they asked for and what they were told."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from confd.cli.connection import CallRefused
from confd.cli.exits import CommandError, ConnectionLost
from confd.model.errors import NoMaster, NotFound
from tests.history.daemons import CALL_SECONDS, Daemons
from tests.history.events import Operation, Outcome

DOMAINS: Final = "domains"
"""One register for all clients."""
GROUPS: Final = "group/"
"""Registers that are written once, beside each other."""
VOLUMES: Final = "volume/"
"""Registers with commands on nodes behind them: what is made on several, undone there, and deleted as a debt."""
THERE: Final = "there"
"""The value of a volume that exists."""
_RECENT: Final = 6

Params = dict[str, Any]


class Names:
    """What the clients have made so far, for all of them to read."""

    def __init__(self) -> None:
        self.groups = [GROUPS + "none"]
        self.volumes = [VOLUMES + "none"]


class Client(threading.Thread):
    """Writes and reads over any node until told to end."""

    def __init__(
        self, daemons: Daemons, number: int, dice: random.Random, names: Names, ended: threading.Event
    ) -> None:
        super().__init__(daemon=True, name=f"client{number}")
        self._daemons, self._number, self._dice, self._names, self._ended = daemons, number, dice, names, ended
        self._volumes: list[str] = []
        self.operations: list[Operation] = []
        self.odd: list[str] = []

    def run(self) -> None:
        """Work."""
        turns: list[Callable[[int, str], None]] = [
            self._write_domains, self._create_group, self._create_volume, self._delete_volume,
            self._read_domains, self._read_group, self._read_volume,
        ]  # fmt: skip
        turn = 0
        while not self._ended.is_set():
            turn += 1
            (chosen,) = self._dice.choices(turns, (20, 15, 12, 10, 18, 12, 13))
            chosen(self._any_node(), f"h{self._number}x{turn}x{time.time_ns() % 10**9}")

    def _write_domains(self, node: int, name: str) -> None:
        value = f"{name}.example"
        self._write(node, DOMAINS, value, "general_settings", {"changes": {"Global": {"SearchDomains": value}}})

    def _create_group(self, node: int, name: str) -> None:
        number = 100_000 + time.time_ns() % 1_000_000_000
        self._names.groups.append(GROUPS + name)
        self._write(node, GROUPS + name, str(number), "group_create", {"groupname": name, "groupid": number})

    def _create_volume(self, node: int, name: str) -> None:
        nodes = self._dice.sample(list(self._daemons.cluster.addresses), 2)
        self._names.volumes.append(VOLUMES + name)
        params = {"name": name, "type": "data", "disk": "disk1", "size": "4 MiB", "nodes": nodes, "redundancy": 2}
        if self._write(node, VOLUMES + name, THERE, "st_volume_create", params) is Outcome.OK:
            self._volumes.append(name)

    def _delete_volume(self, node: int, name: str) -> None:
        """Delete a volume that is certainly there; whatever comes of it, nobody tries again."""
        if not self._volumes:
            self._create_volume(node, name)
            return
        gone = self._volumes.pop(self._dice.randrange(len(self._volumes)))
        self._write(node, VOLUMES + gone, None, "st_volume_delete", {"vname": gone})

    def _read_domains(self, node: int, name: str) -> None:
        sections = {"sections": {"Global": ["SearchDomains"]}}
        self._read(node, DOMAINS, "settings_list", sections, lambda output: output["Global"]["SearchDomains"])

    def _read_group(self, node: int, name: str) -> None:
        register = self._dice.choice(self._names.groups[-_RECENT:])
        params = {"groupname": register.removeprefix(GROUPS)}
        self._read(node, register, "group_info", params, lambda output: str(output["id"]))

    def _read_volume(self, node: int, name: str) -> None:
        register = self._dice.choice(self._names.volumes[-_RECENT:])
        self._read(node, register, "st_volume_info", {"vname": register.removeprefix(VOLUMES)}, lambda output: THERE)

    def _write(self, node: int, register: str, value: str | None, job: str, params: Params) -> Outcome:
        began, job_id, outcome = time.monotonic(), "", Outcome.UNKNOWN
        connection = self._daemons.connection(node)
        try:
            answer = connection.call("job_start", job, {"params": params})
            if isinstance(answer, str):
                job_id = answer
                outcome = self._outcome(job_id)
        except ConnectionLost:
            pass
        except CallRefused as refused:
            outcome = Outcome.UNKNOWN if refused.code == NoMaster.code else Outcome.FAIL
        except CommandError:
            outcome = Outcome.FAIL
        finally:
            connection.close()
        self.operations.append(
            Operation(self._number, node, register, True, value, began, time.monotonic(), outcome, job_id)
        )
        return outcome

    def _outcome(self, job_id: str) -> Outcome:
        """Ask over any node how a job ended."""
        connection = self._daemons.connection(self._any_node())
        try:
            if not connection.call("job_wait", job_id, {"timeout": CALL_SECONDS / 2}):
                return Outcome.UNKNOWN
            result = connection.call("job_result", job_id)
            if not result:
                self.odd.append(f"{job_id} has ended and has no result, says {connection.place}")
                return Outcome.UNKNOWN
            code = result["result_code"]
        except CommandError:
            return Outcome.UNKNOWN
        finally:
            connection.close()
        if code == NoMaster.code:
            return Outcome.UNKNOWN
        return Outcome.FAIL if code else Outcome.OK

    def _read(self, node: int, register: str, job: str, params: Params, value_of: Callable[[Any], str]) -> None:
        began = time.monotonic()
        connection = self._daemons.connection(node)
        try:
            answer = connection.call("job_exec", job, {"params": params})
        except CommandError:
            return
        finally:
            connection.close()
        code = answer["result_code"]
        if code not in (0, NotFound.code):
            return
        value = None if code else value_of(answer["result_output"]) or None
        self.operations.append(
            Operation(
                self._number, node, register, False, value, began, time.monotonic(), Outcome.OK,
                stale="result_stale" in answer,
            )
        )  # fmt: skip

    def _any_node(self) -> int:
        return self._dice.choice(list(self._daemons.cluster.addresses))
