"""How thoroughly random tests try: a little in ``make test``, a lot in ``make torture``."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("test", deadline=None, max_examples=50)
settings.register_profile("torture", deadline=None, max_examples=1_000)
settings.load_profile("torture" if os.environ.get("TORTURE") else "test")
