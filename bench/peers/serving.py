"""What the peers share: TLS as the daemons have it, and an end together with the benchmark."""

from __future__ import annotations

import argparse
import os
import signal
import ssl
import sys
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How a peer is started."""

    cert: str
    key: str
    answer: str
    keep_alive: bool = False

    def tls(self) -> ssl.SSLContext:
        """Make a context like the daemons' own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert, self.key)
        return context


def options(*, has_keep_alive: bool = False) -> Options:
    """Read the command line; ``--keep-alive`` is for peers that have a choice."""
    parser = argparse.ArgumentParser()
    for name in ("cert", "key", "answer"):
        parser.add_argument(f"--{name}", required=True)
    if has_keep_alive:
        parser.add_argument("--keep-alive", action="store_true")
    return Options(**vars(parser.parse_args()))


def end_with_parent() -> None:
    """End this process when whoever started it closes its stdin, also by dying; Ctrl-C is not for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
