"""A method table on a scheduler without a network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from confd.api.authentication import Authentication
from confd.api.methods import Methods
from confd.api.request import Credentials, Request, Unauthorized
from confd.exaconf import Group, User
from confd.scheduler import registry
from confd.scheduler.caller import SYSTEM, Caller
from confd.scheduler.context import Context
from confd.scheduler.registry import MODIFY, READ, Allow, job
from tests.scheduler.world import World

ANYBODY = Allow(users=("root",), groups=("exausers", "exaadm"))
BOB = Caller("bob", 1002, 500, frozenset({"exausers"}))
PATIENCE = 20.0


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a test that needs a loop."""
    asyncio.run(asyncio.wait_for(coroutine, 60))


class Table:
    """The methods, and who calls them."""

    def __init__(self, root: Path) -> None:
        self.gate = threading.Event()
        self.world = World(root)
        self.master = self.world.master()
        self.authentication = Authentication(lambda: self.master.head.conf, b"k" * 32)
        self.methods = Methods(self.master.scheduler, self.authentication)
        self.callers = {"root": SYSTEM, "bob": BOB}
        self.authentication.caller = self._caller  # type: ignore[method-assign]
        self._numbers = iter(range(1, 10_000))

    async def _caller(self, credentials: Credentials, peer: str) -> Caller:
        if credentials.name not in self.callers:
            raise Unauthorized("who?")
        return self.callers[credentials.name]

    async def call(self, method: str, *params: Any, by: str = "root", **more: Any) -> Any:
        """Call a method."""
        job_id = more.pop("job_id", None) or f"11.{next(self._numbers)}"
        request = Request(method, params, Credentials("basic", by, ""), "10.0.0.1", 11, "xmlrpc", job_id, **more)
        return await self.methods.call(request)

    def close(self) -> None:
        """End everything."""
        self.gate.set()
        self.world.close()


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    """Give a method table with a few jobs."""
    monkeypatch.setattr(registry, "_JOBS", {})
    monkeypatch.setattr(registry, "load", lambda: dict(sorted(registry._JOBS.items())))
    made = Table(tmp_path)

    @job(READ, allow=ANYBODY)
    def user_names(ctx: Context) -> list[str]:
        """List users."""
        return sorted(ctx.conf.users)

    @job(MODIFY, allow=ANYBODY)
    def group_put(ctx: Context, name: str, *, wait: bool = False, timeout: int | None = None) -> str:
        """Put a group.

        :param name: its name
        :param wait: wait for the test
        :param timeout: not used
        """
        if wait:
            assert made.gate.wait(PATIENCE)
        ctx.conf.put(Group(name=name, id=77))
        return name

    @job(MODIFY, allow=Allow(users=("root",)))
    def user_put(ctx: Context) -> None:
        """Put a user."""
        ctx.conf.put(User(name="new", id=7, group="exaadm"))

    yield made
    made.close()
