"""Node operations on real instances, and what earlier, interrupted runs leave behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable

import psycopg
import pytest

from confd.model.errors import NodeError, Unsupported, WrongState
from confd.services.database.engine.files import check_plaintext
from confd.services.database.engine.installation import embedded, find
from confd.services.database.engine.server import Server
from confd.services.database.engine.workshop import Workshop
from confd.services.database.instance import operations as instance
from confd.services.database.keeper.processes import processes_in, start_time, wait_gone
from confd.services.database.observed import InstanceState, Role
from confd.services.database.record import Quorum
from tests.services.database.rig import NAME, Rig
from tests.services.database.waiting import until


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """One node with a configured database."""
    rig = make_rig(11)
    rig.volume()
    rig.database()
    return rig


def run(rig: Rig, operation, *args, node: int = 11):
    """Run an operation on the database of a node."""
    return rig.cluster.call(operation.on(node, NAME, *args))


@pytest.mark.parametrize("version", sorted({str(found.major) for found in find(filter(None, [embedded()]))}))
def test_one_instance(rig: Rig, version: str) -> None:
    """Made, started, used, stopped, with every installation of this machine; each step may be repeated."""
    rig.database(version=version)
    assert run(rig, instance.observe).state is InstanceState.EMPTY
    for _ in range(2):
        run(rig, instance.initialise, "g", False)
    seen = run(rig, instance.observe)
    assert (seen.state, seen.role, seen.generation, seen.owner) == (InstanceState.STOPPED, Role.PRIMARY, "g", NAME)
    for _ in range(2):
        assert run(rig, instance.start_primary, Quorum()) is InstanceState.READY
    assert instance.report(rig.hosts[11]) == {NAME: {"state": "ready", "restarts": 0}}
    assert rig.sql(11, "SELECT current_database(), current_setting('data_checksums')") == [(NAME, "on")]
    assert run(rig, instance.usage).persistent > 1 << 20
    for _ in range(2):
        run(rig, instance.stop, False, 60.0)
    assert rig.servers() == []
    assert instance.report(rig.hosts[11]) == {}
    run(rig, instance.wipe)
    assert run(rig, instance.observe).state is InstanceState.EMPTY
    rig.layout(11).backups.mkdir(parents=True)
    run(rig, instance.remove_instance, "x")
    assert not rig.layout(11).config.exists()
    assert not rig.layout(11).backups.exists()


def test_files_belong_to_the_server(rig: Rig) -> None:
    """Data and configuration are owned by the server's user and closed to others; the daemon's role is closed too."""
    run(rig, instance.initialise, "g", False)
    run(rig, instance.start_primary, Quorum())
    layout = rig.layout(11)
    for path in [*rig.data(11).rglob("*"), *layout.config.iterdir(), layout.log]:
        assert path.lstat().st_uid in (layout.account.uid, 0 if path.is_symlink() else layout.account.uid)
    assert rig.data(11).stat().st_mode & 0o077 == 0
    assert (layout.config / "replication.pass").stat().st_mode & 0o077 == 0
    for user in ("exa_admin", "exa_replication"):
        with pytest.raises(psycopg.OperationalError):
            rig.sql(11, "SELECT 1", user=user)


def test_managed_settings_stay(rig: Rig) -> None:
    """Even sys cannot change what the safety of the data rests on."""
    run(rig, instance.initialise, "g", False)
    run(rig, instance.start_primary, Quorum())
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="ALTER SYSTEM"):
        rig.sql(11, "ALTER SYSTEM SET synchronous_standby_names = ''")


def test_temporary_files_have_a_limit(rig: Rig) -> None:
    """Temporary files go beside the data, up to the size of the temporary volume."""
    run(rig, instance.initialise, "g", False)
    run(rig, instance.start_primary, Quorum())
    assert rig.sql(11, "SHOW temp_file_limit") == [("1GB",)]
    assert (rig.data(11) / "base" / "pgsql_tmp").resolve() == rig.data(11).parent / "temp"


def test_unfinished_data_is_made_anew(rig: Rig) -> None:
    """A killed initdb leaves something under another name: it does not count and is removed."""
    unfinished = rig.data(11).with_name("pgdata.new")
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18")
    assert run(rig, instance.observe).state is InstanceState.EMPTY
    run(rig, instance.initialise, "g", False)
    assert not unfinished.exists()
    assert run(rig, instance.start_primary, Quorum()) is InstanceState.READY


def test_initialise_killed_in_the_middle(rig: Rig) -> None:
    """Initdb is killed while it runs: an error, nothing that looks like data, and the next try works."""
    errors: list[Exception] = []

    def initialise() -> None:
        try:
            run(rig, instance.initialise, "g", False)
        except NodeError as error:
            errors.append(error)

    thread = threading.Thread(target=initialise)
    thread.start()
    unfinished = rig.data(11).with_name("pgdata.new")
    until(lambda: bool(processes_in(unfinished)))
    while thread.is_alive():
        for pid in processes_in(unfinished):
            # It may end by itself before.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        thread.join(0.01)
    assert errors
    assert run(rig, instance.observe).state is InstanceState.EMPTY
    run(rig, instance.initialise, "g", False)
    assert run(rig, instance.observe).state is InstanceState.STOPPED


def test_other_data_is_not_replaced_unasked(rig: Rig) -> None:
    """Another generation is refused without ``replace``."""
    run(rig, instance.initialise, "g", False)
    with pytest.raises(WrongState, match="create_new_db"):
        run(rig, instance.initialise, "h", False)
    run(rig, instance.initialise, "h", True)
    assert run(rig, instance.observe).generation == "h"


def test_a_late_removal_spares_a_database_made_again(rig: Rig) -> None:
    """What is owed to a node that was away does not hit a new database with the name of the deleted one."""
    run(rig, instance.initialise, "g", False)
    run(rig, instance.start_primary, Quorum())
    run(rig, instance.remove_instance, "the uuid of the deleted one")
    assert run(rig, instance.observe).state is InstanceState.READY
    assert rig.layout(11).config.exists()


def test_taken_port_is_named(rig: Rig) -> None:
    """The error names port, address and node."""
    run(rig, instance.initialise, "g", False)
    with socket.create_server((rig.address(11), rig.port)), pytest.raises(NodeError) as raised:
        run(rig, instance.start_primary, Quorum())
    assert f"port {rig.port} on {rig.address(11)} (n11) is taken" in raised.value.message
    assert rig.servers() == []
    assert run(rig, instance.start_primary, Quorum()) is InstanceState.READY


def test_standby_is_not_started_as_primary(make_rig: Callable[..., Rig]) -> None:
    """A copy never becomes writable by being started."""
    rig = make_rig(11, 12)
    rig.volume()
    rig.database()
    run(rig, instance.initialise, "g", False)
    run(rig, instance.start_primary, Quorum())
    password = run(rig, instance.admit, 12)
    run(rig, instance.clone, 11, password, node=12)
    with pytest.raises(WrongState):
        run(rig, instance.start_primary, Quorum(), node=12)
    assert run(rig, instance.start_standby, 11, node=12) is InstanceState.READY
    seen = run(rig, instance.observe, node=12)
    assert (seen.role, seen.generation) == (Role.STANDBY, "g")


def test_plaintext_between_machines_must_be_accepted() -> None:
    """Without TLS an address that others can reach is refused, unless it is accepted."""
    check_plaintext("127.0.0.11", allowed=False)
    check_plaintext("10.0.0.1", allowed=True)
    with pytest.raises(Unsupported, match="-allowPlaintext=1"):
        check_plaintext("10.0.0.1", allowed=False)


def test_server_that_lost_its_keeper_counts_until_it_is_gone(rig: Rig) -> None:
    """It is seen stopping, not stopped, and is ended before its data is replaced."""
    run(rig, instance.initialise, "g", False)
    run(rig, instance.start_primary, Quorum())
    status = rig.keeper(11).status()
    os.kill(status.server, signal.SIGSTOP)
    os.kill(status.keeper, signal.SIGKILL)
    assert wait_gone(status.keeper, 10)
    seen = run(rig, instance.observe)
    assert (seen.state, seen.orphan, seen.running) == (InstanceState.STOPPING, True, True)
    workshop = Workshop(Server(rig.hosts[11], NAME).place, rig.layout(11).account)
    os.kill(status.server, signal.SIGCONT)
    with workshop.alone():
        workshop.make()
        workshop.exchange()
        assert processes_in(workshop.place.unfinished) == []
    assert start_time(status.server) is None
    assert not run(rig, instance.observe).running
