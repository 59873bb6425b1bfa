"""SCRAM verifiers."""

from __future__ import annotations

import base64

import pytest

from confd.model.errors import InvalidParameter
from confd.model.secret import Secret
from confd.services.database.scram import check_verifier, make_verifier


def test_known_verifier() -> None:
    """The verifier of RFC 7677's example exchange: user, pencil."""
    verifier = make_verifier(Secret("pencil"), base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")).reveal()
    assert verifier == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_own_salt() -> None:
    """Two verifiers of one password differ."""
    assert make_verifier(Secret("x")) != make_verifier(Secret("x"))


@pytest.mark.parametrize(("one", "other"), [("I\u00adX", "IX"), ("\u2168", "IX"), ("a\u00a0b", "a b")])
def test_prepared_passwords(one: str, other: str) -> None:
    """Passwords that look alike are alike, as in PostgreSQL."""
    salt = b"0" * 16
    assert make_verifier(Secret(one), salt) == make_verifier(Secret(other), salt)


@pytest.mark.parametrize(
    "text", ["", "9B37963C9904E08B4516711AAA5840206B3817F9B671C385F00BFC2E", "SCRAM-SHA-256$4096:aa$b:c"]
)
def test_refused(text: str) -> None:
    """What is no verifier is refused with what to do."""
    with pytest.raises(InvalidParameter, match="c4 pwdhash"):
        check_verifier(text)


def test_accepted() -> None:
    """What make_verifier gives is one."""
    verifier = make_verifier(Secret("päß"))
    assert check_verifier(verifier.reveal()) == verifier
