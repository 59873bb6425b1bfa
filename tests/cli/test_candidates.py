"""What shells offer at the cursor."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

import pytest

from confd.cli.candidates import SHELLS, answer, candidates, script
from confd.cli.job_index import JobHint, ParameterHint, job_index
from tests.cli.server import FakeGateway, failed, ok

INDEX = {
    "db_start": JobHint(
        "Start.",
        {
            "db_name": ParameterHint("Database.", live="databases"),
            "maintenance": ParameterHint("Closed?", choices=("true", "false")),
            "nid": ParameterHint("Node.", number=True, live="nodes"),
        },
    ),
    "db_stop": JobHint("Stop."),
}


def live(kind: str, number: bool) -> list[str]:
    """Name what was asked for."""
    return [f"{kind}-{number}"]


@pytest.mark.parametrize(
    ("before", "current", "expected"),
    [
        ([], "", ["db_start", "db_stop", "help", "job", "completion"]),
        (["--json"], "", ["db_start", "db_stop", "help", "job", "completion"]),
        (["--url", "u"], "", ["db_start", "db_stop", "help", "job", "completion"]),
        (["-c"], "", ["db_start", "db_stop"]),
        (["help"], "", ["db_start", "db_stop"]),
        (["--url"], "", []),
        (["completion"], "", list(SHELLS)),
        (["job"], "", ["list", "show", "watch"]),
        (["job", "show"], "", ["job ids-False"]),
        (["db_start"], "", ["db_name:", "maintenance:", "nid:"]),
        (["-c", "db_start"], "", ["db_name:", "maintenance:", "nid:"]),
        (["db_start", "db_name:", "A"], "", ["maintenance:", "nid:"]),
        (["db_start", "db_name:"], "", ["databases-False"]),
        (["db_start", "nid:"], "", ["nodes-True"]),
        (["db_start", "maintenance:"], "", ["true", "false"]),
        (["nothing"], "", []),
    ],
)
def test_what_may_stand_there(before: Sequence[str], current: str, expected: list[str]) -> None:
    """Jobs, then parameters not given yet, then values that exist."""
    assert list(candidates(before, current, INDEX, live)) == expected


def test_options_are_offered_after_a_dash() -> None:
    """A dash asks for options, but not where a value stands."""
    assert "--json" in candidates(["db_start"], "-", INDEX, live)
    assert "--json" not in candidates(["db_start", "db_name:"], "-", INDEX, live)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("confd_client user_inf", "user_info\n"),
        ("confd_client user_info ", "username:\nuserid:\n"),
        ("confd_client user_info username: ", "'a b'\nadmin\n"),
        ("confd_client user_info username: 'a", "'a b'\nadmin\n"),
        ("confd_client user_info username: ad", "admin\n"),
    ],
)
def test_bash_gets_words_that_it_can_insert(gateway: FakeGateway, line: str, expected: str) -> None:
    """Live names come from the server and are quoted where they must be."""
    gateway.answers["job_exec"] = ok({"a b": {}, "admin": {}})
    assert answer(["bash", line]) == expected


def test_zsh_and_fish_get_explanations() -> None:
    """Each candidate comes with its text."""
    assert answer(["zsh", "user_inf"]).startswith("user_info\tReturn the details of a user")
    assert answer(["fish", "user_info", "usern"]).startswith("username:\t")


def test_without_a_server_nothing_is_said(gateway: FakeGateway) -> None:
    """A failure offers no names and no error in the middle of a command line."""
    assert answer(["zsh", "--url", "https://127.0.0.1:1", "db_info", "db_name:", ""]) == ""
    gateway.answers["job_exec"] = failed("no")
    assert answer(["zsh", "db_info", "db_name:", ""]) == ""


def test_the_index_is_kept() -> None:
    """Read back from its file the index is the same."""
    assert job_index() == job_index()
    assert job_index()["db_info"].parameters["db_name"].live == "databases"


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_valid(shell: str) -> None:
    """Each shell that is installed accepts its script."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    checked = subprocess.run([program, "-n"], input=script([shell]), text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
