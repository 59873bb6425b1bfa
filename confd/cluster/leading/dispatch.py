"""How commands of the master's jobs get to the other nodes, and their answers back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from confd.cluster.following.agent import Reply, reply_of
from confd.cluster.leading.feed import Source
from confd.cluster.leading.member import Member
from confd.cluster.operations import Command
from confd.model.errors import ConfDError, NodeOffline

log = structlog.get_logger("leader")

_RETRY_SECONDS: Final = 0.2

EVEN_SUSPENDED: Final = "nodes."
"""What commands are called that also a suspended node carries out: they concern the node itself."""


class Dispatch:
    """Sends commands to members, again while a link breaks and the node still answers heartbeats.

    :param members: the nodes by id, as the master knows them now.
    :param reported: called with what a node's services report along with an answer.
    """

    def __init__(
        self,
        source: Source,
        members: Mapping[int, Member],
        reported: Callable[[Member, dict[str, Any]], None],
    ) -> None:
        self._source, self._members, self._reported = source, members, reported

    async def send(self, key: tuple[str, int], command: Command[Any]) -> Reply:
        """Run a command on another node; an error is a reply too."""
        member = self._members.get(command.node)
        body = {"job": key[0], "number": key[1], "name": command.name, "arguments": command.arguments}
        while True:
            if lack := self._lack(member, command):
                return reply_of(NodeOffline(f"n{command.node} {lack}; {command.name} was not run there"))
            assert member is not None
            try:
                # No time limit: a command may be long. A node that dies is noticed by its heartbeat.
                answer = await self._run(member, body)
                self._reported(member, answer["status"])
                return msgspec.convert(answer["reply"], Reply)
            except NodeOffline:
                await asyncio.sleep(_RETRY_SECONDS)
            except ConfDError as error:
                return reply_of(error)
            except Exception as error:
                log.exception("command_not_sent", name=command.name, node=command.node)
                return reply_of(error)

    def _lack(self, member: Member | None, command: Command[Any]) -> str:
        """Say why a node takes no commands; empty when it does."""
        node = self._source.replica.conf.nodes.get(command.node)
        if node is not None and node.suspended and not command.name.startswith(EVEN_SUSPENDED):
            return "is suspended"
        if member is None or not member.online:
            return "is offline"
        return "is catching up" if member.behind else ""

    async def _run(self, member: Member, body: dict[str, Any]) -> Any:
        call = asyncio.get_running_loop().create_task(self._connected_run(member, body))
        try:
            while True:
                done, _ = await asyncio.wait({call}, timeout=self._source.timing.beat)
                if done:
                    return call.result()
                if not member.online:
                    raise NodeOffline(f"n{member.node} fell silent")
        finally:
            call.cancel()

    async def _connected_run(self, member: Member, body: dict[str, Any]) -> Any:
        link = await self._source.connector.link(member.address, member.port)
        return await link.call("run", {"term": self._source.term, "master": self._source.node, **body})
