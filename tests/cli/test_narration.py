"""How the demo shows commands."""

from __future__ import annotations

import shlex

import pytest

from confd.cli.narration import WIDTH, echo


def test_a_long_command_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    """What is shown, pasted into a shell, is the command that was run: no line ends inside of quotation marks."""
    backup = "4 Shop/id_2/level_1/node_0/backup_202611251005 Shop"
    line = f"confd_client db_restore db_name: Shop backup_id: '{backup}' restore_type: blocking nodes: '[11, 12]'"
    echo("$", line, " \\")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert shlex.split(shown.removeprefix("$ ").replace("\\\n", "")) == shlex.split(line)
