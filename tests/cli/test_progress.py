"""What is said about a running job."""

from __future__ import annotations

from typing import Any

import pytest

from confd.cli.progress import doing

DONE = {"name": "create", "node": 11, "arguments": {}, "started": "t", "finished": "t"}
RUNNING = {"name": "start", "node": 12, "arguments": {}, "started": "t", "finished": None}
ON_MASTER = {"name": "want", "node": 0, "arguments": {}, "started": "t"}
LEARNED = {"name": "learn time", "node": 0, "result": 1}


@pytest.mark.parametrize(
    ("commands", "text"),
    [
        ([], "scheduled"),
        ([DONE, LEARNED], "scheduled"),
        ([DONE, RUNNING], "scheduled, start on n12"),
        ([ON_MASTER], "scheduled, want on the master"),
        ([RUNNING, RUNNING, RUNNING], "scheduled, start on n12 and 2 more"),
    ],
)
def test_stage_and_command(commands: list[dict[str, Any]], text: str) -> None:
    """The stage, and the command that runs at present."""
    assert doing({"stage": "scheduled", "commands": commands}) == text


def test_nothing_is_known_yet() -> None:
    """Before the first answer the job counts as submitted."""
    assert doing({}) == "submitted"
