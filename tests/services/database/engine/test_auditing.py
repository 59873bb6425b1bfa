"""Auditing and parameters that would switch it off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.errors import InvalidParameter
from confd.services.database.engine.auditing import check_auditing, enforced

VALUES = st.sampled_from(
    ["on", "off", "ON", "all", "none", "ddl", "", "log", "warning", "fatal", "PANIC", "4MB", "True", "1"]
)
NAMES = st.sampled_from(["log_connections", "log_disconnections", "log_statement", "log_min_messages", "work_mem"])


@given(st.dictionaries(NAMES, VALUES))
def test_what_is_refused_is_overruled(settings: dict[str, str]) -> None:
    """Auditing changes nothing of the settings that it accepts, and what it changes is in force."""
    audited = settings | enforced(settings)
    assert (audited["log_connections"], audited["log_disconnections"], audited["log_statement"]) == ("on", "on", "all")
    assert audited.get("log_min_messages", "").lower() not in ("fatal", "panic")
    assert audited.get("work_mem") == settings.get("work_mem")
    check_auditing(audited)
    if any(not means(value, audited[name]) for name, value in settings.items()):
        with pytest.raises(InvalidParameter, match="enable_auditing"):
            check_auditing(settings)
    else:
        check_auditing(settings)


def means(text: str, other: str) -> bool:
    """Tell whether two values say the same to PostgreSQL."""
    return text.lower() == other.lower() or (other == "on" and text in ("True", "1"))
