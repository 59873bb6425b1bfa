"""Text forms of the types."""

from __future__ import annotations

from typing import Any

import pytest

from confd.exaconf.codecs import (
    BOOL,
    INT,
    INTS,
    LIST,
    PAIR,
    PAIRS,
    SIZE,
    SSH_KEYS,
    WORDS,
    Codec,
    one_of,
    optional,
    within,
)
from confd.exaconf.volumes import VolumeType
from confd.model.errors import InvalidParameter

KEY = "ssh-rsa AAAAB3 a@b"


@pytest.mark.parametrize(
    ("codec", "text", "value", "written"),
    [
        (BOOL, "off", False, "False"),
        (INT, " 012 ", 12, "12"),
        (PAIR, "500:501", (500, 501), "500 : 501"),
        (PAIRS, "8563:8574,1 : 2,", ((8563, 8574), (1, 2)), "8563:8574, 1:2"),
        (INTS, "11,12", (11, 12), "11, 12"),
        (LIST, "a,b ,", ("a", "b"), "a, b"),
        (WORDS, "a, b", ("a", "b"), "a,b"),
        (SIZE, "1024", 1024, "1 KiB"),
        (SIZE, "1.0001 GiB", 1073849198, "1.0001 GiB"),
        (one_of(VolumeType), "DATA", VolumeType.DATA, "data"),
        (within(0, 20), "20", 20, "20"),
        (optional(INT, "None"), "None", None, "None"),
        (optional(INT, ""), "None", None, ""),
        (SSH_KEYS, f"{KEY},{KEY}", (KEY, KEY), f"{KEY}, {KEY}"),
    ],
)
def test_reads_all_forms_and_writes_one(codec: Codec[Any], text: str, value: object, written: str) -> None:
    """Every accepted form gives the value, which is written in one form and read again."""
    assert codec.decode(text) == value
    assert codec.encode(value) == written
    assert codec.decode(written) == value


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        (BOOL, "maybe"),
        (BOOL, ""),
        (INT, "1.5"),
        (INT, "1_000"),
        (INT, "x"),
        (INT, ""),
        (PAIR, "500"),
        (PAIRS, "1:2, 3"),
        (INTS, "11, n12"),
        (within(1), "0"),
        (within(0, 20), "21"),
        (one_of(VolumeType), "tape"),
        (SIZE, "much"),
    ],
)
def test_refuses_the_rest(codec: Codec[Any], text: str) -> None:
    """What does not fit is refused."""
    with pytest.raises((ValueError, InvalidParameter)):
        codec.decode(text)


@pytest.mark.parametrize("options", ["no-pty,no-X11-forwarding", 'from="10.0.0.1,10.0.0.2"', "no-pty"])
def test_commas_in_ssh_key_options(options: str) -> None:
    """Options of a key may hold commas without splitting it."""
    keys = (KEY, f"{options} {KEY}", KEY)
    assert SSH_KEYS.decode(",".join(keys)) == keys
    assert SSH_KEYS.decode(SSH_KEYS.encode(keys)) == keys
