"""exaconf: the file of the node and the revisions of the cluster."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from confd.cli.exaconf import run
from confd.exaconf import parse, render
from tests.cli.server import FakeGateway, failed, ok

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of this node, with its right checksum."""
    full = parse((Path(__file__).parent.parent / "exaconf/full.EXAConf").read_text())
    path = tmp_path / "n11/etc/EXAConf"
    path.parent.mkdir(parents=True)
    path.write_text(render(full.sections, 7))
    return path


def edit(file: Path, pattern: str, replacement: str) -> int:
    """Change the first line that fits; return its number."""
    lines = file.read_text().splitlines()
    number = next(number for number, line in enumerate(lines) if re.search(pattern, line))
    lines[number] = replacement
    file.write_text("\n".join(lines) + "\n")
    return number + 1


def test_a_good_file(file: Path, capsys: Captured) -> None:
    """What the cluster wrote is valid."""
    assert run(["validate"]) == 0
    assert run(["validate", str(file)]) == 0
    assert capsys.readouterr().out == "OK\nOK\n"


def test_all_problems_are_listed_with_their_lines(file: Path, capsys: Captured) -> None:
    """Checksum, syntax and values are checked in one go."""
    edit(file, "Checksum =", "    Checksum = COMMIT")
    port = edit(file, "XMLRPCPort =", "    XMLRPCPort = many")
    garbage = edit(file, "Timezone =", "    Timezone")
    assert run(["validate"]) == 1
    shown = capsys.readouterr().err
    assert f"EXAConf line {garbage} " in shown
    assert f"EXAConf line {port}: [Global] XMLRPCPort" in shown


def test_what_does_not_fit_together_has_a_line(file: Path, capsys: Captured) -> None:
    """Rules over several sections name the line of the key."""
    edit(file, "Checksum =", "    Checksum = NONE")
    number = edit(file, "^    Networks =", "    Networks = public")
    assert run(["validate"]) == 1
    assert f"EXAConf line {number}: [Global] Networks: 'public' cannot be: give private" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("checksum", "status", "text"),
    [
        ("0" * 32, 1, "Integrity check failed!"),
        ("COMMIT", 0, "OK"),
        ("NONE", 0, "OK"),
        ("DISABLED", 0, "WARNING: The checksum of EXAConf is DISABLED"),
    ],
)
def test_the_checksum(file: Path, capsys: Captured, checksum: str, status: int, text: str) -> None:
    """The words that stand for a checksum are accepted, a wrong one is not."""
    edit(file, "Checksum =", f"    Checksum = {checksum}")
    assert run(["validate"]) == status
    shown = capsys.readouterr()
    assert text in shown.out + shown.err


def test_show_hides_secrets_and_get_does_not(file: Path, capsys: Captured) -> None:
    """A person looks without secrets; programs read them as they stand."""
    token = re.search("AuthenticationToken = (.*)", file.read_text())
    assert token is not None
    assert run(["show"]) == 0
    whole = capsys.readouterr().out
    assert token[1] not in whole
    assert "AuthenticationToken = ***" in whole
    assert run(["get", "Global", "AuthenticationToken"]) == 0
    assert capsys.readouterr().out == f"{token[1]}\n"


def test_show_one_section_or_a_kind(file: Path, capsys: Captured) -> None:
    """Headers are found with and without blanks around the colon."""
    first = next(key for key in parse(file.read_text()).sections if key.startswith("Node : "))
    assert run(["show", first.replace(" ", "")]) == 0
    assert capsys.readouterr().out.startswith(f"[{first}]\n")
    assert run(["show", "Users"]) == 0
    assert capsys.readouterr().out.startswith("[Users]\n    [[")
    assert run(["show", "Nods"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "Global", "XMLRPCPorts"], "did you mean XMLRPCPort?"),
        (["get", "Globl", "X"], "did you mean Global?"),
        (["get", "Global/Nothing", "X"], "no section [Nothing]"),
        (["validate", "/nowhere"], "there is no file /nowhere"),
    ],
)
def test_what_is_not_there(file: Path, capsys: Captured, words: list[str], message: str) -> None:
    """The nearest known name is given."""
    assert run(words) == 1
    assert message in capsys.readouterr().err


def test_no_node(capsys: Captured) -> None:
    """Without a file the way to one is named."""
    assert run(["show"]) == 1
    assert "EXA_ROOT" in capsys.readouterr().err


def test_commit_sends_the_file(file: Path, gateway: FakeGateway, capsys: Captured) -> None:
    """The whole file goes to the cluster; what changed is told."""
    edit(file, "Checksum =", "    Checksum = COMMIT")
    gateway.answers["job_exec"] = lambda job, options: (
        ok({"diff": "-   a\n", "commands": []}) if options.get("dry_run") else ok(["Global"], result_revision=8)
    )
    assert run(["commit", "-v"]) == 0
    assert gateway.jobs()[-1] == ("exaconf_commit", {"text": file.read_text()})
    assert capsys.readouterr().out == "-   a\nRevision 8; changed: Global\n"


def test_a_commit_is_noted_on_the_node(file: Path, gateway: FakeGateway, capsys: Captured) -> None:
    """Every commit by hand is a line; one that changed nothing or failed is none, and one not noted is a warning."""
    noted = file.with_name("EXAConf.commited.manually")
    edit(file, "Checksum =", "    Checksum = COMMIT")
    for changed, revision in ((["Global"], 8), ([], 8), (["Logging"], 9)):
        gateway.answers["job_exec"] = lambda job, options, c=changed, r=revision: ok(c, result_revision=r)
        assert run(["commit"]) == 0
    gateway.answers["job_exec"] = lambda job, options: {"result_code": 1, "result_desc": "no"}
    assert run(["commit"]) == 1
    lines = noted.read_text().splitlines()
    assert [line.rpartition(" : ")[0] for line in lines] == [
        "'/exa/etc/EXAConf' : revision 8", "'/exa/etc/EXAConf' : revision 9"
    ]  # fmt: skip
    assert all(re.fullmatch(r"\d\d\.\d\d\.\d{4} - \d\d:\d\d:\d\d", line.rpartition(" : ")[2]) for line in lines)
    assert stat.S_IMODE(noted.stat().st_mode) == 0o600
    noted.unlink()
    noted.mkdir()
    gateway.answers["job_exec"] = lambda job, options: ok(["Global"], result_revision=10)
    assert run(["commit"]) == 0
    assert "WARNING: the commit is not noted" in capsys.readouterr().out


def test_a_broken_file_is_not_sent(file: Path, gateway: FakeGateway, capsys: Captured) -> None:
    """Edited without saying so: refused here, with what to do."""
    edit(file, "NameServers =", "    NameServers = 9.9.9.9")
    assert run(["commit"]) == 1
    assert "Integrity check failed!" in capsys.readouterr().err
    assert gateway.calls == []


def test_log(gateway: FakeGateway, capsys: Captured) -> None:
    """Revisions are listed with who, when, which job and what."""
    row = {"revision": 3, "time": "2026-01-02 03:04:05", "user": "root", "job_id": "11.5", "sections": list("abcde")}
    gateway.answers["job_exec"] = ok([row])
    assert run(["log", "-n", "5"]) == 0
    assert gateway.jobs() == [("exaconf_log", {"limit": 5})]
    last = "3         2026-01-02 03:04:05  root  11.5  a, b, c, d and 1 more"
    assert capsys.readouterr().out.splitlines()[1] == last


@pytest.mark.parametrize(
    ("words", "job", "params"),
    [
        (["diff", "3"], "exaconf_diff", {"old": 3}),
        (["diff", "3", "4"], "exaconf_diff", {"old": 3, "new": 4}),
        (["show", "3"], "exaconf_show", {"revision": 3}),
        (["show", "DB", "-r", "3"], "exaconf_show", {"revision": 3, "section": "DB"}),
        (
            ["passwd-user", "-n", "u", "-p", "x"],
            "user_passwd",
            {"username": "u", "password": "x", "encode_passwd": False},
        ),
        (
            ["passwd-user", "-n", "u", "-p", "x", "-e"],
            "user_passwd",
            {"username": "u", "password": "x", "encode_passwd": True},
        ),
        (["rollback", "3"], "exaconf_rollback", {"revision": 3}),
    ],
)
def test_words_become_jobs(gateway: FakeGateway, words: list[str], job: str, params: dict[str, object]) -> None:
    """Everything about revisions and users is a job."""
    gateway.answers["job_exec"] = ok([] if job == "exaconf_rollback" else "text\n")
    assert run(words) == 0
    assert gateway.jobs() == [(job, params)]


def test_failures(gateway: FakeGateway, capsys: Captured) -> None:
    """A job that fails is status 1, a wrong word 2, no daemon 3."""
    gateway.answers["job_exec"] = failed("there is no revision 77")
    assert run(["rollback", "77"]) == 1
    assert capsys.readouterr().err == "there is no revision 77\n"
    assert run(["rollback", "x"]) == 2
    assert run([]) == 2


def test_no_daemon(capsys: Captured) -> None:
    """What needs the cluster says that it is not there."""
    assert run(["log"]) == 3
    assert "this is no node" in capsys.readouterr().err
