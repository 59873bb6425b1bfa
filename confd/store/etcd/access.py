"""How an etcd cluster is reached: endpoints, TLS, user; and where in it a cluster of ours lies."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

DEFAULT_PREFIX = "/openconfd/"
"""What all keys begin with."""


class EtcdAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Where etcd is and how to be let in.

    ``endpoints`` are URLs. ``ca`` is a file with certificates that sign the servers'; without it the machine's own
    list counts. ``certificate`` and ``key`` are a client's. ``password_file`` holds the password of ``user`` on its
    first line; those on further lines are tried after it, so that it can be changed. ``names_checked`` says whether
    the servers' certificates must carry the names or addresses in the endpoints; certificates of the cluster's own
    authority carry none.
    """

    endpoints: tuple[str, ...]
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    user: str | None = None
    password_file: str | None = None
    names_checked: bool = True

    def password(self) -> str:
        """Read the password.

        :raises OSError: it cannot be read.
        """
        return self.passwords()[0]

    def passwords(self) -> tuple[str, ...]:
        """Read the password, and after it those that etcd may still want, or want already.

        :raises OSError: they cannot be read.
        """
        first, *others = [""] if self.password_file is None else Path(self.password_file).read_text().split("\n")
        return (first, *(line for line in others if line))

    def tls(self) -> ssl.SSLContext | None:
        """Return what TLS connections are made with; None when no endpoint wants TLS.

        :raises OSError: a file is missing or no certificate.
        """
        if not any(Endpoint.of(url).encrypted for url in self.endpoints):
            return None
        for name in (self.ca, self.certificate, self.key):
            if name is not None:
                # Unlike the library this says which one is missing.
                Path(name).open("rb").close()
        context = ssl.create_default_context(cafile=self.ca)
        context.check_hostname = self.names_checked
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


class Endpoint(msgspec.Struct, frozen=True):
    """One server's client port."""

    host: str
    port: int
    encrypted: bool

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """Read an endpoint: ``https://n11:2379``, ``http://127.0.0.1``, ``n11:2379`` (plain).

        :raises ValueError: it is none; says what one looks like.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port or 2379
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or not port or parts.path not in ("", "/"):
            raise ValueError(f"{url!r} is no endpoint of etcd; give one like https://10.0.0.11:2379")
        return cls(parts.hostname, port, parts.scheme == "https")

    def __str__(self) -> str:
        """Return it as a URL."""
        return f"{'https' if self.encrypted else 'http'}://{self.host}:{self.port}"
