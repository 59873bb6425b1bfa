"""The door for nodes that join: the one part of the node port that is open without a certificate.

What is said there: ``join_messages``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from confd import __version__
from confd.cluster.joining.messages import Hall, JoinRequest, Refusal
from confd.model.errors import ConfDError, Internal, InvalidParameter, TimedOut

log = structlog.get_logger("joining")

_MOST_BYTES: Final = 16 * 1024
_READ_SECONDS: Final = 5.0
_MOST_AT_ONCE: Final = 4

Admit = Callable[[Any], Awaitable[Any]]
"""Lets a node in: takes and gives what travels, as built-in values."""


class Door:
    """Answers who knocks."""

    def __init__(self, authority: Path, admit: Admit) -> None:
        self._authority, self._admit = authority, admit
        self._inside = 0

    async def look(self, request: web.Request) -> web.Response:
        """Tell what anybody may know."""
        authority = await asyncio.to_thread(self._authority.read_text)
        return _json(Hall(authority=authority, now=time.time(), version=__version__))

    async def knock(self, request: web.Request) -> web.Response:
        """Let a node in, or say why not."""
        if self._inside >= _MOST_AT_ONCE:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="other nodes are joining; try again")
        self._inside += 1
        try:
            answer = await self._admit(await _read(request))
            log.info("node_let_in", peer=request.remote)
            return _json(answer)
        except ConfDError as error:
            log.warning("node_not_let_in", peer=request.remote, error=error.message)
            return _json(Refusal(error.code, error.message), HTTPStatus.FORBIDDEN)
        except Exception as error:
            log.exception("join_failed", peer=request.remote)
            text = f"joining failed inside ConfD: {type(error).__name__}; see the log of the master"
            return _json(Refusal(Internal.code, text), HTTPStatus.INTERNAL_SERVER_ERROR)
        finally:
            self._inside -= 1


async def _read(request: web.Request) -> Any:
    if (request.content_length or _MOST_BYTES + 1) > _MOST_BYTES:
        raise InvalidParameter("this is no request to join")
    try:
        async with asyncio.timeout(_READ_SECONDS):
            body = await request.content.readexactly(request.content_length or 0)
        return msgspec.to_builtins(msgspec.json.decode(body, type=JoinRequest))
    except (msgspec.DecodeError, asyncio.IncompleteReadError):
        raise InvalidParameter("this is no request to join; both sides need the same version") from None
    except TimeoutError:
        raise TimedOut("the request to join did not arrive in time") from None


def _json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", status=status)
