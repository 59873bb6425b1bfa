"""What confd_client prints."""

from __future__ import annotations

import json
from datetime import date, datetime

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from confd.cli.render import Rendered, render_job_file, render_result, render_value

OK: dict[str, object] = {
    "result_code": 0,
    "result_name": "OK",
    "result_desc": "Success",
    "result_jobid": "11.1",
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("running", "running\n"),
        ("line\nline\n", "line\nline\n"),
        (["MY_DATABASE"], "- MY_DATABASE\n"),
        ([], "[]\n"),
        (12, "12\n"),
        (True, "true\n"),
        ({"owner": (500, 500)}, "owner:\n- 500\n- 500\n"),
        (
            [{"expired": False, "expire": "2024-06-20 12:08", "comment": "", "bid": 1, "ts": "202501271310"}],
            "- bid: 1\n  comment: ''\n  expire: 2024-06-20 12:08\n  expired: false\n  ts: '202501271310'\n",
        ),
        ({"expiration_date": "2026-11-05"}, "expiration_date: '2026-11-05'\n"),
        ({"d": date(2026, 1, 2), "t": datetime(2026, 1, 2, 3, 4)}, "d: 2026-01-02\nt: 2026-01-02 03:04:00\n"),  # noqa: DTZ001
    ],
)
def test_output_is_yaml_in_block_style(output: object, text: str) -> None:
    """Scripts find the same lines as with the original client."""
    assert render_result(OK | {"result_output": output}) == Rendered(text)


@given(VALUES.filter(lambda value: isinstance(value, list | dict)))
def test_collections_are_as_pyyaml_writes_them(value: object) -> None:
    """The text is exactly what ``safe_dump`` gives."""
    assert render_value(value) == yaml.safe_dump(value, default_flow_style=False)


def test_the_same_object_twice_is_written_twice() -> None:
    """No anchors appear, which no script expects."""
    shared = [1]
    assert render_value({"a": shared, "b": shared}) == "a:\n- 1\nb:\n- 1\n"


def test_no_output_is_ok_and_warnings_follow() -> None:
    """A job without output prints OK, then its warnings."""
    assert render_result(OK) == Rendered("OK\n")
    assert render_result(OK | {"result_warnings": ["w"]}) == Rendered("OK\nWARNING: w\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_warnings_do_not_spoil_an_output(as_json: bool) -> None:
    """Beside an output, warnings go to stderr."""
    found = render_result(OK | {"result_output": ["a"], "result_warnings": ["w"]}, as_json=as_json)
    assert yaml.safe_load(found.stdout) == ["a"]
    assert found.stderr == "WARNING: w\n"


def test_failure_goes_to_stderr() -> None:
    """A failed job prints its description and nothing on stdout."""
    failed = {"result_code": 301, "result_name": "NOT_FOUND", "result_desc": "no database A"}
    assert render_result(failed, as_json=True) == Rendered(stderr="no database A\n", ok=False)


@given(VALUES.filter(lambda value: value is not None))
def test_json_is_read_by_any_parser(value: object) -> None:
    """``--json`` prints the output alone."""
    assert json.loads(render_result(OK | {"result_output": value}, as_json=True).stdout) == value


def test_json_without_output_is_still_json() -> None:
    """A job without output prints OK as JSON text."""
    assert render_result(OK, as_json=True).stdout == '"OK"\n'


INFO = {
    "job_id": "11.89",
    "job_name": "db_start",
    "intent": "modify",
    "user": "admin",
    "request": {"peer": "10.0.0.5", "protocol": "xmlrpc"},
    "params": {"db_name": "DB1", "passwd": "***"},
    "stage": "committed",
    "stages": {"scheduled": "2026-01-02T03:04:05.250Z", "submitted": "2026-01-02T03:04:05Z"},
    "base_revision": 17,
    "revision": 18,
    "locks": ["db:DB1", "node:11"],
    "commands": [
        {
            "name": "instance_start",
            "node": 11,
            "arguments": {"port": 8563},
            "started": "2026-01-02T03:04:05.300Z",
            "finished": "2026-01-02T03:04:06.800Z",
            "result": None,
            "output": "waiting\nready\n",
            "error": None,
        },
        {"name": "instance_start", "node": 12, "arguments": {}, "started": "2026-01-02T03:04:05Z"},
    ],
    "progress": None,
    "result": {"result_code": 0, "result_name": "OK"},
}
TEXT = """\
Job 11.89  db_start
  intent    modify
  user      admin
  stage     committed
  revision  17 -> 18
  locks     db:DB1, node:11
  request   peer 10.0.0.5, protocol xmlrpc

Parameters
  db_name: DB1
  passwd: '***'

Stages
  submitted  2026-01-02T03:04:05Z
  scheduled  2026-01-02T03:04:05.250Z  +0.250 s

Command 1  instance_start on n11  +1.500 s
  arguments:
    port: 8563
  output:
    waiting
    ready

Command 2  instance_start on n12  not finished

Result
  result_code: 0
  result_name: OK
"""


def test_a_job_file_is_readable() -> None:
    """The text shows everything recorded, in the order in which it happened."""
    assert render_job_file(INFO) == TEXT


def test_a_job_file_needs_no_key() -> None:
    """A job that has only just been submitted can be shown, too."""
    assert render_job_file({"job_id": "11.1", "job_name": "db_list"}) == "Job 11.1  db_list\n"
