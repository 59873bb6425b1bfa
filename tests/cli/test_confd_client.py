"""confd_client against a server: what is sent, printed and returned."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from confd.api.request import Fault
from confd.cli.confd_client import run
from confd.cli.exits import ConnectionLost
from confd.cli.running import result_of, typed
from tests.cli.documented_lines import DOCUMENTED
from tests.cli.server import FakeGateway, failed, ok

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("line", "envelope", "status", "stdout", "stderr"),
    [
        ("db_state db_name: A", ok("running"), 0, "running\n", ""),
        ("db_list", ok(["A", "B"]), 0, "- A\n- B\n", ""),
        ("db_list -j", ok(["A"]), 0, '[\n  "A"\n]\n', ""),
        ("db_stop db_name: A", ok(), 0, "OK\n", ""),
        ("db_start db_name: A", ok(result_warnings=["less memory"]), 0, "OK\nWARNING: less memory\n", ""),
        ("db_start db_name: A", failed("it runs"), 1, "", "it runs\n"),
    ],
)
def test_a_job(
    gateway: FakeGateway, capsys: Captured, line: str, envelope: dict[str, Any], status: int, stdout: str, stderr: str
) -> None:
    """Results go to stdout, the text of a failure to stderr, and the status tells which."""
    gateway.answers["job_exec"] = envelope
    assert run(shlex.split(line)) == status
    assert capsys.readouterr() == (stdout, stderr)


@pytest.mark.parametrize(("line", "job", "params", "fields"), [line for line in DOCUMENTED if "{<" not in line[0]])
def test_documented_lines_reach_the_server(
    gateway: FakeGateway, line: str, job: str, params: dict[str, object], fields: dict[str, object]
) -> None:
    """Every command line of the documentation runs the job it means with the parameters it means."""
    gateway.answers |= {"job_exec": ok(), "job_desc": [True, ["Starts."] + [None] * 11]}
    assert run(shlex.split(line)) == 0
    if not fields.get("help"):
        assert gateway.jobs() == [(job, typed(params))]


def test_only_mappings_are_guessed(gateway: FakeGateway) -> None:
    """What has a declared type travels as text; inside mappings, where none reaches, numbers become numbers."""
    gateway.answers["job_exec"] = ok()
    run(shlex.split("j version: 18.10 nid: '[11, 12]' changes: '{Global: {A: 1, B: 007, C: True}}' x: '[{a: 1}]'"))
    expected = {"version": "18.10", "nid": ["11", "12"]}
    expected |= {"changes": {"Global": {"A": 1, "B": "007", "C": True}}, "x": [{"a": 1}]}
    assert gateway.jobs() == [("j", expected)]


def test_a_file_travels_unchanged(gateway: FakeGateway, tmp_path: Path) -> None:
    """Text keeps its line breaks; what is no text is sent as base64."""
    gateway.answers["job_exec"] = ok()
    (tmp_path / "text").write_bytes(b'a: "b"\r\n\\')
    (tmp_path / "keytab").write_bytes(b"\x05\x02\xff\x00")
    run(["j", "a:", f'"{{< {tmp_path}/text}}"', "b:", f'"{{< {tmp_path}/keytab}}"'])
    assert gateway.jobs() == [("j", {"a": 'a: "b"\r\n\\', "b": "BQL/AA=="})]


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("", 2, "no job named"),
        ("db_start A", 2, "name: value"),
        ("db_start db_name:", 2, "has no value"),
        ("db_start db_name: '\"{< /nowhere}\"'", 2, "cannot read /nowhere"),
        ("--url http://h db_list", 2, "https://ADDRESS:20003"),
        ("--url https://h:port db_list", 2, "https://ADDRESS:20003"),
        ("--url https://u:pw@h db_list", 2, "CONFD_PASSWORD"),
        ("--insecure db_list", 2, "--url"),
        ("job list --limit x", 2, "not a valid integer"),
        ("job nothing", 2, "No such command"),
        ("job", 2, "Usage:"),
        ("completion tcsh", 2, "bash | zsh | fish"),
        ("db_list", 3, "c4 connect"),
        ("--url https://127.0.0.1:1 db_list", 3, "127.0.0.1:1 cannot be reached: Connection refused"),
    ],
)
def test_without_a_server(capsys: Captured, line: str, status: int, message: str) -> None:
    """A wrong line is refused before anything is asked; nobody to ask is said with what to do."""
    assert run(shlex.split(line)) == status
    assert message in capsys.readouterr().err


def test_a_node_whose_daemon_is_down(capsys: Captured, tmp_path: Path) -> None:
    """The socket named by the node's own file is looked for, and its lack explained."""
    etc = tmp_path / "n11/etc"
    etc.mkdir(parents=True)
    (etc / "node.json").write_text(json.dumps({"runtime": str(tmp_path)}))
    assert run(["db_list"]) == 3
    assert f"no daemon listens at {tmp_path}/confd.sock" in capsys.readouterr().err


def test_a_fault_is_a_failure(gateway: FakeGateway, capsys: Captured) -> None:
    """The text of a fault is shown as it is."""
    gateway.answers["job_exec"] = Fault(-32602, "wrong arguments")
    assert run(["db_list"]) == 1
    assert "wrong arguments" in capsys.readouterr().err


def test_a_dry_run_is_readable(gateway: FakeGateway, capsys: Captured) -> None:
    """The diff and each command with node and arguments are shown."""
    command = {"name": "storage.create", "node": 11, "arguments": {"volume": 3}}
    gateway.answers["job_exec"] = ok(
        {"diff": "+ [DB : A]\n", "commands": [command, {"name": "x", "node": 0, "arguments": {}}]}
    )
    assert run(["db_create", "db_name:", "A", "--dry-run"]) == 0
    assert gateway.calls[-1][1][1]["dry_run"] is True
    shown = (
        "EXAConf would change:\n+ [DB : A]\n\nCommands that would run:\n  1. storage.create on n11\n     volume: 3\n"
    )
    assert capsys.readouterr().out == shown + "  2. x on the master\n"


def test_a_dry_run_without_effect(gateway: FakeGateway, capsys: Captured) -> None:
    """That nothing would happen is said."""
    gateway.answers["job_exec"] = ok({"diff": "", "commands": [], "result": ["A"]})
    run(["--dry-run", "db_list"])
    assert capsys.readouterr().out == "EXAConf would not change.\n\nNo command would run.\n\nResult:\n  - A\n"


PAGE = [
    "Start a database.",
    {"db_name": {"desc": "Database to start.", "type": "(<class 'str'>,)"}},
    {"timeout": {"desc": "Seconds.", "type": "(<class 'int'>,)"}},
    {"vid": ["vname"], "vname": ["vid"]},
    ["root"],
    ["exaadm"],
    [{"db_name": "DB 1"}],
    "modify",
    "database",
    False,
    None,
    None,
]


@pytest.mark.parametrize("line", ["help db_start", "db_start --help", "-c help -a db_start"])
def test_help_of_a_job(gateway: FakeGateway, capsys: Captured, line: str) -> None:
    """The description of the server is shown as a page."""
    gateway.answers["job_desc"] = [True, PAGE]
    assert run(line.split()) == 0
    shown = capsys.readouterr().out
    for text in (
        "db_start: Start a database.",
        "confd_client db_start db_name: text [timeout: number]",
        "timeout  Seconds. (number, optional)",
        "Give one of vid and vname.",
        "confd_client db_start db_name: 'DB 1'",
        "Allowed: user root; members of exaadm.",
    ):
        assert text in shown


def test_help_of_an_unknown_job(gateway: FakeGateway, capsys: Captured) -> None:
    """The server's hint is passed on."""
    gateway.answers["job_desc"] = [False, "there is no job 'x' (did you mean y?)"]
    assert run(["help", "x"]) == 2
    assert "did you mean y?" in capsys.readouterr().err


def test_all_jobs(gateway: FakeGateway, capsys: Captured) -> None:
    """All jobs are listed by group, asked for in one call."""
    gateway.answers |= {"job_list": ["db_start"], "system.multicall": [[[True, PAGE]]]}
    assert run(["help"]) == 0
    assert capsys.readouterr().out.startswith("database:\n  db_start  Start a database.\n")


def test_help_without_a_server(capsys: Captured) -> None:
    """The client knows its own jobs, and the nearest to a wrong name."""
    assert run(["help", "job_history"]) == 0
    assert "limit" in capsys.readouterr().out
    assert run(["help", "job_histori"]) == 2
    assert "did you mean job_history?" in capsys.readouterr().err
    assert run(["help"]) == 0
    assert "job_history" in capsys.readouterr().out


HISTORY = [
    {
        "job_id": "11.7",
        "job_name": "db_start",
        "intent": "modify",
        "user": "admin",
        "stage": "committed",
        "submitted": "2026-01-02 23:59:59",
        "ended": "2026-01-03 00:00:01",
        "result_code": 0,
        "result_name": "OK",
        "result_revision": 18,
    }
]


def test_job_list(gateway: FakeGateway, capsys: Captured) -> None:
    """Options of any place become parameters of job_history."""
    gateway.answers["job_exec"] = ok(HISTORY)
    assert run(shlex.split("job list --limit 5 --user admin --name db_start --name db_stop --stage committed")) == 0
    wanted = {"names": ["db_start", "db_stop"], "user": "admin", "stage": "committed", "limit": 5}
    assert gateway.jobs() == [("job_history", wanted)]
    row = "11.7  db_start  admin  committed  OK      18        2026-01-02 23:59:59  2026-01-03 00:00:01"
    assert capsys.readouterr().out.splitlines()[1] == row
    assert run(["--json", "job", "list"]) == 0
    assert json.loads(capsys.readouterr().out) == HISTORY


def test_an_empty_history(gateway: FakeGateway, capsys: Captured) -> None:
    """No jobs are said to be none."""
    gateway.answers["job_exec"] = ok([])
    assert run(["job", "list"]) == 0
    assert capsys.readouterr().out == "No jobs found.\n"


def info(stage: str, result: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a job file."""
    stages = {"submitted": "2026-01-02T03:04:05.000Z", stage: "2026-01-02T03:04:06.000Z"}
    started = {"name": "create", "node": 12, "arguments": {}, "started": "2026-01-02T03:04:05.500Z"}
    return {
        "job_id": "11.7",
        "job_name": "j",
        "stage": stage,
        "stages": stages,
        "commands": [started],
        "result": result,
    }


def test_job_show(gateway: FakeGateway, capsys: Captured) -> None:
    """The job file is shown readably; an unknown id is a failure."""
    gateway.answers["job_info"] = info("scheduled")
    assert run(["job", "show", "11.7"]) == 0
    assert "Command 1  create on n12  not finished" in capsys.readouterr().out
    gateway.answers["job_info"] = failed("no job '1' of yours is known")
    assert run(["job", "show", "1"]) == 1
    assert "no job '1'" in capsys.readouterr().err


def test_job_watch(gateway: FakeGateway, capsys: Captured) -> None:
    """Each news of a job is told once; the command ends as the job does."""
    files = iter([info("scheduled"), info("scheduled"), info("committed", failed("disk full"))])
    gateway.answers |= {"job_info": lambda _: next(files), "subscribe": {"cursor": 1, "events": []}}
    assert run(["job", "watch", "11.7"]) == 1
    shown = capsys.readouterr()
    lines = ["03:04:05.000  submitted j", "03:04:05.500    create on n12 started", "03:04:06.000  scheduled j"]
    assert shown.out.splitlines() == [*lines, "03:04:06.000  committed j"]
    assert shown.err == "disk full\n"


class Breaking:
    """A connection that breaks before it answers."""

    def __init__(self, times: int) -> None:
        self.left = times

    def call(self, method: str, *args: Any) -> Any:
        """Break, or answer."""
        self.left -= 1
        if self.left >= 0:
            raise ConnectionLost("broken")
        return ok("done")


def test_a_result_survives_a_restart_of_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A started job's result is asked for again when the connection breaks."""
    monkeypatch.setattr("confd.cli.running._RETRY_SECONDS", 0.0)
    connection: Any = Breaking(3)
    assert result_of(connection, "11.7") == ok("done")
    assert connection.left == -1


def test_a_watched_job_is_started_and_followed(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a person at a terminal the job is started, so that its id is known should he stop waiting."""
    monkeypatch.setattr("confd.cli.running._watched", lambda: True)
    gateway.answers |= {"job_start": "11.7", "job_result": ok()}
    assert run(["db_start", "db_name:", "A"]) == 0
    assert [method for method, _ in gateway.calls] == ["job_start", "job_result"]


def test_no_master_for_a_watched_job(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Without a master there is an envelope instead of an id."""
    monkeypatch.setattr("confd.cli.running._watched", lambda: True)
    gateway.answers["job_start"] = failed("the master does not answer", 503)
    assert run(["db_list"]) == 1
    assert capsys.readouterr().err == "the master does not answer\n"


def test_ctrl_c_leaves_the_job_running(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The id and the way to look at the job are printed."""
    monkeypatch.setattr("confd.cli.running._watched", lambda: True)
    monkeypatch.setattr("confd.cli.running.result_of", _interrupted)
    gateway.answers["job_start"] = "11.7"
    assert run(["db_start", "db_name:", "A"]) == 130
    assert "confd_client job watch 11.7" in capsys.readouterr().err


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt
