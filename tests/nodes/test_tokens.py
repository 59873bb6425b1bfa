"""Tokens survive mails and shells, and what is damaged is no token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.joining.tokens import Token, cluster_uuid, fits, hash_secret, new_secret, read, write
from confd.model.errors import InvalidParameter

_ADDRESSES = st.ip_addresses(v=4).map(str)
TOKENS = st.builds(
    Token, cluster=st.text(max_size=64), authority=st.binary(min_size=32, max_size=32), node=st.integers(1, 2**31),
    uuid=st.text("0123456789ABCDEF", min_size=40, max_size=40), address=_ADDRESSES,
    doors=st.lists(_ADDRESSES, max_size=5).map(tuple), port=st.integers(1, 65535), confd_port=st.integers(1, 65535),
    expires=st.integers(0, 2**40), secret=st.binary(min_size=32, max_size=32),
)  # fmt: skip


@given(TOKENS, st.integers(1, 60))
def test_a_token_reads_back(token: Token, width: int) -> None:
    """Also when it was broken into lines; its text needs no quotes anywhere."""
    text = write(token)
    assert read(text) == token
    assert read("\n".join(text[at : at + width] for at in range(0, len(text), width)) + "\n") == token
    assert text.isascii()
    assert text.replace("_", "").replace("-", "").isalnum()
    assert token.secret.hex() not in repr(token)


@given(TOKENS, st.data())
def test_a_damaged_token_is_none(token: Token, data: st.DataObject) -> None:
    """A part of it, or one with a character changed, is refused with what to do."""
    text = write(token)
    place = data.draw(st.integers(0, len(text) - 2))
    other = data.draw(st.sampled_from([one for one in "aZ0_-" if one != text[place]]))
    for damaged in (text[:place], text[:place] + other + text[place + 1 :]):
        with pytest.raises(InvalidParameter, match=r"copy all of it|make one with"):
            read(damaged)


@given(st.text(max_size=300))
def test_anything_else_is_none(text: str) -> None:
    """Whatever is pasted instead."""
    with pytest.raises(InvalidParameter):
        read(text)


def test_only_the_hash_of_a_secret_is_needed() -> None:
    """It tells the right secret from others; no secret fits an empty hash."""
    secret = new_secret()
    assert fits(secret, hash_secret(secret))
    assert not fits(new_secret(), hash_secret(secret))
    assert not fits(b"", "")
    assert secret.hex() not in hash_secret(secret)


def test_the_uuid_of_a_cluster() -> None:
    """It has the form of node UUIDs."""
    assert cluster_uuid(bytes(range(32))) == "000102030405060708090A0B0C0D0E0F10111213"
