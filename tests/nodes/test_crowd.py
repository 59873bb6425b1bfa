"""Many nodes in one process follow their master."""

from __future__ import annotations

import random
from collections.abc import Callable

from confd.cluster.identity import NodeFiles
from confd.exaconf import Group
from tests.nodes.conftest import free_port, run
from tests.nodes.crowd import crowd
from tests.torture import TORTURE

NODES = 300 if TORTURE else 30
COMMITS = 5


def test_a_change_costs_the_same_however_large_the_configuration_is(node_files: Callable[..., NodeFiles]) -> None:
    """All nodes have every revision when it is committed; what each is sent is the change alone."""

    async def sent(files: NodeFiles, groups: int) -> set[int]:
        ballast = [Group(name=f"g{number}", id=10_000 + number) for number in range(groups)]
        async with crowd(files, f"127.{random.randrange(64, 250)}", free_port(), ballast) as many:
            await many.grow(NODES)
            before = many.sent()
            for _ in range(COMMITS):
                await many.commit()
            return {after - once for once, after in zip(before, many.sent(), strict=True)}

    async def test() -> None:
        files = node_files("u11")
        small, large = await sent(files, 0), await sent(files, 2_000)
        # Some heartbeats come in between. Two thousand groups would be more than a hundred thousand bytes.
        assert max(large) < max(small) + 2_000
        assert max(large) < 1_000 * COMMITS

    run(test(), seconds=2 * NODES)
