"""The method table: what can be called, the same for XML-RPC, JSON and the unix socket. Runs on the master."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from confd.api import descriptions
from confd.api.authentication import Authentication
from confd.api.request import UNKNOWN_ID, UNKNOWN_METHOD, WRONG_ARGUMENTS, Fault, Request, Unauthorized
from confd.model.envelope import failure
from confd.model.errors import InvalidParameter, NoMaster, NotFound, UnknownJob
from confd.scheduler import registry
from confd.scheduler.caller import Caller
from confd.scheduler.jobfile import JobFile
from confd.scheduler.parameters import Parameter
from confd.scheduler.scheduler import Admission
from confd.scheduler.standin import Jobs
from confd.scheduler.ticket import Ticket
from confd.store.protocol import StoreFailed

_WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 300.0
_FEED_SECONDS: Final = 30.0
_OPTIONS: Final = ("params", "dry_run", "timeout")
_DRY_RUN: Final = Parameter("dry_run", ("bool",), "", None, nullable=True)

WITH_JOB_ID: Final = frozenset({"job_exec", "job_start"})
"""Methods whose id is made by the node that accepts the call."""

T = TypeVar("T")
Handler = Callable[..., Awaitable[Any]]


class Methods:
    """Answers calls. ``call`` raises only Fault and Unauthorized; everything else is a value."""

    def __init__(self, scheduler: Jobs, authentication: Authentication) -> None:
        self._scheduler, self._authentication = scheduler, authentication
        self._table: dict[str, Handler] = {
            name: getattr(self, "_" + name.replace(".", "_")) for name in descriptions.METHODS
        }

    async def call(self, request: Request) -> Any:
        """Answer one call."""
        handler = self._table.get(request.method)
        if handler is None:
            near = registry.nearest(request.method, self._table)
            raise Fault(UNKNOWN_METHOD, f"there is no method {request.method!r}{near}; see system.listMethods")
        if request.method == "user_login":
            return await self._login(request)
        caller = await self._authentication.caller(request.credentials, request.peer)
        try:
            return await handler(request, caller, *request.params)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            text = descriptions.method_help(request.method)
            raise Fault(WRONG_ARGUMENTS, f"wrong number of arguments for {request.method}: {text}") from None

    async def _login(self, request: Request) -> str:
        if len(request.params) != 2 or not all(isinstance(value, str) for value in request.params):
            raise Fault(WRONG_ARGUMENTS, descriptions.method_help("user_login"))
        return await self._authentication.login(*request.params, request.peer)

    async def _user_login(self, request: Request, caller: Caller) -> str:
        return self._authentication.session(caller)

    async def _job_exec(self, request: Request, caller: Caller, name: Any, options: Any = None) -> dict[str, Any]:
        if is_dry(options):
            try:
                admission = _admission(request, caller, name, _params(options), start=False)
            except InvalidParameter as error:
                return failure(error).envelope("")
            return (await asyncio.to_thread(self._scheduler.plan, admission)).envelope("")
        ticket = self._admit(request, caller, name, options, start=False)
        return (await _result_of(ticket.answer)).envelope(ticket.id)

    async def _job_start(self, request: Request, caller: Caller, name: Any, options: Any = None) -> Any:
        if is_dry(options):
            raise Fault(WRONG_ARGUMENTS, "a dry run has no id to return; use job_exec for it")
        ticket = self._admit(request, caller, name, options, start=True)
        if ticket.durable is not None:
            try:
                await _recorded(ticket)
            except StoreFailed as error:
                raise NoMaster(f"this master is going down, the job was not taken in: {error}") from None
        return ticket.id

    async def _job_wait(self, request: Request, caller: Caller, job_id: Any, options: Any = None) -> bool:
        ticket = _on_its_way(await self._visible(job_id, caller))
        if ticket is None:
            return True
        own, given = ticket.values.get("timeout"), _timeout(options)
        limit = own or (_WAIT_SECONDS if given is None else given)
        done, _ = await asyncio.wait({_follow(ticket.done)}, timeout=float(limit))
        for ended in done:
            # A job that was left to another master has not ended: the call goes on there.
            ended.result()
        return bool(done)

    async def _job_finished(self, request: Request, caller: Caller, job_id: Any) -> bool:
        ticket = _on_its_way(await self._visible(job_id, caller))
        if ticket is None or not ticket.done.done():
            return ticket is None
        ticket.done.result()
        return True

    async def _job_result(self, request: Request, caller: Caller, job_id: Any) -> dict[str, Any]:
        try:
            known = await self._visible(job_id, caller)
        except Fault as fault:
            return failure(NotFound(fault.message)).envelope(str(job_id))
        ticket = _on_its_way(known)
        if ticket is not None:
            return (await _result_of(ticket.answer)).envelope(ticket.id)
        return (await self._file(str(job_id))).info()["result"] or {}

    async def _job_info(self, request: Request, caller: Caller, options: Any) -> dict[str, Any]:
        job_id = options.get("job_id") if isinstance(options, Mapping) else options
        try:
            await self._visible(job_id, caller)
        except Fault as fault:
            return failure(NotFound(fault.message)).envelope(str(job_id))
        return (await self._file(str(job_id))).info()

    async def _job_list(self, request: Request, caller: Caller) -> list[str]:
        return list(registry.load())

    async def _job_desc(self, request: Request, caller: Caller, name: Any) -> list[Any]:
        try:
            return [True, descriptions.description(registry.find(name))]
        except UnknownJob as error:
            return [False, error.message]

    async def _job_help(self, request: Request, caller: Caller, name: Any) -> str:
        try:
            return descriptions.help_text(registry.find(name))
        except UnknownJob as error:
            return error.message

    async def _subscribe(self, request: Request, caller: Caller, options: Any = None) -> dict[str, Any]:
        given = options if isinstance(options, Mapping) else {}
        after = given.get("after", self._scheduler.events.cursor)
        wanted = given.get("jobs")
        if not isinstance(wanted, list | tuple | None):
            raise Fault(WRONG_ARGUMENTS, "jobs is a list of job ids")
        jobs = [str(job) for job in wanted or ()]
        if not isinstance(after, int):
            raise Fault(WRONG_ARGUMENTS, "after is a cursor that subscribe returned")
        limit = _timeout(given)
        until = asyncio.get_running_loop().time() + min(_FEED_SECONDS if limit is None else limit, _POLL_SECONDS)
        while True:
            with self._next_event() as woken:
                cursor, events = self._scheduler.events.after(after, jobs)
                seen = [event for event in events if await self._may_see(event["job_id"], caller)]
                left = until - asyncio.get_running_loop().time()
                if seen or left <= 0:
                    return {"cursor": cursor, "events": seen}
                if self._scheduler.events.closed:
                    raise NoMaster("what jobs do is told by the next master; ask again")
                await asyncio.wait({woken}, timeout=left)

    async def _unsubscribe(self, request: Request, caller: Caller, cursor: Any) -> bool:
        return True

    async def _user_state(self, request: Request, caller: Caller) -> dict[str, Any]:
        return {
            "name": caller.name,
            "id": caller.uid,
            "groups": sorted(caller.groups),
            "login": request.credentials.kind,
        }

    async def _user_init(self, request: Request, caller: Caller) -> str:
        return self._authentication.session(caller)

    async def _system_listMethods(self, request: Request, caller: Caller) -> list[str]:
        return list(descriptions.METHODS)

    async def _system_methodHelp(self, request: Request, caller: Caller, name: Any) -> str:
        if name not in descriptions.METHODS:
            raise Fault(UNKNOWN_METHOD, f"there is no method {str(name)[:80]!r}; see system.listMethods")
        return descriptions.method_help(name)

    async def _system_methodSignature(self, request: Request, caller: Caller, name: Any) -> str:
        if name not in descriptions.METHODS:
            raise Fault(UNKNOWN_METHOD, f"there is no method {str(name)[:80]!r}; see system.listMethods")
        return "signatures not supported"

    def _admit(self, request: Request, caller: Caller, name: Any, options: Any, start: bool) -> Ticket:
        try:
            params = _params({} if options is None else options)
        except InvalidParameter as error:
            return self._scheduler.refuse(_admission(request, caller, name, {}, start), error)
        return self._scheduler.admit(_admission(request, caller, name, params, start))

    @contextmanager
    def _next_event(self) -> Iterator[asyncio.Future[None]]:
        """Give what is done at the next event, or when this master gives its place away."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not woken.done():
                woken.set_result(None)

        def wake() -> None:
            loop.call_soon_threadsafe(tell)

        events = self._scheduler.events
        events.wake_on_next(wake)
        try:
            yield woken
        finally:
            events.forget(wake)

    async def _visible(self, job_id: Any, caller: Caller) -> Ticket | JobFile:
        """Return the ticket of a job the caller may see, its file when it is not on its way here.

        :raises Fault: no such job, or not his.
        :raises NoMaster: none that is known here, where not all need be known.
        """
        ticket = self._scheduler.ticket(str(job_id))
        if ticket is not None and (caller.administrator or ticket.caller.name == caller.name):
            return ticket
        file = await asyncio.to_thread(self._scheduler.file, str(job_id)) if ticket is None else None
        if ticket is None and file is None:
            self._scheduler.check_unknown(str(job_id))
        if file is None or not (caller.administrator or file.submitted.user == caller.name):
            raise Fault(UNKNOWN_ID, f"no job {str(job_id)[:80]!r} of yours is known; job_history lists jobs")
        return file

    async def _may_see(self, job_id: str, caller: Caller) -> bool:
        if caller.administrator:
            return True
        try:
            await self._visible(job_id, caller)
        except Fault:
            return False
        return True

    async def _file(self, job_id: str) -> JobFile:
        file = await asyncio.to_thread(self._scheduler.file, job_id)
        assert file is not None
        return file


def _on_its_way(known: Ticket | JobFile) -> Ticket | None:
    """Return the ticket of a job, None when it has ended.

    :raises NoMaster: it has not, and goes on under another master; this one is about to learn that it is none any more.
    """
    if isinstance(known, Ticket):
        return known
    if known.outcome is None:
        raise NoMaster(f"job {known.id} does not run under this master; ask again")
    return None


def _follow(done: Future[T]) -> asyncio.Future[T]:
    """Follow a thread's future; giving up here must not cancel it there."""
    loop = asyncio.get_running_loop()
    followed: asyncio.Future[T] = loop.create_future()

    def tell(finished: Future[T]) -> None:
        if followed.done():
            return
        error = finished.exception()
        if error is not None:
            followed.set_exception(error)
        else:
            followed.set_result(finished.result())

    done.add_done_callback(lambda finished: loop.call_soon_threadsafe(tell, finished))
    return followed


async def _result_of(done: Future[T]) -> T:
    return done.result() if done.done() else await _follow(done)


async def _recorded(ticket: Ticket) -> None:
    """Wait until a job that was started is durable.

    :raises Fault: it is held up before that; it may run later.
    """
    assert ticket.durable is not None
    if not ticket.durable.done():
        durable, answer = _follow(ticket.durable), _follow(ticket.answer)
        await asyncio.wait({durable, answer}, return_when=asyncio.FIRST_COMPLETED)
        if not ticket.durable.done():
            held_up = answer.result()
            raise Fault(held_up.code, held_up.message)
    ticket.durable.result()


def is_dry(options: Any) -> bool:
    """Tell whether a call asks for a dry run; what is neither yes nor no is refused with the parameters."""
    try:
        return isinstance(options, Mapping) and _DRY_RUN.read(options.get("dry_run")) is True
    except InvalidParameter:
        return False


def _admission(request: Request, caller: Caller, name: Any, params: Mapping[str, Any], start: bool) -> Admission:
    return Admission(request.job_id, name, params, caller, request.described(), start, request.retried)


def _params(options: Any) -> Mapping[str, Any]:
    if not isinstance(options, Mapping):
        raise InvalidParameter("the second argument is a mapping with the job's parameters under 'params'")
    unknown = [key for key in options if key not in _OPTIONS]
    if unknown:
        raise InvalidParameter(f"{unknown[0]}: not known beside 'params'; put the job's parameters under 'params'")
    _DRY_RUN.read(options.get("dry_run"))
    params = options.get("params")
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise InvalidParameter("params: give a mapping of parameter names to values")
    return params


def _timeout(options: Any) -> float | None:
    value = options.get("timeout") if isinstance(options, Mapping) else None
    if value is None:
        return None
    try:
        seconds = float(value)
        return min(seconds, threading.TIMEOUT_MAX) if seconds > 0 else 0.0
    except (TypeError, ValueError, OverflowError):
        raise Fault(WRONG_ARGUMENTS, f"timeout is a number of seconds, not {str(value)[:40]!r}") from None


__all__ = ["WITH_JOB_ID", "Methods", "Unauthorized"]
