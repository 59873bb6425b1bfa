"""Letting nodes in, on the master: a job decides, and what must not be in a journal is added here."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from confd.cluster.identity import NodeFiles, portable
from confd.cluster.joining.messages import JoinAnswer, JoinRequest
from confd.daemon.view import ClusterView
from confd.model.errors import PermissionDenied, error_from
from confd.services.nodes.admission import TOKENS, TokenRecord, is_known, unknown_token
from confd.store.choice import STORE_FILE, load_choice, own_files

SHARED_FILES: Final = ("etc/ssl/ssl.crt", "etc/ssl/ssl.key", "etc/ssl/ssl.ca", STORE_FILE)
"""Private files that all nodes have alike, as those that the last one names; a joining node gets what is there."""


class Admitting:
    """Answers nodes that want to join, as the master."""

    def __init__(self, view: ClusterView, files: NodeFiles) -> None:
        self._view, self._files = view, files

    async def admit(self, body: Any) -> Any:
        """Let a node in, or raise what the job ends with; both as they travel.

        Who does not know the secret gets no job: strangers must not be able to fill the history.
        """
        request = msgspec.convert(body, JoinRequest)
        known = self._view.record(f"{TOKENS}{request.node}")
        if not is_known(_bytes(request.secret), msgspec.convert(known, TokenRecord) if known else None):
            raise PermissionDenied(unknown_token(request.node))
        params = msgspec.to_builtins(request)
        params["nid"] = params.pop("node")
        submission = await asyncio.to_thread(self._view.submit, "node_admit", params)
        outcome = await asyncio.wrap_future(submission.outcome)
        if outcome.code:
            raise error_from(outcome.code, outcome.message)
        return msgspec.to_builtins(await asyncio.to_thread(self._answer, outcome.output), builtin_types=(bytes,))

    def _answer(self, decided: dict[str, Any]) -> JoinAnswer:
        root = self._files.root
        names = [*SHARED_FILES, *own_files(load_choice(root), root)]
        there = [name for name in names if (root / name).exists()]
        return JoinAnswer(
            certificate=decided["certificate"], data_key=self._files.data_key.read_bytes(),
            members=tuple(decided["members"]),
            files={name: portable((root / name).read_bytes(), root) for name in there},
        )  # fmt: skip


def _bytes(secret: str) -> bytes:
    try:
        return bytes.fromhex(secret)
    except ValueError:
        return b""
