"""Who calls is told from what he sends, and forgotten when it is no longer so."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from confd.api import authentication, throttle
from confd.api.authentication import Authentication
from confd.api.request import Credentials, Unauthorized
from confd.exaconf import Conf, Global, Group, User
from confd.model.secret import Secret
from confd.scheduler.caller import SYSTEM, Caller

USERS = [
    User(name="ann", id=1001, group="exausers", additional_groups=("exaadm",), passwd=Secret("hash:pw")),
    User(name="off", id=1002, group="exausers", passwd=Secret("hash:pw"), login_enabled=False),
    User(name="keys", id=1003, group="exausers"),
]


class World:
    """A configuration that changes, a clock that is set, and a verification that is counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sections = [Global(authentication_token=Secret("tökn")), Group(name="exausers", id=500), *USERS]
        self.conf = Conf(1, {section.key: section for section in sections})
        self.now = 1_000.0
        self.verified: list[str] = []
        self.slept: list[float] = []
        self.gate: asyncio.Event | None = None
        monkeypatch.setattr(authentication, "verify", self._verify)
        monkeypatch.setattr(throttle.asyncio, "sleep", self._sleep)
        self.authentication = Authentication(lambda: self.conf, b"k" * 32, lambda: self.now)

    def _verify(self, stored: str, password: str) -> bool:
        self.verified.append(password)
        return stored == f"hash:{password}"

    async def _sleep(self, seconds: float) -> None:
        if seconds:
            self.slept.append(seconds)
        if self.gate is not None:
            await self.gate.wait()

    def put(self, name: str, **changes: Any) -> None:
        """Change a user."""
        user = msgspec.structs.replace(self.conf.users[name], **changes)
        self.conf = self.conf.with_changes({user.key: user}, self.conf.revision + 1)

    async def password(self, name: str, password: str, peer: str = "10.0.0.1") -> Caller:
        """Call with a password."""
        return await self.authentication.caller(Credentials("basic", name, password), peer)

    async def token(self, token: str) -> Caller:
        """Call with a token."""
        return await self.authentication.caller(Credentials("bearer", secret=token), "10.0.0.1")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Give a cluster with users."""
    return World(monkeypatch)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a test that needs a loop."""
    asyncio.run(asyncio.wait_for(coroutine, 30))


async def refused(coroutine: Coroutine[Any, Any, Caller]) -> str:
    """Return with which words a caller is refused."""
    with pytest.raises(Unauthorized) as caught:
        await coroutine
    return str(caught.value)


def test_a_password_tells_who_calls(world: World) -> None:
    """With all his groups."""

    async def test() -> None:
        assert await world.password("ann", "pw") == Caller("ann", 1001, 500, frozenset({"exausers", "exaadm"}))

    run(test())


@pytest.mark.parametrize(("name", "password"), [("ann", "no"), ("nobody", "pw"), ("off", "pw"), ("keys", ""), ("", "")])
def test_others_are_refused_in_the_same_words(world: World, name: str, password: str) -> None:
    """Nobody learns which part was wrong."""
    run(_check_same(world, name, password))


async def _check_same(world: World, name: str, password: str) -> None:
    assert await refused(world.password(name, password)) == "user unknown, login disabled or password wrong"


def test_a_verified_login_is_remembered_for_a_minute(world: World) -> None:
    """The costly check happens once; not for another password, user or later."""

    async def test() -> None:
        for _ in range(5):
            await world.password("ann", "pw")
        assert world.verified == ["pw"]
        await refused(world.password("ann", "pw2"))
        await refused(world.password("off", "pw"))
        world.now += 61
        await world.password("ann", "pw")
        assert world.verified == ["pw", "pw2", "pw", "pw"]

    run(test())


def test_a_change_of_the_user_empties_what_is_remembered(world: World) -> None:
    """A new password, a disabled login and a deleted user count at once."""

    async def test() -> None:
        await world.password("ann", "pw")
        world.put("ann", passwd=Secret("hash:new"))
        await refused(world.password("ann", "pw"))
        await world.password("ann", "new")
        world.put("ann", login_enabled=False)
        await refused(world.password("ann", "new"))
        world.put("ann", login_enabled=True)
        assert (await world.password("ann", "new")).name == "ann"
        world.put("ann", group="exaadm", additional_groups=())
        assert (await world.password("ann", "new")).groups == {"exaadm"}
        world.conf = world.conf.with_changes({"Users : ann": None}, 99)
        await refused(world.password("ann", "new"))

    run(test())


@pytest.mark.parametrize("change", ["password", "disabled", "deleted"])
def test_a_change_while_an_attempt_waits_counts(world: World, change: str) -> None:
    """The password that was right when the attempt came may be wrong when its turn has come."""

    async def test() -> None:
        world.gate = asyncio.Event()
        attempt = asyncio.create_task(world.password("ann", "pw"))
        while not world.authentication._throttle._records:
            await _turn()
        if change == "password":
            world.put("ann", passwd=Secret("hash:new"))
        elif change == "disabled":
            world.put("ann", login_enabled=False)
        else:
            world.conf = world.conf.with_changes({"Users : ann": None}, 99)
        world.gate.set()
        await refused(attempt)  # type: ignore[arg-type]

    run(test())


async def _turn() -> None:
    """Let others go on."""
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    loop.call_soon(turn.set_result, None)
    await turn


def test_equal_logins_at_once_are_one_attempt(world: World) -> None:
    """Many connections of one client verify once."""

    async def test() -> None:
        callers = await asyncio.gather(*(world.password("ann", "pw") for _ in range(30)))
        assert {caller.name for caller in callers} == {"ann"}
        assert world.verified == ["pw"]

    run(test())


def test_the_clusters_token_acts_for_the_cluster(world: World) -> None:
    """It is root; any other token is nobody."""

    async def test() -> None:
        assert await world.token("tökn") == SYSTEM
        for wrong in ("", "tokn", "tökn ", "session-", "session-x", "\udcff", "session-\udcff", "é" * 5_000):
            assert "not valid" in await refused(world.token(wrong))

    run(test())


def test_a_session_lasts_twelve_hours(world: World) -> None:
    """It stands for its user, without a check of the password."""

    async def test() -> None:
        token = await world.authentication.login("ann", "pw", "10.0.0.1")
        world.now += 12 * 3600 - 1
        assert (await world.token(token)).name == "ann"
        assert len(world.verified) == 1
        world.now += 2
        assert "no longer" in await refused(world.token(token))

    run(test())


def test_a_session_ends_with_the_password_the_login_and_the_user(world: World) -> None:
    """And is good on every node that shares the key."""

    async def test() -> None:
        caller = await world.password("ann", "pw")
        token = world.authentication.session(caller)
        other = Authentication(lambda: world.conf, b"k" * 32, lambda: world.now)
        assert (await other.caller(Credentials("bearer", secret=token), "x")).name == "ann"
        stranger = Authentication(lambda: world.conf, b"x" * 32, lambda: world.now)
        await refused(stranger.caller(Credentials("bearer", secret=token), "x"))
        world.put("ann", passwd=Secret("hash:new"))
        await refused(world.token(token))
        token = world.authentication.session(caller)
        world.put("ann", login_enabled=False)
        await refused(world.token(token))
        world.conf = world.conf.with_changes({"Users : ann": None}, 99)
        await refused(world.token(token))
        with pytest.raises(Unauthorized):
            world.authentication.session(caller)

    run(test())


@pytest.mark.parametrize(
    "text",
    [
        "ann\n9999999999\né",
        "ann\n9999999999\n",
        "ann\nx\ny",
        "ann",
        "\n\n",
        "root\n9999999999\nabc",
        "ann\n" + "9" * 6_000 + "\nx",
    ],
)
def test_a_forged_session_is_refused(world: World, text: str) -> None:
    """Whatever it holds; it costs an attempt."""

    async def test() -> None:
        forged = "session-" + base64.urlsafe_b64encode(text.encode()).decode()
        assert "not valid" in await refused(world.token(forged))

    run(test())


def test_socket_users_are_known_by_the_kernel(world: World) -> None:
    """Root and the daemon's own user act as root, others under their names."""

    async def test() -> None:
        def caller(name: str, privileged: bool = False) -> Coroutine[Any, Any, Caller]:
            return world.authentication.caller(Credentials("socket", name, privileged=privileged), "unix")

        assert await caller("whoever", privileged=True) == SYSTEM
        assert (await caller("ann")).uid == 1001
        assert (await caller("keys")).name == "keys"
        assert "user_create" in await refused(caller("stranger"))
        await refused(caller("off"))

    run(test())


@pytest.mark.parametrize("kind", ["none", "digest", ""])
def test_without_credentials_nobody_calls(world: World, kind: str) -> None:
    """The answer says what is needed."""

    async def test() -> None:
        assert "password, or a token" in await refused(world.authentication.caller(Credentials(kind), "x"))

    run(test())


def test_guessing_is_slowed_down_for_user_and_address(world: World) -> None:
    """After three failures each attempt waits, longer each time; another user at another address does not."""

    async def test() -> None:
        for _ in range(6):
            await refused(world.password("ann", "no"))
        assert world.slept == [0.25, 0.5, 1.0]
        world.slept.clear()
        await refused(world.password("ann", "no", "10.0.0.2"))
        await refused(world.password("bob", "no"))
        assert world.slept == [2.0, 2.0]
        world.slept.clear()
        await refused(world.password("bob", "no", "10.0.0.3"))
        assert world.slept == []
        await world.password("ann", "pw")
        world.slept.clear()
        await refused(world.password("ann", "no"))
        assert world.slept == []

    run(test())


def test_credentials_do_not_print_their_secret() -> None:
    """A log line cannot give it away."""
    assert "hunter2" not in repr(Credentials("basic", "ann", "hunter2"))
