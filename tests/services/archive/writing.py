"""A process that writes files until it is killed, as the worker of a backup is: ``python -m tests.services.archive.writing``.

Arguments: node, node root, layout as JSON, prefix of the paths. It prints a line after every step.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from confd.services.archive.layout import Layout
from confd.services.archive.opening import open_archive
from tests.contract.target import content


def main(node: str, root: str, layout: str, prefix: str) -> None:
    """Write files until killed."""
    archive = open_archive(int(node), Path(root), msgspec.json.decode(layout, type=Layout))
    data = content(1_500_000)
    for number in range(1000):
        with archive.create(f"{prefix}{number}") as writer:
            print("begun", flush=True)
            for _ in range(number % 4):
                writer.write(data)
                print("written", flush=True)
            writer.commit()
        print(f"committed {prefix}{number}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
