"""When a schedule is due: cron fields, in the time zone of the cluster. Pure.

In the night when clocks go forward, a time that does not exist is taken right after the gap; when they go back, a
given time comes once, while ``*`` goes on minute by minute, or hour by hour, in real time.
"""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from confd.model.errors import InvalidParameter

_DAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_TERM: Final = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>[0-9]{1,2}))?")


class Field(msgspec.Struct, frozen=True):
    """One field of a schedule: its range, and the names that stand for its numbers."""

    first: int
    last: int
    names: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        """What may be given."""
        named = ", an English name of a day" if self.names else ""
        return (
            f"*, a number from {self.first} to {self.last}{named}, "
            "a list such as 1,2,3, a range such as 1-5 or a step such as */2"
        )

    def read(self, text: str) -> str:
        """Return a field as cron writes it: numbers only, no blanks.

        :raises InvalidParameter: says what may be given.
        """
        terms = [self._term(term.strip()) for term in text.split(",")]
        if None in terms:
            raise InvalidParameter(f"{text!r} is no cron field: give {self.form}")
        return ",".join(filter(None, terms))

    def check(self, value: str | int) -> None:
        """Check a value of a parameter."""
        self.read(str(value))

    def _term(self, text: str) -> str | None:
        match = _TERM.fullmatch(text)
        if match is None:
            return None
        first, last, step = match.group("first", "last", "step")
        if first == "*":
            begin, end, shown = self.first, self.last, "*"
        else:
            begin, end = self._number(first), self._number(last or first)
            shown = f"{begin}-{end}" if last else str(begin)
        if not self.first <= begin <= end <= self.last or (first == "*" and last) or step in ("0", "00"):
            return None
        return f"{shown}/{step}" if step else shown

    def _number(self, text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= 2:
            return int(text)
        named = [number for number, name in enumerate(self.names) if text.lower() in (name, name[:3])]
        return named[0] if named else -1


FIELDS: Final = {
    "minute": Field(0, 59),
    "hour": Field(0, 23),
    "day": Field(1, 31),
    "month": Field(1, 12),
    "weekday": Field(0, 7, _DAYS),
}


class Cron(msgspec.Struct, frozen=True):
    """The five fields of a schedule, as they were given."""

    minute: str = "0"
    hour: str = "*"
    day: str = "*"
    month: str = "*"
    weekday: str = "*"

    @property
    def text(self) -> str:
        """The fields in one line.

        :raises InvalidParameter: names the field.
        """
        return " ".join(map(self._read, FIELDS))

    @property
    def readable(self) -> bool:
        """Whether the fields can be read; a configuration edited by hand may hold anything."""
        try:
            return bool(self.text)
        except InvalidParameter:
            return False

    def _read(self, name: str) -> str:
        try:
            return FIELDS[name].read(getattr(self, name))
        except InvalidParameter as error:
            raise InvalidParameter(f"{name}: {error.message}") from None


def check_occurs(cron: Cron) -> None:
    """Refuse fields that no day fulfils, such as 31 February.

    :raises InvalidParameter: names the fields.
    """
    if next_run(cron, 0.0, ZoneInfo("UTC")) is None:
        raise InvalidParameter(f"day, month: there is never a day {cron.day} in month {cron.month}")


def next_run(cron: Cron, after: float, zone: tzinfo) -> float | None:
    """Return the first time after a moment at which a schedule is due, in UTC seconds; None when there is never one."""
    return _next(cron.text, after, zone)


@lru_cache(maxsize=512)
def _next(text: str, after: float, zone: tzinfo) -> float | None:
    try:
        times = CronSim(text, datetime.fromtimestamp(after, zone))
        # A time that the clock shows twice, or never, may lie before the moment asked for.
        return next((at for at in (time.timestamp() for time in times) if at > after), None)
    except CronSimError:
        return None
