"""Every documented example of the jobs that define, start, stop and empty a database, on real servers.

Sizes and numbers of nodes are scaled to three small nodes, and releases of Exasol are replaced by PostgreSQL 15 where
an example needs what the embedded one lacks.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from confd.model.secret import Secret
from confd.scheduler.registry import load
from confd.services.database.scram import make_verifier
from tests.cluster.harness import SYS_PASSWORD, Cluster
from tests.cluster.test_configuration import edit, exaconf
from tests.servers import POSTGRESQL, require

NODES = [11, 12]
SMALL = {"nodes": [11, 12, 13], "num_active_nodes": 2, "mem_size": "256 MiB"}


def examples(job: str) -> list[dict[str, Any]]:
    """Return the examples of a job."""
    return [dict(example) for example in load()[job].examples]


@pytest.fixture(scope="module")
def place(plain: Cluster) -> Iterator[Cluster]:
    """The volumes and the owner that examples name."""
    require(POSTGRESQL)
    plain.run("group_create", groupname="owners", groupid=1000)
    volumes = ("DataVolume1", "DATA_VOLUME_1", "data_vol")
    for name in volumes:
        plain.run("st_volume_create", name=name, type="data", disk="disk1", size="256 MiB", nodes=[*NODES, 13],
                  redundancy=2, num_master_nodes=2)  # fmt: skip
    yield plain
    for name in volumes:
        plain.run("st_volume_delete", vname=name)
    plain.run("group_delete", groupname="owners")


@contextlib.contextmanager
def database(place: Cluster, name: str, **changes: Any) -> Iterator[None]:
    """Define a database for a block."""
    wanted = {"version": "15", "data_volume_name": "DataVolume1", "port": 9563, **SMALL} | changes
    place.run("db_create", db_name=name, **wanted)
    try:
        yield
    finally:
        place.try_run("db_stop", db_name=name)
        place.run("db_delete", db_name=name)


def config(place: Cluster, name: str) -> dict[str, Any]:
    """Return what db_info shows of a database's configuration."""
    shown: dict[str, Any] = place.run("db_info", db_name=name)["config"]
    return shown


def add_bucket(place: Cluster, service: str, bucket: str) -> None:
    """Add a BucketFS service with a bucket to EXAConf, as an administrator does with an editor."""
    path = place.root(11) / "etc/EXAConf"
    section = f"[BucketFS : {service}]\n    HttpPort = 0\n    HttpsPort = 0\n    [[Bucket : {bucket}]]\n        Public = True\n"
    edit(path, "[EXAStorage]", f"{section}[EXAStorage]")
    done = exaconf(place, "commit")
    assert done.returncode == 0, done.stdout + done.stderr


def test_create(place: Cluster) -> None:
    """Each database of the documentation can be defined, is in setup, and shows what was given."""
    for given in examples("db_create"):
        wanted = given | SMALL
        if "ldap_server" in given:
            refused = place.try_run("db_create", **wanted)
            assert (refused["result_name"], "ldap" in refused["result_desc"]) == ("UNSUPPORTED", True)
            wanted["version"] = "15"
        if "default_sys_passwd_hash" in given:
            refused = place.try_run("db_create", **wanted)
            assert (refused["result_name"], "c4 pwdhash" in refused["result_desc"]) == ("INVALID_PARAMETER", True)
            wanted["default_sys_passwd_hash"] = make_verifier(Secret("x")).reveal()
        assert place.run("db_create", **wanted) is None
        assert place.run("db_state", db_name=given["db_name"]) == "setup"
        shown = config(place, given["db_name"])
        for name in ("port", "owner", "auto_start", "enable_auditing", "ldap_server"):
            assert shown[name] == wanted.get(name, shown[name]), name
        assert shown["version"] == wanted["version"]
        assert place.run("db_delete", db_name=given["db_name"]) is None


def test_configure(place: Cluster) -> None:
    """Each change of the documentation is stored; a bucket that does not exist is NOT_FOUND."""
    shows = {
        "port": 3000, "owner": [1000, 1000], "enable_auditing": True, "ldap_server": "ldap://192.168.16.10:389",
    }  # fmt: skip
    params = {"exa_db": "-forceProtocolEncryption=1", "MY_DATABASE": "-forceProtocolEncryption=0"}
    for name in ("exa_db", "MY_DATABASE", "MYDB", "PROD_DR", "DB1"):
        with database(place, name):
            for given in (one for one in examples("db_configure") if one["db_name"] == name):
                if "jdbc_urls" in given:
                    answer = place.try_run("db_configure", **given)
                    assert answer["result_name"] == "NOT_FOUND"
                    assert "bucketfsfordrivers" in answer["result_desc"]
                    add_bucket(place, "bucketfsfordrivers", "mydrivers")
                if "ldap_server" in given:
                    place.run("db_configure", db_name=name, version="15")
                assert place.run("db_configure", **given) is None
                shown = config(place, name)
                for key in given.keys() & shows.keys():
                    assert shown[key] == shows[key]
                if given.keys() & {"params", "params_add"}:
                    assert shown["params"] == params[name]
                if "jdbc_urls" in given:
                    assert shown["jdbc"] == {
                        "bucketfs": "bucketfsfordrivers", "bucket": "mydrivers", "dir": "jdbc", "additional_urls": [],
                    }  # fmt: skip
                if "params_delete" in given:
                    assert shown["params"] == ""
    assert place.run("db_list") == []


def test_start_stop_reset_kerberos(place: Cluster) -> None:
    """DB1 starts, stops and is emptied as documented; keytabs are taken, and kept out of the history."""
    starts, stops = examples("db_start"), examples("db_stop")
    with database(place, "DB1"), database(place, "mydb", port=9564, data_volume_name="data_vol"):
        for start, stop in zip([*starts, {"db_name": "DB1", "cluster": "+all"}], stops, strict=True):
            assert place.run("db_start", **start) is None
            info = place.run("db_info", db_name="DB1")
            assert len(info["certificate fingerprint"]) == 64
            with connect(place) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS t (i int)")
            assert place.run("db_stop", **stop) is None
        for reset in examples("db_reset"):
            assert place.run("db_reset", **reset) is None
        place.run("db_start", db_name="DB1", maintenance=True)
        with connect(place) as connection:
            assert connection.execute("SELECT to_regclass('t')").fetchone() == (None,)
        place.run("db_stop", db_name="DB1")
        for given in examples("db_configure_kerberos"):
            envelope = place.try_run("db_configure_kerberos", **given)
            assert envelope["result_code"] == 0, envelope
            for node in place.addresses:
                keytab = place.root(node) / f"etc/{given['db_name']}-keytab"
                assert keytab.read_text() == given["keytab"]
            told = place.client(11).job_info({"job_id": envelope["result_jobid"]})
            text = given["keytab"]
            assert text not in repr(told)
            assert base64.b64encode(text.encode()).decode() not in repr(told)
            again = place.try_run("db_configure_kerberos", **given)
            assert again["result_name"] == "ALREADY_EXISTS"
        assert "-kerberosRealm=BOXES.TEST" in config(place, "DB1")["params"]


def connect(place: Cluster) -> Any:
    """Connect to DB1 as sys."""
    return psycopg.connect(
        host=place.addresses[11], port=9563, user="sys", password=SYS_PASSWORD, dbname="DB1", sslmode="require"
    )
