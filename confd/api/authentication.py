"""Who calls? Passwords, tokens, sessions, socket users; runs on the master.

Verifying an argon2 hash costs tens of milliseconds on purpose. A verified login is therefore remembered for
a short time, under a keyed hash that covers the stored hash too: a change of the password empties it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import time
from collections.abc import Callable
from typing import Final

from confd.api.request import Credentials, Unauthorized
from confd.api.throttle import Throttle
from confd.exaconf import Conf, User
from confd.scheduler.caller import SYSTEM, Caller, caller_named
from confd.services.access.passwords import verify

_REMEMBERED_SECONDS: Final = 60.0
_REMEMBERED: Final = 10_000
_SESSION_SECONDS: Final = 12 * 3600
_NOBODYS: Final = "$argon2id$v=19$m=19456,t=2,p=1$FKbxTI33Cbnf4Y0jGv0mrw$EeAYlMhiUrlZA0GuAvBG32hqRNpgPFE3FQxaa4ZqRBg"
"""A hash that no password fits: an unknown user takes as long as a known one."""


class Authentication:
    """Tells callers from strangers.

    :param conf: gives the newest committed configuration.
    :param session_key: signs session tokens; the same on all nodes.
    """

    def __init__(self, conf: Callable[[], Conf], session_key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._conf, self._session_key, self._clock = conf, session_key, clock
        self._cache_key = os.urandom(32)
        self._verified: dict[bytes, float] = {}
        self._callers: dict[str, Caller] = {}
        self._callers_conf: Conf | None = None
        self._verifying: dict[bytes, asyncio.Future[None]] = {}
        self._throttle = Throttle(clock)

    async def caller(self, credentials: Credentials, peer: str) -> Caller:
        """Return who calls.

        :raises Unauthorized: nobody the cluster knows; slowed down after failures.
        """
        if credentials.kind == "basic":
            return await self._by_password(credentials, peer)
        if credentials.kind == "bearer":
            return await self._by_token(credentials.secret, peer)
        if credentials.kind == "socket":
            return self._by_socket(credentials)
        raise Unauthorized("this call needs a user and password, or a token")

    async def login(self, name: str, password: str, peer: str) -> str:
        """Check a password and return a session token, usable as Bearer for 12 hours."""
        caller = await self._by_password(Credentials("basic", name, password), peer)
        return self.session(caller)

    def session(self, caller: Caller) -> str:
        """Return a new session token for a caller of the configuration."""
        user = self._conf().users.get(caller.name)
        if user is None:
            raise Unauthorized(f"{caller.name} is no user of the cluster")
        expires = int(self._clock()) + _SESSION_SECONDS
        text = f"{user.name}\n{expires}"
        signature = self._signature(text, user)
        return "session-" + base64.urlsafe_b64encode(f"{text}\n{signature}".encode()).decode()

    async def _by_password(self, credentials: Credentials, peer: str) -> Caller:
        user = self._conf().users.get(credentials.name)
        mark = self._mark(user, credentials)
        if user is not None and user.login_enabled and self._is_remembered(mark):
            return self._caller_of(user.name)
        # Many connections that open at once with the same login are one attempt.
        verifying = self._verifying.get(mark)
        if verifying is None:
            verifying = asyncio.ensure_future(self._verify(credentials, peer, mark))
            self._verifying[mark] = verifying
            verifying.add_done_callback(lambda done: self._verifying.pop(mark, None))
        await asyncio.shield(verifying)
        return self._caller_of(credentials.name)

    async def _verify(self, credentials: Credentials, peer: str, mark: bytes) -> None:
        async with self._throttle.attempt(credentials.name, peer) as attempt:
            user = self._conf().users.get(credentials.name)
            stored = user.passwd.reveal() if user is not None and user.passwd is not None else ""
            right = await asyncio.to_thread(verify, stored or _NOBODYS, credentials.secret)
            may = user is not None and user.login_enabled and self._mark(user, credentials) == mark
            if not (stored and right and may):
                raise Unauthorized("user unknown, login disabled or password wrong")
            attempt.succeeded()
        self._remember(mark)

    async def _by_token(self, token: str, peer: str) -> Caller:
        wanted = self._conf().global_.authentication_token
        if wanted is not None and _same(wanted.reveal(), token):
            return SYSTEM
        name = self._session_user(token)
        if name is not None:
            return self._caller_of(name)
        async with self._throttle.attempt("bearer", peer):
            raise Unauthorized("the token is not valid, or no longer")

    def _caller_of(self, name: str) -> Caller:
        conf = self._conf()
        if conf is not self._callers_conf:
            self._callers_conf, self._callers = conf, {}
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = caller_named(conf, name)
        return caller

    def _by_socket(self, credentials: Credentials) -> Caller:
        if credentials.privileged:
            return SYSTEM
        user = self._conf().users.get(credentials.name)
        if user is None or not user.login_enabled:
            raise Unauthorized(f"{credentials.name} is no user of the cluster who may log in; user_create makes one")
        return self._caller_of(user.name)

    def _session_user(self, token: str) -> str | None:
        try:
            text = base64.urlsafe_b64decode(token.removeprefix("session-").encode()).decode()
            name, expires, signature = text.split("\n")
            expired = int(expires) < self._clock()
        except ValueError:
            return None
        user = self._conf().users.get(name)
        if user is None or not user.login_enabled or expired:
            return None
        return name if _same(self._signature(f"{name}\n{expires}", user), signature) else None

    def _signature(self, text: str, user: User) -> str:
        stored = user.passwd.reveal() if user.passwd is not None else ""
        return hmac.new(self._session_key, f"{text}\n{stored}".encode(), hashlib.sha256).hexdigest()

    def _mark(self, user: User | None, credentials: Credentials) -> bytes:
        stored = user.passwd.reveal() if user is not None and user.passwd is not None else ""
        text = f"{credentials.name}\0{stored}\0{credentials.secret}"
        # Made for every call: keyed BLAKE2 takes a tenth of the time of an HMAC with SHA-256.
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._cache_key, digest_size=32).digest()

    def _is_remembered(self, mark: bytes) -> bool:
        until = self._verified.get(mark)
        return until is not None and until > self._clock()

    def _remember(self, mark: bytes) -> None:
        if len(self._verified) >= _REMEMBERED:
            self._verified.clear()
        self._verified[mark] = self._clock() + _REMEMBERED_SECONDS


def _same(wanted: str, given: str) -> bool:
    # Headers that are no UTF-8 arrive with surrogates.
    return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "surrogateescape"))
