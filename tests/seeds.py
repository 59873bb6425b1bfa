"""Seeds of random tests: those that are kept, one given by hand, new ones for torture."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID")


def seeds(kept: Sequence[int], fresh: int) -> list[int]:
    """Return SEED of the environment alone, or the kept seeds and so many new ones.

    All workers of one run get the same: they must agree on which tests there are.
    """
    if "SEED" in os.environ:
        return [int(os.environ["SEED"])]
    dice = random.Random(_RUN)
    return [*kept, *(dice.randrange(10**6) for _ in range(fresh))]
