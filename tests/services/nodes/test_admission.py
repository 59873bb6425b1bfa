"""Who is let in, and what everybody else is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.joining.tokens import hash_secret
from confd.exaconf import Node
from confd.model.errors import ConfDError, InUse, NotFound, PermissionDenied, WrongState
from confd.services.nodes.admission import SKEW_SECONDS, Applicant, Present, TokenRecord, admit

NOW = 1_800_000_000.0
SECRET = b"s" * 32
NODE = Node(14, name="n14", private_net="10.0.0.14/24", uuid="U14")
TOKEN = TokenRecord(hash_secret(SECRET), "U14", NOW + 60)
APPLICANT = Applicant(
    node=14, secret=SECRET, cluster="C1", key="k1", address="10.0.0.14", version="1.0", clock=NOW + SKEW_SECONDS
)
PRESENT = Present(cluster="C1", version="1.0", now=NOW, node=NODE, token=TOKEN, joined=None)
USED = msgspec.structs.replace(TOKEN, key="k1", used=NOW)


def test_a_good_token_is_used() -> None:
    """The record says when, and by which key."""
    assert admit(APPLICANT, PRESENT) == USED


def test_the_same_key_gets_in_again() -> None:
    """The first answer may have got lost: a repeat changes nothing."""
    present = msgspec.structs.replace(PRESENT, token=USED, now=NOW + 30)
    assert admit(APPLICANT, present) == USED


@pytest.mark.parametrize(
    ("applicant", "present", "error", "told"),
    [
        ({"secret": b"x" * 32}, {}, PermissionDenied, "does not know this token"),
        ({}, {"token": None}, PermissionDenied, "c4 host token 14"),
        ({"secret": b""}, {"token": None}, PermissionDenied, "does not know this token"),
        ({}, {"now": NOW + 61}, PermissionDenied, "expired at 2027-01-15 08:01:00 UTC"),
        ({"key": "k2"}, {"token": USED}, PermissionDenied, "was used at 2027-01-15 08:00:00 UTC"),
        ({}, {"token": USED, "now": NOW + 61}, PermissionDenied, "expired"),
        ({}, {"node": None}, NotFound, "n14 was removed"),
        ({}, {"node": msgspec.structs.replace(NODE, uuid="U99")}, NotFound, "n14 was removed"),
        ({}, {"joined": "U14", "token": USED}, InUse, "has joined already"),
        ({"cluster": "C2"}, {}, WrongState, "UUID C2, this one has C1"),
        ({"address": "10.0.0.15"}, {}, WrongState, r"10\.0\.0\.15, but n14 has 10\.0\.0\.14"),
        ({"version": "0.9"}, {}, WrongState, r"OpenConfD 0\.9, the cluster runs 1\.0"),
        ({"version": "2.0"}, {}, WrongState, r"install the same version"),
        ({"clock": NOW + SKEW_SECONDS + 1}, {}, WrongState, "301 s ahead of"),
        ({"clock": NOW - 86_400}, {}, WrongState, "86400 s behind"),
    ],
)
def test_refusals(applicant: dict[str, Any], present: dict[str, Any], error: type[ConfDError], told: str) -> None:
    """Each says what is wrong and what to do."""
    with pytest.raises(error, match=told):
        admit(msgspec.structs.replace(APPLICANT, **applicant), msgspec.structs.replace(PRESENT, **present))


def test_a_joined_record_of_an_earlier_node_does_not_count() -> None:
    """It holds for the UUID it was written for."""
    assert admit(APPLICANT, msgspec.structs.replace(PRESENT, joined="U99")).key == "k1"


@given(
    secret=st.sampled_from([SECRET, b"x" * 32, b""]), key=st.sampled_from(["k1", "k2"]), clock=st.floats(0, 4e9),
    expires=st.floats(0, 4e9), used=st.sampled_from(["", "k1", "k2"]), node=st.sampled_from([NODE, None]),
)  # fmt: skip
def test_nobody_gets_in_without_the_secret(
    secret: bytes, key: str, clock: float, expires: float, used: str, node: Node | None
) -> None:
    """Who gets in had the secret in time, and no other key did before; who has not is told one thing only."""
    applicant = msgspec.structs.replace(APPLICANT, secret=secret, key=key, clock=clock)
    token = msgspec.structs.replace(TOKEN, expires=expires, key=used)
    try:
        record = admit(applicant, msgspec.structs.replace(PRESENT, token=token, node=node))
    except ConfDError as error:
        if secret != SECRET:
            assert "does not know this token" in error.message
        return
    assert secret == SECRET
    assert record.key == key
    assert used in ("", key)
    assert expires >= NOW
    assert node is not None
