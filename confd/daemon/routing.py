"""Where a call goes that comes to this node: to its mastership, to the master, or to what this node knows itself.

While no master is heard of, reads are answered from this node's own copy, marked with its age. Nodes that want to join
come by the same way, but only a master can let them in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from confd.api.authentication import Authentication
from confd.api.gateway import Answering, Gateway
from confd.api.methods import Methods
from confd.cluster.counter import Counter
from confd.cluster.following.follower import Follower
from confd.cluster.leading.doubt import Doubt
from confd.cluster.leading.member import OFFLINE_SECONDS
from confd.cluster.transport.link import Method
from confd.cluster.transport.nodeport import Connector
from confd.daemon.elections import Elections, Seat
from confd.daemon.mastership import Mastership
from confd.exaconf import Conf
from confd.model.errors import NodeOffline, NoMaster
from confd.model.secret import Vault
from confd.scheduler.standin import StandIn
from confd.store.protocol import Store

_LOOK_SECONDS: Final = 0.5


class Routing:
    """Passes calls on.

    :param elections: say why there is no master, and what to do.
    :param seat: says whether this node is it.
    """

    def __init__(
        self, node: int, store: Store, vault: Vault, counter: Counter, conf: Callable[[], Conf],
        follower: Follower, connector: Connector, elections: Elections, seat: Seat,
    ) -> None:  # fmt: skip
        self._node, self._conf, self._follower, self._connector = node, conf, follower, connector
        self._elections, self._seat = elections, seat
        own_copy = StandIn(store, conf, vault, self._doubt)
        self._standing_in = Methods(own_copy, Authentication(conf, vault.derive("session")))
        self.gateway = Gateway(
            node, counter, self._answering, self._forward, stand_in=self._without_master,
            advice=lambda: elections.advice,
        )  # fmt: skip
        """Takes the calls of this node's clients."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """What other nodes pass on to this one, which they take for the master."""
        return {"api": self._take, "join": self._admit_here}

    def master(self) -> tuple[str, str] | None:
        """Return address and name of the master, None when unknown."""
        node = self._conf().nodes.get(self._follower.master.node)
        return (self._follower.master.address or node.private_ip, node.name) if node is not None else None

    async def admit(self, body: Any) -> Any:
        """Let a node join by this node's door: the master decides."""
        return await self._forward("join", body) if self._seat.mastership is None else await self._admit_here(body)

    def _ready(self) -> Mastership | None:
        mastership = self._seat.mastership
        return mastership if mastership is not None and mastership.ready else None

    def _answering(self) -> Answering | None:
        mastership = self._ready()
        return None if mastership is None else mastership.methods

    def _without_master(self) -> Answering | None:
        """Return what answers reads while no master is heard of."""
        unheard = self._seat.mastership is None and self._follower.silence() > OFFLINE_SECONDS
        return self._standing_in if unheard else None

    def _doubt(self) -> Doubt:
        age, revision = self._follower.silence(), self._conf().revision
        return Doubt(age, f"no master answers: this is what n{self._node} knew {age:.0f} s ago, at revision {revision}")

    async def _take(self, body: Any) -> Any:
        return msgspec.to_builtins(await self.gateway.take(body), str_keys=True, builtin_types=(bytes,))

    async def _admit_here(self, body: Any) -> Any:
        mastership = self._ready()
        if mastership is None:
            raise NoMaster("the cluster has no master that is ready; try again in a moment")
        return await mastership.admitting.admit(body)

    async def _forward(self, method: str, body: Any) -> Any:
        master, seen = self.master(), self._follower.master
        if master is None or seen.node == self._node:
            raise NoMaster(self._elections.trouble or "no master is known yet")
        call = asyncio.create_task(self._connector.call(master[0], self._conf().global_.cored_port, method, body))
        try:
            while not (await asyncio.wait({call}, timeout=_LOOK_SECONDS))[0]:
                if self._follower.master.term > seen.term:
                    # A master that hangs never answers; the next one has the call's id, and goes on with it.
                    raise NodeOffline(f"{master[1]} is no longer master")
                if self._follower.silence() > OFFLINE_SECONDS:
                    raise NodeOffline("it has fallen silent")
            return call.result()
        except (NodeOffline, NoMaster) as error:
            why = self._elections.trouble or error.message
            raise NodeOffline(f"{master[1]} was master last, {why}") from None
        finally:
            call.cancel()
