"""What can go wrong with etcd, told apart by what is known of the outcome.

EtcdError
├── EtcdUnreachable   no endpoint took the request: nothing happened
├── EtcdUncertain     the request was sent and no answer came: it may have happened, or may happen yet
├── EtcdDenied        user, password, certificate or rights are wrong
├── EtcdFull          etcd is out of space (alarm NOSPACE)
└── EtcdRefused       etcd answered that it cannot: nothing happened
    └── EtcdNotFound  a lease, member or user that is not there
"""

from __future__ import annotations


class EtcdError(Exception):
    """Root; the message says what to do."""


class EtcdUnreachable(EtcdError):
    """No endpoint took the request; nothing happened."""


class EtcdUncertain(EtcdError):
    """The request was sent, its outcome is not known; it may even happen later."""


class EtcdDenied(EtcdError):
    """User, password, certificate or rights are wrong; nothing happened."""


class EtcdFull(EtcdError):
    """etcd is out of space; nothing happened."""


class EtcdRefused(EtcdError):
    """etcd answered that it cannot do this; nothing happened. ``code`` is gRPC's."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


class EtcdNotFound(EtcdRefused):
    """What the request names is not there."""


_PASSED_BY = ("no leader", "not capable", "unhealthy cluster", "too many requests", "is learner", "server stopped")
"""Words of answers of a server that did not even propose the request."""

_STALE_TOKEN = (
    "invalid auth token", "user name is empty", "revision of auth store", "revision in header", "invalid or malformed",
)  # fmt: skip


def is_stale_token(code: int, message: str) -> bool:
    """Tell whether a token has run out, or is needed now."""
    return code == 16 or any(words in message for words in _STALE_TOKEN)


def error_from(code: int, message: str) -> EtcdError:
    """Return etcd's answer as an error that says what is known and what to do.

    :param code: gRPC's status: 5 not found, 7 permission, 8 exhausted, 14 unavailable, 16 not authenticated.
    """
    text = message.removeprefix("etcdserver: ")
    if "space exceeded" in text:
        return EtcdFull(
            "etcd is out of space (alarm NOSPACE) and takes no changes; free some with c4 store compact, or raise its "
            "quota and disarm the alarm (etcdctl alarm disarm)"
        )
    if code in (7, 16) or "authentication failed" in text or is_stale_token(code, text):
        return EtcdDenied(f"etcd refuses this user: {text}; check user and password of the store")
    if any(words in text for words in _PASSED_BY):
        return EtcdUnreachable(f"etcd has no majority or is overloaded: {text}")
    if code in (1, 4, 13, 14) or "timed out" in text or "leader changed" in text:
        return EtcdUncertain(f"etcd gave no certain answer: {text}")
    return EtcdNotFound(f"etcd: {text}", code) if code == 5 else EtcdRefused(f"etcd: {text}", code)
