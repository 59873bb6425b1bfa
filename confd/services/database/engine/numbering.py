"""Which number the timeline gets that a promotion begins.

PostgreSQL takes the first one after its own of which its WAL has no history file, as measured with 15 and 18. It knows
only the histories that reached this node: of two copies that were promoted apart from each other, both would begin the
same number, and from then on each would take the other's history for its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from confd.services.database.engine.data import read_content, sync_directory, write_owned
from confd.services.database.engine.layout import Account
from confd.services.database.observed import Role

_TAKEN: Final = "# This number may be that of a history which was given up.\n"


def skip_numbers(data: Path, timeline: int, account: Account) -> None:
    """Have the promotion of a standby begin no timeline before this one; fine when it is done already."""
    content = read_content(data)
    if content is None or content.role is not Role.STANDBY:
        return
    wal = data / "pg_wal"
    # Without a gap: PostgreSQL does not look beyond one.
    for number in range(content.timeline + 1, timeline):
        history = wal / f"{number:08X}.history"
        if not history.exists():
            write_owned(history, _TAKEN, account)
    sync_directory(wal)
