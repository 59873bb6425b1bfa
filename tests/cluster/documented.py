"""The procedures of docs/operations.md: what an administrator types, block by block."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.harness import Cluster

_DOCUMENT = Path(__file__).parents[2] / "docs/operations.md"


def blocks(section: str) -> Iterator[list[list[str]]]:
    """Give the blocks of commands of a section, each command as its words."""
    text = _DOCUMENT.read_text().split(f"## {section}\n", 1)[1]
    text = re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield [shlex.split(line) for line in block.strip().splitlines()]


def follow(cluster: Cluster, block: list[list[str]], node: int = 11) -> str:
    """Type the commands of a block; what the last one printed."""
    printed = ""
    for program, *words in block:
        assert program == "confd_client"
        done = cluster.confd_client(*words, node=node)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        printed = done.stdout
    return printed
