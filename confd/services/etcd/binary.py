"""The etcd program: where it is, and whether its version will do."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from confd.model.errors import Unsupported

_PLACES: Final = ("/usr/bin/etcd", "/usr/local/bin/etcd")
_LEAST: Final = (3, 4)
_SECONDS: Final = 20.0
_HOW: Final = "with CCC_PLAY_ETCD_BINARY (c4 store etcd: --binary)"


def find_binary(given: str = "") -> str:
    """Return the path of etcd: the given one, else where packages put it, else by the search path.

    :raises Unsupported: there is none, or it cannot be used; says what to install.
    """
    found = given or next((place for place in _PLACES if Path(place).exists()), None) or shutil.which("etcd")
    if not found:
        raise Unsupported(
            "etcd is not installed on this machine: install it (Debian: apt-get install etcd-server) or name a program "
            f"of version 3.4 or newer {_HOW}"
        )
    version = _version(found)
    if version < _LEAST:
        wanted, present = (".".join(map(str, one)) for one in (_LEAST, version))
        raise Unsupported(f"{found} is etcd {present}; version {wanted} or newer is needed")
    return str(Path(found).absolute())


def if_there(program: str) -> str:
    """Return the path of a program as ``find_binary`` takes it: nothing when it is not on this machine."""
    return program if program and Path(program).is_file() else ""


@functools.cache
def any_peer(program: str) -> tuple[str, ...]:
    """Return the options by which members accept each other from any address, as long as their certificate is right.

    Nodes on loopback, or with several addresses, connect from others than their certificates name.
    """
    told = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    known = (f"--{prefix}peer-skip-client-san-verification" for prefix in ("experimental-", ""))
    return tuple(option for option in known if f" {option} " in told.stdout + told.stderr)[:1]


def _version(program: str) -> tuple[int, ...]:
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unsupported(f"{program} does not run ({error}); name an etcd {_HOW}") from None
    found = re.search(r"etcd Version: (\d+)\.(\d+)", told.stdout)
    if found is None:
        raise Unsupported(f"{program} is not etcd; name an etcd {_HOW}")
    return int(found[1]), int(found[2])
