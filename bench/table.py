"""The figures as a table, for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

HEADER: Final = ("measure", "ours", "peer", "ratio", "goal", "met")


@dataclass(frozen=True)
class Row:
    """One line. ``met`` is None where there is no goal."""

    measure: str
    ours: str
    peer: str = ""
    ratio: str = ""
    goal: str = ""
    met: bool | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The line as texts."""
        met = {True: "yes", False: "NO", None: ""}[self.met]
        return (self.measure, self.ours, self.peer, self.ratio, self.goal, met)


@dataclass(frozen=True)
class Report:
    """What a measure found: lines, and notes on how it was done."""

    rows: list[Row]
    notes: list[str]
    failed: bool = False


def compared(
    measure: str,
    ours: Sequence[float],
    peer: Sequence[float],
    goal: tuple[str, Callable[[float], bool]] | None = None,
    *,
    peer_name: str = "",
    unit: str = "/s",
    digits: int = 0,
) -> Row:
    """Compare the medians of interleaved rounds; without a goal it is for information."""
    one, other = statistics.median(ours), statistics.median(peer)
    ratio = one / other
    text, met = (goal[0], goal[1](ratio)) if goal else ("", None)
    theirs = f"{other:,.{digits}f} {unit} {peer_name}".rstrip()
    return Row(measure, f"{one:,.{digits}f} {unit}", theirs, f"{ratio:.2f}", text, met)


def at_most(measure: str, value: float, limit: float, unit: str, digits: int = 2) -> Row:
    """Compare a value with a limit."""
    return Row(measure, f"{value:.{digits}f} {unit}", goal=f"≤ {limit:g} {unit}", met=value <= limit)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that a share of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float], digits: int = 0, unit: str = "") -> str:
    """Tell how far rounds differ."""
    return f"{min(values):,.{digits}f}..{max(values):,.{digits}f}{unit}"


def as_text(rows: Sequence[Row]) -> str:
    """Lay the lines out for a terminal."""
    cells = [HEADER, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def as_markdown(rows: Sequence[Row]) -> str:
    """Lay the lines out for a document."""
    lines = [HEADER, ("---",) * len(HEADER), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
