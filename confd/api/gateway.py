"""Every node takes calls: answers them when it is master, passes them on to the master when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from confd.api.methods import WITH_JOB_ID, is_dry
from confd.api.request import WRONG_ARGUMENTS, Credentials, Fault, Request, Unauthorized
from confd.cluster.counter import Counter
from confd.model.envelope import failure
from confd.model.errors import ConfDError, LimitExceeded, LoginFailed, NodeOffline, NoMaster

_RETRY_SECONDS: Final = 0.25
_GIVE_UP_SECONDS: Final = 20.0
_SERVED_SECONDS: Final = 3.0
_MULTICALL: Final = "system.multicall"
_LOGIN: Final = "user_login"
_MULTICALL_LIMIT: Final = 1_000

Forward = Callable[[str, Any], Awaitable[Any]]


class Answering(Protocol):
    """The method table of the master."""

    async def call(self, request: Request) -> Any:
        """Answer one call."""


class Gateway:
    """Takes calls from this node's clients.

    :param answering: the method table while this node is master, else None.
    :param forward: calls a method of the master's node port; NodeOffline when it cannot be reached.
    :param stand_in: the method table while nobody is master, which knows this node's copy only, else None.
    :param advice: says what to do while no master answers; empty when the errors of ``forward`` do.
    :param retry: seconds between two tries to reach the master.
    :param patience: seconds after which a call is given up.
    """

    def __init__(
        self,
        node: int,
        counter: Counter,
        answering: Callable[[], Answering | None],
        forward: Forward,
        retry: float = _RETRY_SECONDS,
        patience: float = _GIVE_UP_SECONDS,
        stand_in: Callable[[], Answering | None] = lambda: None,
        advice: Callable[[], str] = lambda: "",
    ) -> None:
        self._advice = advice
        self._stand_in = stand_in
        self._node, self._counter = node, counter
        self._answering, self._forward = answering, forward
        self._retry, self._patience = retry, patience

    async def call(
        self, method: str, params: tuple[Any, ...], credentials: Credentials, peer: str, protocol: str
    ) -> Any:
        """Answer a client's call.

        :raises Fault: the call is wrong as a call.
        :raises Unauthorized: the caller is not known.
        """
        if method == _MULTICALL:
            return await self._many(params, credentials, peer, protocol)
        needs_id = method in WITH_JOB_ID and not (len(params) > 1 and is_dry(params[1]))
        job_id = f"{self._node}.{self._next_number()}" if needs_id else ""
        request = Request(method, params, credentials, peer, self._node, protocol, job_id)
        return await self._answer(request)

    def _next_number(self) -> int:
        try:
            return self._counter.next()
        except OSError as error:
            text = f"this node cannot write the counter of its job ids ({error}); free some space, then call again"
            raise Fault(LimitExceeded.code, text) from None

    async def take(self, body: Any) -> Any:
        """Answer a call that another node passed on (method ``api`` of the node port)."""
        answering = self._answering()
        if answering is None:
            raise NoMaster(f"n{self._node} is not the master")
        request = msgspec.convert(body, Request)
        try:
            return {"value": await answering.call(request)}
        except Fault as fault:
            return {"fault": [fault.code, fault.message]}
        except Unauthorized as error:
            return {"unauthorized": str(error)}

    async def _many(self, params: tuple[Any, ...], credentials: Credentials, peer: str, protocol: str) -> list[Any]:
        calls = params[0] if len(params) == 1 else None
        if not isinstance(calls, list) or len(calls) > _MULTICALL_LIMIT:
            raise Fault(WRONG_ARGUMENTS, f"{_MULTICALL} takes one list of up to {_MULTICALL_LIMIT} calls")
        answers: list[Any] = []
        for call in calls:
            try:
                answers.append(await self._one(call, credentials, peer, protocol))
            except Unauthorized as error:
                if not any(isinstance(answer, list) for answer in answers):
                    raise
                # Calls before took the login away, with a new password for instance; what they did must be told.
                return answers + [_fault(LoginFailed(str(error)))] * (len(calls) - len(answers))
        return answers

    async def _one(self, call: Any, credentials: Credentials, peer: str, protocol: str) -> Any:
        """Answer one call of many: a list with its value, or a fault.

        :raises Unauthorized: the caller of all of them is not known.
        """
        try:
            method, params = _taken_apart(call)
            if method == _MULTICALL:
                raise Fault(WRONG_ARGUMENTS, f"{_MULTICALL} cannot be nested")
            try:
                return [await self.call(method, params, credentials, peer, protocol)]
            except Unauthorized as error:
                if method != _LOGIN:
                    raise
                raise LoginFailed(str(error)) from None
        except (Fault, ConfDError) as error:
            return _fault(error)

    async def _answer(self, request: Request) -> Any:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        while True:
            answering, began = self._answering(), loop.time()
            try:
                if answering is not None:
                    return await answering.call(request)
                return _value(await self._forward("api", msgspec.to_builtins(request, builtin_types=(bytes,))))
            except (NodeOffline, NoMaster) as error:
                # The call may have reached the master: the same id makes sure that it runs once.
                request = msgspec.structs.replace(request, retried=True)
                if loop.time() - began > _SERVED_SECONDS:
                    # A master had it until now, so the time without one begins here.
                    until = loop.time() + self._patience
                try:
                    if (standing_in := self._stand_in()) is not None:
                        return await standing_in.call(request)
                except NoMaster as needed:
                    error = NoMaster(f"{needed.message}: {error.message}")
                if loop.time() > until:
                    return self._without_master(request, error)
            await asyncio.sleep(self._retry)

    def _without_master(self, request: Request, error: ConfDError) -> Any:
        advice = self._advice()
        text = f"no master answers ({error.message})" + (f"; {advice}" if advice else "")
        if request.method in WITH_JOB_ID:
            return failure(NoMaster(text)).envelope(request.job_id)
        raise Fault(NoMaster.code, text)


def _fault(error: Fault | ConfDError) -> dict[str, Any]:
    return {"faultCode": error.code, "faultString": error.message}


def _taken_apart(call: Any) -> tuple[str, tuple[Any, ...]]:
    method, params = (call.get("methodName"), call.get("params", [])) if isinstance(call, dict) else (None, None)
    if not isinstance(method, str) or not isinstance(params, list | tuple):
        raise Fault(WRONG_ARGUMENTS, "a call is a struct with methodName (text) and params (a list)")
    return method, tuple(params)


def _value(answer: dict[str, Any]) -> Any:
    if "fault" in answer:
        raise Fault(*answer["fault"])
    if "unauthorized" in answer:
        raise Unauthorized(answer["unauthorized"])
    return answer["value"]
