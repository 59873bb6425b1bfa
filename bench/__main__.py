"""``python -m bench [--quick] [names...]``: measure, print a table, write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import machine, table
from bench.measures import MEASURES
from bench.processes import interruptible
from bench.settings import FULL, QUICK, Settings
from bench.table import Report, Row

_DOCUMENT: Final = Path(__file__).resolve().parent.parent / "docs/benchmarks.md"
_INTERRUPTED: Final = 130


def main() -> int:
    """Run what the command line asks for; 1 when a measure failed."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure OpenConfD beside its peers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"measures to run: {', '.join(MEASURES)}; default all")
    parser.add_argument("--quick", action="store_true", help="short rounds, to see whether everything works")
    parser.add_argument("--output", type=Path, help="file for the table; default docs/benchmarks.md for a full run")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in MEASURES]
    if unknown:
        parser.error(f"unknown measure {unknown[0]!r}; there are {', '.join(MEASURES)}")
    is_full = not given.quick and not given.names
    try:
        with interruptible():
            return _run(given.names or list(MEASURES), QUICK if given.quick else FULL, given.output, is_full)
    except KeyboardInterrupt:
        print("interrupted; everything is stopped", file=sys.stderr)
        return _INTERRUPTED


def _run(names: Sequence[str], settings: Settings, output: Path | None, is_full: bool) -> int:
    began = datetime.now(UTC)
    facts = machine.look()
    print("\n".join(facts.lines), end="\n\n", flush=True)
    reports = [_measure(name, settings) for name in names]
    rows = [row for report in reports for row in report.rows]
    notes = [note for report in reports for note in report.notes]
    missed = sum(row.met is False for row in rows)
    print(table.as_text(rows), end="\n\n")
    print("\n".join(f"* {note}" for note in notes), end="\n\n")
    print(f"{missed} of {sum(row.met is not None for row in rows)} goals not met")
    target = output or (_DOCUMENT if is_full else None)
    if target is not None:
        target.write_text(_document(began, facts, rows, notes))
        print(f"written to {target}")
    else:
        print("not written: only a full run is, or with --output FILE")
    return int(any(report.failed for report in reports))


def _measure(name: str, settings: Settings) -> Report:
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        return MEASURES[name](settings)
    except Exception as error:
        # The other measures are worth having; this one shows as not met.
        traceback.print_exc()
        text = str(error).strip().splitlines()
        row = Row(name, f"failed: {type(error).__name__}", met=False)
        return Report([row], [f"{name} failed: {text[-1][-300:] if text else repr(error)}"], failed=True)


def _document(began: datetime, facts: machine.Machine, rows: Sequence[Row], notes: Sequence[str]) -> str:
    head = (
        "# Benchmarks\n\nWritten by `make bench`; all peers ran in the same run on the same machine.\n\n"
        f"{began:%Y-%m-%d %H:%M} UTC\n"
    )
    machine_lines = "\n".join(f"* {line}" for line in facts.lines)
    note_lines = "\n".join(f"* {note}" for note in notes)
    return f"{head}\n{machine_lines}\n\n{table.as_markdown(rows)}\n\n## How it was measured\n\n{note_lines}\n"


if __name__ == "__main__":
    sys.exit(main())
