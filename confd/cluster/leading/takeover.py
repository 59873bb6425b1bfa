"""Taking over when the master is lost: a survivor collects what is known and leads on under a newer term.

Only by order of an administrator: with the embedded store nobody else can tell a dead master from one that is cut off.
Before the survivor leads, every node that answers has promised to follow it: none takes in anything of an earlier
master any more, and of two survivors that are ordered to lead at the same moment the promise stops one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from typing import Any, Final

import msgspec
import structlog

from confd import __version__
from confd.cluster.leading.eligibility import outvoted
from confd.cluster.leading.handover import pending
from confd.cluster.transport.nodeport import Connector
from confd.exaconf import Conf, Node
from confd.model.errors import ConfDError, Conflict, WrongState
from confd.model.naming import names
from confd.store.protocol import Gap, Kind, Position, Record, StaleTerm, Store
from confd.store.terms import next_term

log = structlog.get_logger("takeover")

_ASK_SECONDS: Final = 3.0
_FETCH_SECONDS: Final = 30.0


class Known(msgspec.Struct, frozen=True):
    """How far the journal of a node goes, whether it leads, and its version; None when it does not say that."""

    node: int
    position: Position
    term: int
    leads: bool
    master: int = 0
    software: str | None = None


class Taken(msgspec.Struct, frozen=True):
    """What a take-over found: the term to lead under, where the journal ends, who could not be asked."""

    term: int
    position: Position
    silent: tuple[int, ...]

    def __str__(self) -> str:
        """Say what may be missing."""
        end = f"the journal goes on after record {self.position.n} of term {self.position.term}"
        if not self.silent:
            return f"{end}; all other nodes were asked, nothing is missing"
        return (
            f"{end}; {names(self.silent)} could not be asked: what only these nodes know is missing, such as jobs of "
            "the master's last moments that were not finished; when they return it is kept there in a file and logged"
        )


async def ask_all(
    connector: Connector, conf: Conf, own: int, among: Container[int] | None = None
) -> dict[int, Known | None]:
    """Ask every other node (of some, if told so) how far its journal goes; None for those that do not answer."""
    others = [node for node in conf.nodes.values() if node.id != own and (among is None or node.id in among)]
    answers = await asyncio.gather(*(_ask(connector, conf.global_.cored_port, node, "position", {}) for node in others))
    return {node.id: answer for node, answer in zip(others, answers, strict=True)}


async def collect(
    store: Store, connector: Connector, conf: Conf, own: int, heard: int, ordered: float = 0.0
) -> Taken:  # fmt: skip
    """Bring this node's journal to the longest that can be reached, and return what to lead with.

    :param heard: the highest term that this node has heard of.
    :param ordered: when an administrator told this node to lead, UTC seconds.
    :raises WrongState: a master answers, more nodes run another version than this one's, or another node knows more
        than can be fetched; says what to do.
    """
    known = await ask_all(connector, conf, own)
    answers = [one for one in known.values() if one is not None]
    _check_no_master(answers, own, heard, store.leader()[0])
    _check_version(conf, own, answers)
    await _fetch_longest(store, connector, conf, answers)
    # A master that was giving its place away may have been followed under that term by a node that is silent now.
    offered = pending(store)
    terms = [heard, store.leader()[0], 0 if offered is None else offered.term, *(one.term for one in answers)]
    term = next_term(max(terms), own, ordered)
    return Taken(term, store.head(), tuple(node for node, answer in known.items() if answer is None))


def _check_no_master(answers: Sequence[Known], own: int, heard: int, recorded: int) -> None:
    """Refuse while a master answers.

    One that a journal knows a newer master than is none any more, whether it has heard so or not.
    """
    newest = max([recorded, *(one.position.term for one in answers)])
    leading = [one for one in answers if one.leads and one.term >= newest]
    if not leading:
        return
    master = max(leading, key=lambda one: one.term)
    promises = [one.node for one in answers if one.term > master.term] + [own] * (heard > master.term)
    if promises:
        raise WrongState(
            f"n{master.node} is master and answers, but {names(sorted(promises))} promised to follow another node; "
            f"take over on n{master.node}, which leads on then"
        )
    raise WrongState(f"n{master.node} is master and answers; mastership is given on there")


def _check_version(conf: Conf, own: int, answers: Sequence[Known]) -> None:
    voting = [one for one in answers if not conf.require_node(one.node).suspended]
    software = {one.node: one.software for one in voting if one.software is not None}
    # Of equals each may lead when it is told to: no other one would have a quorum either.
    if why := outvoted(own, {**software, own: __version__}, __version__):
        raise WrongState(f"{why}, or take over on one of those; nothing was changed")


async def promised(store: Store, connector: Connector, conf: Conf, own: int, taken: Taken) -> Taken:
    """Have the nodes that answered promise to follow this one, and fetch what they were told since.

    :raises WrongState: one follows a newer master by now, or knows more than can be fetched; says what to do.
    """
    others = [node for node in conf.nodes.values() if node.id != own and node.id not in taken.silent]
    body = {"term": taken.term, "master": own}
    try:
        answers = await asyncio.gather(
            *(_ask(connector, conf.global_.cored_port, node, "promise", body) for node in others)
        )
    except Conflict as error:
        raise WrongState(f"n{own} does not take over: {error.message}") from None
    await _fetch_longest(store, connector, conf, [one for one in answers if one is not None])
    silent = [node.id for node, answer in zip(others, answers, strict=True) if answer is None]
    return Taken(taken.term, store.head(), tuple(sorted([*taken.silent, *silent])))


async def _ask(connector: Connector, port: int, node: Node, method: str, body: dict[str, Any]) -> Known | None:
    try:
        told: dict[str, Any] = await connector.call(node.private_ip, port, method, body, _ASK_SECONDS)
    except Conflict:
        raise
    except ConfDError:
        return None
    position = Position(told["last"], told["n"])
    return Known(node.id, position, told["term"], told["leads"], told["master"], told.get("software"))


async def _fetch_longest(store: Store, connector: Connector, conf: Conf, known: Sequence[Known]) -> None:
    best = max(known, key=lambda one: one.position, default=None)
    if best is not None and best.position > store.head():
        await fetch(store, connector, conf, best)


async def fetch(store: Store, connector: Connector, conf: Conf, source: Known) -> None:
    """Bring this node's journal to where another one's ends.

    :raises WrongState: the other one does not have all that is lacking here, goes another way, or does not answer.
    """
    address, port = conf.require_node(source.node).private_ip, conf.global_.cored_port
    while store.head() < source.position:
        try:
            head = store.head()
            # The last one that is here already, too: it has to be the same one there.
            body = {"n": max(head.n - 1, 0)}
            told = await connector.call(address, port, "records", body, _FETCH_SECONDS)
            records = _decoded(told["records"])
            if head.n and records and records[0].position != head:
                raise Gap(f"the journals differ at record {head.n}")
            if not (fresh := [record for record in records if record.n > head.n]):
                raise Gap(f"n{source.node} gave no records")
            await asyncio.to_thread(store.copy, fresh)
        except (ConfDError, Gap, StaleTerm) as error:
            raise WrongState(f"n{source.node} has a newer journal than this node ({error}); take over there") from None
    log.info("journal_fetched", node=source.node, n=store.head().n)


def _decoded(frames: Sequence[Any]) -> list[Record]:
    return [Record(r[0], r[1], Kind(r[2]), r[3], r[4], msgspec.Raw(r[5])) for r in frames]
