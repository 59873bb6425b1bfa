"""The procedures of docs/operations.md: what an administrator types, block by block."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.cluster.harness import Cluster

_DOCUMENT = Path(__file__).parents[2] / "docs/operations.md"

Block = list[list[str]]


def sections() -> dict[str, str]:
    """Return the text of each section that has blocks of commands."""
    _, *parts = re.split(r"^## ", _DOCUMENT.read_text(), flags=re.MULTILINE)
    titled = (part.split("\n", 1) for part in parts)
    return {title: text for title, text in titled if "```sh\n" in text}


def blocks(section: str) -> Iterator[Block]:
    """Give the blocks of commands of a section, each command as its words.

    Who unpacks them all notices when one is added.
    """
    for block in re.findall(r"```sh\n(.*?)```", sections()[section], re.DOTALL):
        yield [shlex.split(line) for line in block.replace("\\\n", " ").strip().splitlines()]


def with_places(block: Block, places: Mapping[str, str]) -> Block:
    """Return a block with what is different here, such as addresses, in place of what the document has.

    Each of them has to be there.
    """
    for written, here in places.items():
        assert any(written in word for words in block for word in words), f"{written} is not in {block}"
        block = [[word.replace(written, here) for word in words] for words in block]
    return block


def follow(cluster: Cluster, block: Block, node: int = 11) -> str:
    """Type the commands of a block, those of confd_client on a node; what the last one printed."""
    printed = ""
    for program, *words in block:
        if program == "c4":
            printed = cluster.c4(*words)
            continue
        assert program == "confd_client"
        done = cluster.confd_client(*words, node=node)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        printed = done.stdout
    return printed
