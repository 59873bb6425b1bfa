"""Settings: which nodes a play gets, and combinations that make no sense."""

from __future__ import annotations

import pytest

from confd.model.errors import ConfDError, InvalidParameter
from confd.play.parameters import merge
from confd.play.settings import Settings, settle


def settings(**given: str) -> Settings:
    """Return the settings of some parameters, without their prefix."""
    return settle(merge({f"CCC_{name}": text for name, text in given.items()}))


def test_defaults_are_three_active_nodes():
    """Without parameters there are three nodes from 11, all active."""
    made = settings()
    assert [(seat.name, seat.address) for seat in made.seats] == [
        ("n11", "127.0.0.11"),
        ("n12", "127.0.0.12"),
        ("n13", "127.0.0.13"),
    ]
    assert made.active_nodes == made.data_nodes == (11, 12, 13)
    assert made.ports == {"ConfD": 20003, "node": 3250, "database": 8563}


def test_memory_counts_for_active_nodes():
    """What is too little for three nodes may be enough for one; without a database it does not matter."""
    assert settings(PLAY_DB_MEM_SIZE="64", PLAY_RESERVE_NODES="2").memory == 64
    assert settings(PLAY_DB_MEM_SIZE="1", PLAY_WITH_DB="false").memory == 1


def test_access_and_reserve_nodes():
    """The access node takes the first address and has no disks; reserve nodes are the last ones."""
    made = settings(PLAY_ACCESS_NODE="true", PLAY_RESERVE_NODES="1")
    assert [seat.name for seat in made.seats] == ["n10", "n11", "n12"]
    assert made.data_nodes == (11, 12)
    assert made.active_nodes == (11,)


def test_port_of_the_database_only_with_one():
    """Without database its port need not be free."""
    assert "database" not in settings(PLAY_WITH_DB="false").ports


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"HOST_ADDRS": ""}, InvalidParameter, "empty"),
        ({"HOST_ADDRS": "127.0.0.11 127.0.0.11"}, InvalidParameter, "twice"),
        ({"HOST_ADDRS": "localhost"}, InvalidParameter, "not an IPv4"),
        ({"HOST_ADDRS": "10.0.0.1"}, InvalidParameter, "give CCC_HOST_IMAGE_USER"),
        ({"HOST_KEY_PAIR_FILE": "/x"}, InvalidParameter, "without CCC_HOST_IMAGE_USER"),
        ({"HOST_KEY_PAIR_FILE": "/no/file", "HOST_IMAGE_USER": "u"}, InvalidParameter, "there is no file /no/file"),
        ({"HOST_ADDRS": " ".join(f"127.0.1.{n}" for n in range(1, 66))}, InvalidParameter, "65 addresses"),
        ({"PLAY_RESERVE_NODES": "3"}, InvalidParameter, "at most 2"),
        ({"PLAY_ACCESS_NODE": "true", "HOST_ADDRS": "127.0.0.11"}, InvalidParameter, "second address"),
        ({"PLAY_DB_MEM_SIZE": "191"}, InvalidParameter, "DB_MEM_SIZE=191: .* give 192 MiB or more"),
        ({"PLAY_DB_PORT": "20003"}, InvalidParameter, "port 20003"),
        ({"PLAY_CONFD_PORT": "3250"}, InvalidParameter, "port 3250"),
        ({"PLAY_CONFD_PORT": "20002"}, InvalidParameter, "port 20002 is wanted for SSH and for ConfD"),
    ],
)
def test_nonsense_is_refused(given: dict[str, str], error: type[ConfDError], text: str):
    """What cannot be is refused before anything is made."""
    with pytest.raises(error, match=text):
        settings(**given)
