"""Passwords: new hashes, old hashes, and what counts as a hash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confd.services.access.passwords import encode, hash_password, is_encoded, verify

OLD = {
    "$1$": "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
    "$5$": "$5$saltsalt$gOjOtoMpVhru2uyjeJSEc/JaLQWOXMNmlOnj6T4AtC.",
    "$6$": "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/",
    "$2a$": "$2a$05$abcdefghijklmnopqrstuuWG29KuyeAicPCJODk1zjyGvyQUU2awu",
    "$2y$": "$2y$05$abcdefghijklmnopqrstuuWG29KuyeAicPCJODk1zjyGvyQUU2awu",
    "$y$": "$y$j9T$abcdefgh$79JhsKZwfY/UU2qrk3QcffpHl7EyEEJK0pA5pD1wu73",
}


@pytest.mark.parametrize("stored", OLD.values(), ids=OLD)
def test_old_hashes_keep_working(stored: str) -> None:
    """Hashes of existing files are verified through libcrypt."""
    assert verify(stored, "password")
    assert not verify(stored, "Password")


def test_new_hashes_are_argon2id() -> None:
    """A password is hashed with salt, so two hashes of it differ, and both fit."""
    one, two = hash_password("secret"), hash_password("secret")
    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert one != two
    assert verify(one, "secret")
    assert verify(two, "secret")
    assert not verify(one, "Secret")


@pytest.mark.parametrize("stored", ["", "*", "!", "plain", "$argon2id$broken", "$6$", "$6$salt", "$y$x", "$9$a$b"])
def test_what_is_no_hash_lets_nobody_in(stored: str) -> None:
    """Neither empty nor broken nor unknown hashes fit any password, not even themselves."""
    assert not verify(stored, stored)
    assert not verify(stored, "")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_refused_calmly(stored: str, password: str) -> None:
    """No stored text and no password makes the check fail otherwise than with no."""
    assert verify(stored, password) is False


def test_a_password_with_nul_does_not_fit_its_beginning() -> None:
    """Libcrypt reads up to a NUL; that is not taken for the whole."""
    assert not verify(OLD["$6$"], "password\0more")


@pytest.mark.parametrize(
    ("text", "encoded"),
    [*((text, True) for text in OLD.values()), ("$2a$05$abc", True), ("$2y$05$abc", True), ("$y$j9T$abc", True),
     ("$argon2id$v=19$x", True), ("secret", False), ("", False), ("*", False), ("$7$x", False),
     ("$6$with blank", False), ("$6$line\nbreak", False)],
)  # fmt: skip
def test_hashes_are_known_by_their_prefix(text: str, encoded: bool) -> None:
    """The documented prefixes are hashes unless something that no hash holds follows."""
    assert is_encoded(text) is encoded


def test_encode() -> None:
    """Forced, everything is hashed; otherwise a hash is kept; empty and star mean no password."""
    stored = OLD["$6$"]
    assert encode(stored, force=False) == stored
    assert verify(encode(stored, force=True) or "", stored)
    assert verify(encode("plain", force=False) or "", "plain")
    assert [encode(text, force=force) for text in ("", "*") for force in (True, False)] == [None] * 4


def test_many_threads_get_the_right_answers() -> None:
    """Libcrypt answers in one buffer; threads do not see each other's answers."""
    cases = [(stored, password, password == "password") for stored in OLD.values() for password in ("password", "x")]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda case: verify(case[0], case[1]) is case[2], cases * 20))
    assert all(answers)
