"""What clients see of a running cluster."""

from __future__ import annotations

import http.client
import json
import ssl
import xmlrpc.client
from typing import Any

import pytest

from tests.cluster.harness import ADMIN_PASSWORD, Cluster, until

METHODS = [
    "job_desc", "job_exec", "job_finished", "job_help", "job_info", "job_list", "job_result", "job_start",
    "job_wait", "subscribe", "system.listMethods", "system.methodHelp", "system.methodSignature", "unsubscribe",
    "user_init", "user_login", "user_state",
]  # fmt: skip


def post(cluster: Cluster, body: bytes, path: str = "/", node: int = 11, **headers: str) -> tuple[int, bytes]:
    """POST a body; status and answer."""
    connection = http.client.HTTPSConnection(
        cluster.addresses[node], 20003, context=ssl._create_unverified_context(), timeout=30
    )
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def get(cluster: Cluster, path: str, node: int = 11) -> tuple[int, str]:
    """GET without credentials."""
    connection = http.client.HTTPSConnection(
        cluster.addresses[node], 20003, context=ssl._create_unverified_context(), timeout=30
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def basic(user: str = "admin", password: str = ADMIN_PASSWORD) -> dict[str, str]:
    """Return the header of a login."""
    import base64

    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_the_vendors_snippet_works_unchanged(plain: Cluster) -> None:
    """The documented Python 3 snippet gets an envelope."""
    connection = xmlrpc.client.ServerProxy(
        f"https://admin:{ADMIN_PASSWORD}@{plain.addresses[12]}:20003",
        context=ssl._create_unverified_context(),
        allow_none=True,
    )
    answer: Any = connection.job_exec("db_start", {"params": {"db_name": "Exasol"}})
    assert answer["result_name"] == "NOT_FOUND"
    assert set(answer) == {"result_code", "result_name", "result_desc", "result_jobid"}
    assert answer["result_jobid"].startswith("12.")


def test_list_methods_is_exactly_the_documented_list(plain: Cluster) -> None:
    """system.listMethods gives the 17 names in the documented order."""
    assert plain.client(11).system.listMethods() == METHODS


def test_multicall_is_answered(plain: Cluster) -> None:
    """xmlrpc.client.MultiCall works, with results and faults in their places."""
    calls = xmlrpc.client.MultiCall(plain.client(13))
    calls.job_exec("db_list")
    calls.no_such_method()
    results = calls()
    assert results[0]["result_output"] == []
    with pytest.raises(xmlrpc.client.Fault):
        results[1]


@pytest.mark.parametrize("path", ["/", "/rpc2", "/RPC2", "/rpc2/"])
def test_xmlrpc_paths(plain: Cluster, path: str) -> None:
    """XML-RPC is answered on every documented path."""
    body = xmlrpc.client.dumps((), "job_list").encode()
    status, answer = post(plain, body, path, **basic())
    assert status == 200
    assert "user_list" in xmlrpc.client.loads(answer)[0][0]


def test_json(plain: Cluster) -> None:
    """/jrpc takes the documented JSON form, without content type, and answers the envelope."""
    body = json.dumps({"method": "job_exec", "job": "group_list", "params": {"params": {}}}).encode()
    status, answer = post(plain, body, "/jrpc", node=12, **basic())
    assert status == 200
    assert json.loads(answer)["result_output"]["exaadm"] == {"id": 499}


def test_numbers_that_are_too_large_are_refused_alike_on_every_node(plain: Cluster) -> None:
    """With an envelope that has an id, as any other wrong value."""
    call = {"method": "job_exec", "job": "node_info", "params": {"params": {"nid": 10**29}}}
    for node in plain.addresses:
        status, answer = post(plain, json.dumps(call).encode(), "/jrpc", node=node, **basic())
        envelope = json.loads(answer)
        assert (status, envelope["result_name"]) == (200, "INVALID_PARAMETER")
        assert envelope["result_jobid"].startswith(f"{node}.")


def test_lookups_need_no_login(plain: Cluster) -> None:
    """/master and /is_master answer anybody on every node."""
    for node in plain.addresses:
        assert get(plain, "/master", node) == (200, plain.addresses[11])
        assert get(plain, "/master?info_type=name", node) == (200, "n11")
        assert get(plain, "/is_master", node) == (200, "true" if node == 11 else "false")


def test_wrong_password_is_401(plain: Cluster) -> None:
    """A wrong password and no password give HTTP 401."""
    with pytest.raises(xmlrpc.client.ProtocolError) as caught:
        plain.client(12, password="wrong").job_list()
    assert caught.value.errcode == 401
    body = xmlrpc.client.dumps((), "job_list").encode()
    assert post(plain, body)[0] == 401


def test_tokens(plain: Cluster) -> None:
    """The AuthenticationToken of EXAConf and a session token work as Bearer; a wrong one is 401."""
    text = (plain.root(13) / "etc/EXAConf").read_text()
    token = next(line.split("=", 1)[1].strip() for line in text.splitlines() if "AuthenticationToken" in line)
    session = plain.client(11).user_login("admin", ADMIN_PASSWORD)
    body = xmlrpc.client.dumps((), "user_state").encode()
    for bearer, name in ((token, "root"), (session, "admin")):
        status, answer = post(plain, body, Authorization=f"Bearer {bearer}")
        assert (status, xmlrpc.client.loads(answer)[0][0]["name"]) == (200, name)
    assert post(plain, body, Authorization="Bearer nonsense")[0] == 401


def test_session_ends_with_the_password(plain: Cluster, name: str) -> None:
    """A session token and a remembered password are worth nothing after the password changed."""
    plain.run("user_create", username=name, userid=70001, password="one", group="exaadm", login_enabled=True)
    client = plain.client(12, name, "one")
    session = client.user_login(name, "one")
    plain.run("user_passwd", username=name, password="two")
    body = xmlrpc.client.dumps((), "user_state").encode()
    assert post(plain, body, Authorization=f"Bearer {session}")[0] == 401
    assert post(plain, body, **basic(name, "one"))[0] == 401
    assert post(plain, body, **basic(name, "two"))[0] == 200


def test_a_new_user_can_log_in_on_every_node(plain: Cluster, name: str) -> None:
    """A user that was created logs in at once, everywhere; a deleted one nowhere."""
    plain.run("user_create", username=name, userid=70002, password="geheim", group="exausers", login_enabled=True)
    for node in plain.addresses:
        assert plain.client(node, name, "geheim").job_exec("db_list")["result_output"] == []
    plain.run("user_delete", username=name)
    for node in plain.addresses:
        with pytest.raises(xmlrpc.client.ProtocolError):
            plain.client(node, name, "geheim").job_list()


def test_rights(plain: Cluster, name: str) -> None:
    """exadbadm may ask databases but not create users; a user may set his own password only."""
    plain.run("user_create", username=name, userid=70003, password="a", group="exadbadm", login_enabled=True)
    client = plain.client(11, name, "a")
    new = {"username": "x", "userid": 7, "password": "x", "group": "exausers", "login_enabled": True}
    assert client.job_exec("user_create", {"params": new})["result_name"] == "PERMISSION_DENIED"
    assert client.job_exec("db_start", {"params": {"db_name": "nope"}})["result_name"] == "NOT_FOUND"
    assert client.job_exec("user_passwd", {"params": {"username": "root", "password": "x"}})["result_code"] == 201
    assert client.job_exec("user_passwd", {"params": {"username": name, "password": "b"}})["result_code"] == 0
    assert plain.client(11, name, "b").job_exec("db_list")["result_code"] == 0


def test_job_by_steps(plain: Cluster, name: str) -> None:
    """job_start, job_wait, job_finished, job_result and job_info tell of one job."""
    client = plain.client(13)
    new = {"username": name, "userid": 70004, "password": "pw-secret", "group": "exausers", "login_enabled": True}
    job_id = client.job_start("user_create", {"params": new})
    assert client.job_wait(job_id, {"timeout": 30}) is True
    assert client.job_finished(job_id) is True
    result: Any = client.job_result(job_id)
    assert result["result_code"] == 0
    assert isinstance(result["result_revision"], int)
    info: Any = client.job_info({"job_id": job_id})
    assert info["result"] == result
    assert list(info["stages"]) and info["stage"] == "committed"
    assert info["params"]["password"] == "***"
    assert "pw-secret" not in repr(info)


def test_refused_calls_are_started_like_any_other(plain: Cluster, name: str) -> None:
    """job_start returns their ids on every node, and job_result tells why each was refused."""
    plain.run("user_create", username=name, userid=70009, password="a", group="exausers", login_enabled=True)
    refused = (
        ("user_lst", {}, "UNKNOWN_JOB"),
        ("user_info", {"usrname": "root"}, "UNKNOWN_PARAMETER"),
        ("user_delete", {}, "MISSING_PARAMETER"),
        ("user_passwd", {"username": "root", "password": "x"}, "PERMISSION_DENIED"),
    )
    for client in (plain.client(node, name, "a") for node in (11, 12)):
        for job, params, error in refused * 5:
            job_id = client.job_start(job, {"params": params})
            assert client.job_wait(job_id, {"timeout": 30}) is True
            assert client.job_result(job_id)["result_name"] == error


def test_unknown_ids_are_faults(plain: Cluster) -> None:
    """job_wait and job_finished fault on unknown ids; job_result gives an envelope."""
    client = plain.client(11)
    for call in (client.job_wait, client.job_finished):
        with pytest.raises(xmlrpc.client.Fault):
            call("11.99999999")
    assert client.job_result("11.99999999")["result_name"] == "NOT_FOUND"


def test_subscribe_tells_of_stages(plain: Cluster, name: str) -> None:
    """A subscriber sees the stages of a job in order."""
    client = plain.client(12)
    cursor = client.subscribe({"timeout": 0.01})["cursor"]
    plain.run("group_create", groupname=name, groupid=71234)
    events: Any = client.subscribe({"after": cursor, "timeout": 10})["events"]
    stages = [event["stage"] for event in events if event["job_name"] == "group_create"]
    assert stages == ["submitted", "scheduled", "executed", "finished", "committed"][: len(stages)]
    assert stages


def test_jobs_of_others_are_hidden(plain: Cluster, name: str) -> None:
    """A job is visible to its caller and to administrators only."""
    plain.run("user_create", username=name, userid=70005, password="a", group="exausers", login_enabled=True)
    own = plain.client(11, name, "a")
    his = own.job_exec("db_list")["result_jobid"]
    hers = plain.client(11).job_exec("db_list")["result_jobid"]
    until(lambda: plain.client(11).job_result(his)["result_code"] == 0, "the read job is journalled")
    assert own.job_result(his)["result_code"] == 0
    assert own.job_result(hers)["result_name"] == "NOT_FOUND"


def test_dry_run_changes_nothing(plain: Cluster) -> None:
    """A dry run shows the change and leaves no trace."""
    before = plain.files()
    new = {"username": "dry", "userid": 70006, "password": "x", "group": "exausers", "login_enabled": True}
    answer: Any = plain.client(12).job_exec("user_create", {"params": new, "dry_run": True})
    assert answer["result_code"] == 0
    assert "[[dry]]" in answer["result_output"]["diff"]
    assert plain.files() == before


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        (b"<methodCall>", "/", 200),
        (b"{", "/jrpc", 400),
        (b"[" * 10_000 + b"]" * 10_000, "/jrpc", 400),
        (b"\xff\xfe\xfa", "/", 200),
        (b"\xff\xfe\xfa", "/jrpc", 400),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><methodCall><methodName>&b;</methodName></methodCall>', "/", 200),
        (b"<methodCall><methodName>job_exec</methodName><params>" + b"<param><value><array><data>" * 10_000, "/", 200),
        (b"x" * (100 * 1024 * 1024), "/", 413),
    ],
    ids=["xml", "json", "deep json", "utf8 xml", "utf8 json", "doctype", "deep xml", "100 MB"],
)
def test_hostile_bodies_are_refused(plain: Cluster, body: bytes, path: str, status: int) -> None:
    """A hostile body gets a fault or an error status, quickly, and the node serves on."""
    try:
        got, answer = post(plain, body, path, **basic())
    except (BrokenPipeError, ConnectionResetError):
        # The node answered and closed before the whole body was sent.
        got, answer = 413, b""
    assert got == status
    if status == 200:
        with pytest.raises(xmlrpc.client.Fault):
            xmlrpc.client.loads(answer)
    assert plain.run("db_list") == []


@pytest.mark.parametrize(
    ("job", "params", "name", "words"),
    [
        ("user_lst", {}, "UNKNOWN_JOB", "user_list"),
        ("user_info", {"usrname": "root"}, "UNKNOWN_PARAMETER", "usrname"),
        ("user_delete", {}, "MISSING_PARAMETER", "username"),
        ("user_info", {"username": [1]}, "INVALID_PARAMETER", "username"),
        ("user_info", {"username": "root", "userid": 0}, "INVALID_PARAMETER", "both"),
        ("user_info", {}, "MISSING_PARAMETER", "userid"),
        ("user_info", {"username": "rot"}, "NOT_FOUND", "root"),
        ("group_create", {"groupname": "root", "groupid": 77}, "ALREADY_EXISTS", "root"),
        ("node_info", {"nid": 99}, "NOT_FOUND", "99"),
        ("st_volume_info", {"vname": "nope"}, "NOT_FOUND", "nope"),
        ("db_start", {"db_name": "nope"}, "NOT_FOUND", "nope"),
        ("db_start", {"db_name": "nope", "timeout": -1}, "INVALID_PARAMETER", "timeout"),
        ("st_volume_create", {"name": "v", "type": "tape", "disk": "disk1", "size": "1 GiB", "nodes": [11],
                              "redundancy": 1}, "INVALID_PARAMETER", "data"),
        ("st_volume_create", {"name": "v", "type": "data", "disk": "disk1", "size": "100", "nodes": [11],
                              "redundancy": 1}, "INVALID_PARAMETER", "size"),
        ("st_volume_create", {"name": "v", "type": "data", "disk": "disk1", "size": "900 TiB", "nodes": [11],
                              "redundancy": 1}, "STE_INSUFF_SPACE", "TiB"),
        ("st_volume_create", {"name": "v", "type": "data", "disk": "disk1", "size": "1 GiB", "nodes": [11, 99],
                              "redundancy": 1}, "NOT_FOUND", "99"),
    ],
)  # fmt: skip
def test_bad_requests_say_what_is_wrong(plain: Cluster, job: str, params: Any, name: str, words: str) -> None:
    """A wrong request gets its error name and a message that helps, and nothing changes."""
    before = plain.files()
    answer = plain.try_run(job, 12, **params)
    assert answer["result_name"] == name, answer
    assert words in answer["result_desc"]
    assert plain.files() == before


def test_failed_logins_are_slowed_down(plain: Cluster, name: str) -> None:
    """After several failures an attempt waits, and is 401 as before; others are not held up."""
    plain.run("user_create", username=name, userid=70007, password="right", group="exausers", login_enabled=True)
    body = xmlrpc.client.dumps((), "user_state").encode()
    assert [post(plain, body, **basic(name, "wrong"))[0] for _ in range(4)] == [401] * 4
    assert post(plain, body, **basic(name, "right"))[0] == 200
    assert plain.run("db_list") == []


def test_secrets_are_nowhere_in_the_clear(plain: Cluster, name: str) -> None:
    """A password is in no journal, log or job file of any node."""
    secret = f"unmistakable-{name}"
    plain.run("user_create", username=name, userid=70008, password=secret, group="exausers", login_enabled=True)
    plain.try_run("user_create", username=name, userid=70008, password=secret, group="exausers", login_enabled=True)
    for path in plain.home.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
