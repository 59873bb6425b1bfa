"""``c4 store``: where a cluster keeps its configuration and jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from confd.cli.c4_target import configured, find_play, machines_of, say, with_target

if TYPE_CHECKING:
    from confd.play.record import Play, PlayNode


@click.group()
def store() -> None:
    """Where a cluster keeps its configuration and jobs."""


@store.command("etcd")
@with_target
@click.option("--endpoint", "endpoints", multiple=True, help="URL of a member of an etcd that exists; may be repeated.")
@click.option("--ca", help="File with the certificates that sign etcd's, on all nodes.")
@click.option("--certificate", help="File with the nodes' certificate towards etcd, on all nodes.")
@click.option("--key", help="File with the key of that certificate, on all nodes.")
@click.option("--user", help="Name of the nodes' user in etcd.")
@click.option("--password-file", help="File with that user's password, on all nodes.")
@click.option("--prefix", help="What all keys in etcd begin with.")
@click.option("--port", type=click.IntRange(1, 65534), help="Port of etcd that the nodes run (CCC_PLAY_ETCD_PORT).")
@click.option("--binary", help="Program of etcd that the nodes run (CCC_PLAY_ETCD_BINARY).")
def store_etcd(target: str | None, play_id: str | None, endpoints: tuple[str, ...], **given: Any) -> None:
    """Move a running cluster into etcd, with its history; without --endpoint, its data nodes run etcd for it."""
    from confd.play.storing import etcd_params

    found, node, _ = find_play(target, play_id)
    say(_move(found, node, etcd_params(list(endpoints), given, configured())))


@store.command("sqlite")
@with_target
def store_sqlite(target: str | None, play_id: str | None) -> None:
    """Move a running cluster into the embedded store, with its history."""
    found, node, _ = find_play(target, play_id)
    say(_move(found, node, {"kind": "sqlite"}))


def _move(found: Play, node: PlayNode, params: dict[str, Any]) -> str:
    if found.ssh is None:
        from confd.play import storing

        return storing.move(found, node, params)
    from confd.play import remote

    return remote.move_store(found, node, machines_of(found), params)


@store.command("recover")
@with_target
@click.option("--yes-others-are-down", is_flag=True, help="Confirm that nothing runs on the nodes that do not answer.")
def store_recover(target: str | None, play_id: str | None, yes_others_are_down: bool) -> None:
    """Go on from a survivor (-t PLAY.NODE) after the loss of etcd's majority, or of its data."""
    if not yes_others_are_down:
        raise click.UsageError("stop what still runs on the other nodes, then confirm with --yes-others-are-down")
    found, node, _ = find_play(target, play_id)
    if found.ssh is None:
        from confd.play import storing

        say(storing.recover(node))
    else:
        from confd.play import remote

        say(remote.recover_store(found, node, machines_of(found)))


@store.command("compact")
@with_target
def store_compact(target: str | None, play_id: str | None) -> None:
    """Free space in etcd, and let it take changes again after it was full."""
    found, node, _ = find_play(target, play_id)
    if found.ssh is None:
        from confd.play import storing

        say(storing.compact(node))
    else:
        from confd.play import remote

        say(remote.compact_store(found, node, machines_of(found)))
