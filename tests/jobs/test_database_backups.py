"""Jobs on backups that are being taken, without servers."""

from __future__ import annotations

import pytest

from confd.model.errors import InvalidParameter
from confd.scheduler.registry import load


def test_no_backup_lives_longer_than_dates_reach() -> None:
    """What no list could show is refused where it is given, as it is for schedules; nothing and 0 are for ever."""
    job, given = load()["db_backup_start"], {"db_name": "DB1", "backup_volume_name": "Archive", "level": 0}
    with pytest.raises(InvalidParameter, match=r"expire: .* more than a hundred years"):
        job.read(given | {"expire": "999999999999w"})
    for lifetime in ("1w 3d", "0", ""):
        assert job.read(given | {"expire": lifetime})["expire"] == lifetime
